import { recycle } from "../../base/bytes.ts";
import { EngineError, errorText } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { RecordBatch } from "../../volume/records.ts";
import type { Loader, LoaderOptions, LoadPosition, LoadProgress, LoadStamp } from "../engine.ts";
import { writeBatch } from "../write-batch.ts";
import { CommandPipe } from "./command-pipe.ts";
import { writeCommand } from "./command-writer.ts";
import { LoadMarker } from "./load-marker.ts";
import { RareWriter } from "./rare-writer.ts";
import { RecordWriter } from "./record-writer.ts";
import { type RedisServer, readInfo, withConnection } from "./redis-server.ts";
import { removeVolume } from "./remove-volume.ts";
import { RespConnection } from "./resp-connection.ts";

/** How long an abort may go on after the signal that caused it. */
const ABORT_TIMEOUT_MS = 60_000;

type RedisLoaderOptions = Omit<LoaderOptions, "stamp"> & { readonly stamp: LoadStamp | undefined };

/**
 * Writes a volume in pipelined commands. The setting is the last key: clients take the database for unformatted until
 * then.
 */
export class RedisLoader implements Loader {
  readonly isResumable: boolean;
  readonly earlier: LoadProgress | undefined;
  readonly #server: RedisServer;
  readonly #options: RedisLoaderOptions;
  readonly #connection: RespConnection;
  readonly #pipe: CommandPipe;
  readonly #records: RecordWriter;
  readonly #rare: RareWriter;
  readonly #evictedBefore: number;
  readonly #marker: LoadMarker;
  #state: "writing" | "finished" | "aborted" = "writing";

  private constructor(
    server: RedisServer,
    options: RedisLoaderOptions,
    connection: RespConnection,
    marker: LoadMarker,
    evictedBefore: number,
    earlier: LoadProgress | undefined,
  ) {
    this.isResumable = options.stamp !== undefined;
    this.earlier = earlier;
    this.#marker = marker;
    this.#server = server;
    this.#options = options;
    this.#connection = connection;
    this.#evictedBefore = evictedBefore;
    this.#pipe = new CommandPipe(connection, marker.guard);
    this.#records = new RecordWriter(this.#pipe, server.prefix, earlier !== undefined);
    this.#rare = new RareWriter(this.#pipe, server.prefix);
  }

  /** Throws `ConflictError` when another load runs there. `goesOn`: there is one that was cut off. */
  static async open(server: RedisServer, options: LoaderOptions, goesOn: boolean): Promise<RedisLoader> {
    const connection = await RespConnection.open(server.node, options.signal);
    const marker = new LoadMarker(server.prefix, server.printable);
    let mayBeSet = false;
    try {
      const info = await readInfo(connection);
      warnAboutEviction(info, server, options);
      const stamp = await nameConnection(connection, marker, options);
      let earlier: LoadProgress | undefined;
      if (goesOn) {
        earlier = await marker.takeOver(connection, Buffer.concat([server.prefix, Buffer.from("setting")]));
        if (stamp !== undefined) await marker.store(connection, { ...earlier, stamp });
      } else {
        mayBeSet = true;
        await marker.set(connection, stamp);
      }
      return new RedisLoader(server, { ...options, stamp }, connection, marker, evictedKeys(info), earlier);
    } catch (error) {
      connection.close();
      // Where the answer did not come, the marker may be there all the same.
      if (mayBeSet) await removeWritten(server, marker, { logger: options.logger, isCertain: false });
      throw error;
    }
  }

