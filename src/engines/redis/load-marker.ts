import { randomUUID } from "node:crypto";
import { ConflictError, EngineError } from "../../base/errors.ts";
import type { LoadProgress, LoadStamp } from "../engine.ts";
import { encodeProgress, PROGRESS_NAME, parseProgress } from "../load-progress.ts";
import { targetChanged } from "../target-changed.ts";
import type { BlockGuard } from "./command-pipe.ts";
import { encodeCommand } from "./command-writer.ts";
import type { RespConnection } from "./resp-connection.ts";
import { execute } from "./transaction.ts";

const MARKER_NAME = "decantLoading";

/** A set beside it: names of keys that the load has written and that cannot be told by their form. */
export const WRITTEN_KEYS_NAME = "decantLoadKeys";

/**
 * A key that is there while a load runs and names it. It keeps two loads from mixing their keys, and it tells whether the
 * database was emptied or taken over meanwhile: then what is there is not ours to complete or to remove. It goes in the
 * same transaction in which the setting comes, so a volume never has it.
 */
export class LoadMarker {
  readonly #key: Buffer;
  readonly #progressKey: Buffer;
  readonly #writtenKey: Buffer;
  readonly #token: Buffer;
  readonly #where: string;

  constructor(prefix: Buffer, where: string, token: Buffer = Buffer.from(randomUUID())) {
    this.#key = markerKey(prefix);
    this.#progressKey = progressKey(prefix);
    this.#writtenKey = Buffer.concat([prefix, Buffer.from(WRITTEN_KEYS_NAME)]);
    this.#where = where;
    this.#token = token;
  }

  /** The marker of a load that runs or has died there. */
  static async find(connection: RespConnection, prefix: Buffer, where: string): Promise<LoadMarker | undefined> {
    const token = await connection.call(["GET", markerKey(prefix)]);
    return Buffer.isBuffer(token) ? new LoadMarker(prefix, where, token) : undefined;
  }

