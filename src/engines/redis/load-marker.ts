import { randomUUID } from "node:crypto";
import { ConflictError } from "../../base/errors.ts";
import type { BlockGuard } from "./command-pipe.ts";
import { encodeCommand } from "./command-writer.ts";
import type { RespConnection } from "./resp-connection.ts";
import { execute } from "./transaction.ts";

const MARKER_NAME = "decantLoading";

/**
 * A key that is there while a load runs and names it. It keeps two loads from mixing their keys, and it tells whether the
 * database was emptied or taken over meanwhile: then what is there is not ours to complete or to remove. It goes in the
 * same transaction in which the setting comes, so a volume never has it.
 */
export class LoadMarker {
  readonly #key: Buffer;
  readonly #token: Buffer;
  readonly #where: string;

  constructor(prefix: Buffer, where: string, token: Buffer = Buffer.from(randomUUID())) {
    this.#key = markerKey(prefix);
    this.#where = where;
    this.#token = token;
  }

  /** The marker of a load that runs or has died there. */
  static async find(connection: RespConnection, prefix: Buffer, where: string): Promise<LoadMarker | undefined> {
    const token = await connection.call(["GET", markerKey(prefix)]);
    return Buffer.isBuffer(token) ? new LoadMarker(prefix, where, token) : undefined;
  }

  /** Throws `ConflictError` when another load runs or has died there. */
  async set(connection: RespConnection): Promise<void> {
    if ((await connection.call(["SET", this.#key, this.#token, "NX"])) !== null) return;
    throw new ConflictError("DECANT_E_TARGET_BUSY", `Another load into ${this.#where} is running or was cut off`);
  }

  /** What to do about a load that runs or has died there; undefined when there is none. */
  static async hint(connection: RespConnection, prefix: Buffer): Promise<string | undefined> {
    const key = markerKey(prefix);
    if ((await connection.call(["EXISTS", key])) !== 1n) return undefined;
    return `A load into it is running or was cut off (key ${key}): when none is running, load again with --clean`;
  }

  async isOurs(connection: RespConnection): Promise<boolean> {
    const stored = await connection.call(["GET", this.#key]);
    return Buffer.isBuffer(stored) && stored.equals(this.#token);
  }

  async remove(connection: RespConnection): Promise<void> {
    await connection.call(["UNLINK", this.#key]);
  }

  /** Lets a pipe stop soon after the marker is gone. */
  get guard(): BlockGuard {
    return { command: encodeCommand(["GET", this.#key]), expected: this.#token, failure: () => this.#lost() };
  }

  async check(connection: RespConnection): Promise<void> {
    if (!(await this.isOurs(connection))) throw this.#lost();
  }

  #lost(): ConflictError {
    return new ConflictError(
      "DECANT_E_TARGET_CHANGED",
      `The database ${this.#where} was emptied or taken by others meanwhile`,
      {
        hint: "What is there now was left alone. A server that evicts keys also does this: set maxmemory-policy noeviction",
      },
    );
  }

  /** Puts the setting into the place of the marker. Throws `ConflictError` when either is not as this load left it. */
  async replaceBySetting(connection: RespConnection, settingKey: Buffer, setting: Buffer): Promise<void> {
    await connection.call(["WATCH", this.#key, settingKey]);
    const isFree = (await connection.call(["EXISTS", settingKey])) === 0n;
    if (isFree && (await this.isOurs(connection))) {
      const commands = [
        ["DEL", this.#key],
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