  async write(batch: RecordBatch): Promise<void> {
    this.#options.signal.throwIfAborted();
    await writeBatch(batch, this.#records, this.#rare);
    recycle(batch.bytes);
  }

  /** The largest number of an ACL is told by all rules, so these are written again. */
  async skip(batch: RecordBatch): Promise<void> {
    this.#options.signal.throwIfAborted();
    if (batch.kind === "acl") await writeBatch(batch, this.#records, this.#rare);
  }

  async checkpoint(position: LoadPosition): Promise<void> {
    const { stamp, signal } = this.#options;
    if (stamp === undefined) return;
    signal.throwIfAborted();
    await this.#pipe.drain();
    await this.#marker.store(this.#connection, { stamp, ...position });
  }

  /** Commands of one connection are executed in their order, and a server that comes back has a first part of them. */
  async announce(position: LoadPosition): Promise<void> {
    const { stamp } = this.#options;
    if (stamp === undefined) return;
    writeCommand(this.#pipe.writer, this.#marker.progressCommand({ stamp, ...position }));
    if (this.#pipe.end()) await this.#pipe.flow();
  }

  async suspend(): Promise<boolean> {
    if (this.#options.stamp === undefined) await this.abort();
    if (this.#state !== "writing") return false;
    this.#state = "aborted";
    this.#connection.close();
    return true;
  }

  async readNodes(inodes: readonly bigint[]): Promise<(Buffer | undefined)[]> {
    if (inodes.length === 0) return [];
    await this.#pipe.drain();
    const values = (await this.#connection.call([
      "MGET",
      ...inodes.map((inode) => this.#key(`i${inode}`)),
    ])) as (Buffer | null)[];
    return values.map((value) => value ?? undefined);
  }

  replaceNodes(batch: RecordBatch): Promise<void> {
    return this.#records.nodes(batch);
  }

  async finish(setting: Buffer): Promise<void> {
    await this.#rare.finish();
    await this.#pipe.settle();
    await this.#marker.check(this.#connection);
    await this.#pipe.drain();
    await this.#refuseEviction();
    this.#options.signal.throwIfAborted();
    await this.#writeSetting(setting);
    this.#state = "finished";
    this.#connection.close();
  }

  /** When the connection breaks at the last moment, whether the transaction was executed is looked up. */
  async #writeSetting(setting: Buffer): Promise<void> {
    const key = this.#key("setting");
    try {
      await this.#marker.replaceBySetting(this.#connection, key, setting);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== "DECANT_E_REDIS_LOST") throw error;
      const isThere = await withConnection(this.#server, this.#options.signal, async (connection) => {
        const stored = await connection.call(["GET", key]);
        return Buffer.isBuffer(stored) && stored.equals(setting) && !(await this.#marker.isOurs(connection));
      });
      if (!isThere) throw error;
    }
  }

  /** A server that evicts keys has already lost a part of the volume. */
  async #refuseEviction(): Promise<void> {
    const evicted = evictedKeys(await readInfo(this.#connection, "stats")) - this.#evictedBefore;
    if (evicted <= 0) return;
    throw new EngineError(
      "DECANT_E_REDIS_EVICTED",
      `The Redis server at ${this.#server.printable} has evicted ${evicted} keys during the load`,
      { hint: "Set maxmemory-policy to noeviction and raise maxmemory" },
    );
  }

  async abort(): Promise<void> {
    if (this.#state !== "writing") return;
    this.#state = "aborted";
    this.#connection.close();
    await removeWritten(this.#server, this.#marker, { logger: this.#options.logger, isCertain: true });
  }

  #key(name: string): Buffer {
    return Buffer.concat([this.#server.prefix, Buffer.from(name)]);
  }
}

function warnAboutEviction(info: string, server: RedisServer, { logger }: LoaderOptions): void {
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1] ?? "noeviction";
  const limited = /^maxmemory:[1-9]/m.test(info);
  if (limited && policy !== "noeviction") {
    logger.warn(
      `The Redis server at ${server.printable} may evict keys (maxmemory-policy ${policy}): set it to noeviction`,
    );
  }
}

function evictedKeys(info: string): number {
  return Number(/^evicted_keys:([0-9]+)/m.exec(info)?.[1] ?? 0);
}

/** Removes what a load has written. Says in a warning what it had to leave behind. `isCertain`: the marker was there. */
async function removeWritten(
  server: RedisServer,
  marker: LoadMarker,
  { logger, isCertain }: { readonly logger: Logger; readonly isCertain: boolean },
): Promise<void> {
  try {
    // The signal of the load may be what has stopped it.
    const signal = AbortSignal.timeout(ABORT_TIMEOUT_MS);
    await withConnection(server, signal, async (connection) => {
      if (isCertain || (await marker.isOurs(connection))) await removeVolume(connection, server, marker);
    });
  } catch (error) {
    logger.warn(
      `What was written to ${server.printable} could not be removed: ${errorText(error)}. It holds no volume, but it is not empty`,
    );
  }
}

/** The stamp, where this load can be taken over: undefined where the connection cannot be given a name by which to end it. */
async function nameConnection(
  connection: RespConnection,
  marker: LoadMarker,
  { stamp, logger }: LoaderOptions,
): Promise<LoadStamp | undefined> {
  if (stamp === undefined) return undefined;
  try {
    await marker.nameConnection(connection);
    return stamp;
  } catch (error) {
    if (!(error instanceof EngineError) || error.code !== "DECANT_E_REDIS_PERMISSION") throw error;
    logger.debug(`No load can go on with this one when it is cut off: ${error.message}`);
    return undefined;
  }
}