  /** With what it says of itself, where it can be gone on with. Throws `ConflictError` when another load runs or has died there. */
  async set(connection: RespConnection, stamp: LoadStamp | undefined): Promise<void> {
    const progress = stamp && encodeProgress({ stamp, checkpoint: undefined, announced: [] });
    const pairs = [this.#key, this.#token, ...(progress === undefined ? [] : [this.#progressKey, progress])];
    if ((await connection.call(["MSETNX", ...pairs])) === 1n) return;
    throw new ConflictError("DECANT_E_TARGET_BUSY", `Another load into ${this.#where} is running or was cut off`);
  }

  /** What a load that runs or has died there says of itself; undefined when there is none. */
  static async progress(connection: RespConnection, prefix: Buffer): Promise<LoadProgress | undefined> {
    const keys = [markerKey(prefix), progressKey(prefix)];
    const [marker, progress] = (await connection.call(["MGET", ...keys])) as (Buffer | null)[];
    return marker === null || progress === null ? undefined : parseProgress(progress);
  }

  /** What to do about a load that runs or has died there and cannot go on; undefined when there is none. */
  static async hint(connection: RespConnection, prefix: Buffer): Promise<string | undefined> {
    const key = markerKey(prefix);
    if ((await connection.call(["EXISTS", key])) !== 1n) return undefined;
    return `A load into it is running or was cut off (key ${key}): when none is running, load again with --clean`;
  }

  /**
   * Puts this marker into the place of one that a load has left, which fails then should it still run, and returns how far that came. Throws
   * `ConflictError` when there is none any more.
   */
  async takeOver(connection: RespConnection, settingKey: Buffer): Promise<LoadProgress> {
    await connection.call(["WATCH", this.#key, this.#progressKey, settingKey]);
    const [marker, progress, setting] = (await connection.call([
      "MGET",
      ...[this.#key, this.#progressKey, settingKey],
    ])) as (Buffer | null)[];
    const found = marker === null || setting !== null ? undefined : parseProgress(progress ?? undefined);
    if (found !== undefined && (await execute(connection, [["SET", this.#key, this.#token]]))) {
      await endConnections(connection, connectionName(marker!));
      return found;
    }
    await connection.call(["UNWATCH"]);
    throw this.#lost();
  }

  /** Lets a load that takes this one over end the connection, with all that the server has not read of it. */
  async nameConnection(connection: RespConnection): Promise<void> {
    await connection.call(["CLIENT", "SETNAME", connectionName(this.#token)]);
  }

  progressCommand(progress: LoadProgress): (string | Buffer)[] {
    return ["SET", this.#progressKey, encodeProgress(progress)];
  }

  /** Ends the connection of the load that has this marker, so that nothing of it comes after what is removed; where that is permitted. */
  async endLoad(connection: RespConnection): Promise<void> {
    try {
      await endConnections(connection, connectionName(this.#token));
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== "DECANT_E_REDIS_PERMISSION") throw error;
    }
  }

  /** Stores how far the load is. Throws `ConflictError` when the marker is not this one any more. */
  async store(connection: RespConnection, progress: LoadProgress): Promise<void> {
    await connection.call(["WATCH", this.#key]);
    const isOurs = await this.isOurs(connection);
    if (isOurs && (await execute(connection, [this.progressCommand(progress)]))) return;
    await connection.call(["UNWATCH"]);
    throw this.#lost();
  }

  async isOurs(connection: RespConnection): Promise<boolean> {
    const stored = await connection.call(["GET", this.#key]);
    return Buffer.isBuffer(stored) && stored.equals(this.#token);
  }

  async remove(connection: RespConnection): Promise<void> {
    await connection.call(["UNLINK", this.#writtenKey, this.#progressKey, this.#key]);
  }

  /** Names of keys, without the prefix, that cannot be told by their form. */
  async writtenKeys(connection: RespConnection): Promise<Buffer[]> {
    return (await connection.call(["SMEMBERS", this.#writtenKey])) as Buffer[];
  }

  /** Lets a pipe stop soon after the marker is gone. */
  get guard(): BlockGuard {
    return { command: encodeCommand(["GET", this.#key]), expected: this.#token, failure: () => this.#lost() };
  }

  async check(connection: RespConnection): Promise<void> {
    if (!(await this.isOurs(connection))) throw this.#lost();
  }

  #lost(): ConflictError {
    return targetChanged(this.#where, ". A server that evicts keys also does this: set maxmemory-policy noeviction");
  }

  /** Puts the setting into the place of the marker. Throws `ConflictError` when either is not as this load left it. */
  async replaceBySetting(connection: RespConnection, settingKey: Buffer, setting: Buffer): Promise<void> {
    await connection.call(["WATCH", this.#key, settingKey]);
    const isFree = (await connection.call(["EXISTS", settingKey])) === 0n;
    if (isFree && (await this.isOurs(connection))) {
      const commands = [
        ["DEL", this.#key, this.#progressKey, this.#writtenKey],
        ["SET", settingKey, setting],
      ];
      if (await execute(connection, commands)) return;
    }
    throw this.#lost();
  }
}

function markerKey(prefix: Buffer): Buffer {
  return Buffer.concat([prefix, Buffer.from(MARKER_NAME)]);
}

function progressKey(prefix: Buffer): Buffer {
  return Buffer.concat([prefix, Buffer.from(PROGRESS_NAME)]);
}

function connectionName(token: Buffer): string {
  return `decant-load-${token.toString("latin1")}`;
}

/** What is on its way to the server would come after what is written now, and lists would get it twice. */
async function endConnections(connection: RespConnection, name: string): Promise<void> {
  const list = String(await connection.call(["CLIENT", "LIST"]));
  for (const [, id] of list.matchAll(new RegExp(`^id=(\\d+) .*\\bname=${name} `, "gm"))) {
    await connection.call(["CLIENT", "KILL", "ID", id!]);
  }
}
