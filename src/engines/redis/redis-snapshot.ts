import { EngineError } from "../../base/errors.ts";
import type { RecordBatch, RecordKind, RecordStream } from "../../volume/records.ts";
import { parseSetting } from "../../volume/setting.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote, SnapshotOptions } from "../engine.ts";
import { Notes, type OnLoss, tellOnce } from "../notes.ts";
import { signedOrZero } from "./decimal.ts";
import { decodeDentry } from "./dentry.ts";
import { familiesOf, PlainRead, type PlainReadOptions } from "./plain-read.ts";
import type { RedisServer } from "./redis-server.ts";
import { RespConnection } from "./resp-connection.ts";
import { checkSlot } from "./slot-check.ts";
import { KeyFilter } from "./tracking/key-filter.ts";
import { RepeatedNotes } from "./tracking/repeated-notes.ts";
import { TrackedRead } from "./tracking/tracked-read.ts";
import { notTracked, reasonNotTracked, StartAgain } from "./tracking/tracking-errors.ts";

const DEFAULT_MAX_PAUSE_MS = 500;
/** Records that wait for the proof take so much memory, the others a temporary file. */
const SPOOL_BYTES = 32 * 1024 * 1024;
/** So often all is read anew when what was read is worth nothing any more. */
const MAX_ATTEMPTS = 5;
const REPLACED = "all keys or directories of the wanted part were replaced again and again while they were read";

/** A volume in Redis, which may change while it is read. */
export class RedisSnapshot implements Snapshot {
  readonly setting: Buffer;
  readonly estimates: ReadonlyMap<RecordKind, number>;
  readonly unlimitedDirQuotas = "skip";
  readonly #server: RedisServer;
  readonly #options: SnapshotOptions;
  readonly #connection: RespConnection;
  readonly #points: RespConnection;
  readonly #tmpDir: string;
  /** Attempts that are made again tell nothing again. */
  readonly #onLoss: OnLoss | undefined;
  #notes: Notes;
  #consistency: Consistency;

  private constructor(
    server: RedisServer,
    options: SnapshotOptions,
    connections: { bulk: RespConnection; points: RespConnection },
    setting: Buffer,
    estimates: ReadonlyMap<RecordKind, number>,
    tmpDir: string,
  ) {
    this.#server = server;
    this.#options = options;
    this.#connection = connections.bulk;
    this.#points = connections.points;
    this.#onLoss = tellOnce(options.onLoss);
    this.#notes = new Notes(options.logger, this.#onLoss);
    this.setting = setting;
    this.estimates = estimates;
    this.#tmpDir = tmpDir;
    this.#consistency = notOneInstant(false, undefined);
  }

  /** `setting` is what the store has found; `tmpDir` gets what must be held back for a while. */
  static async open(
    server: RedisServer,
    setting: Buffer,
    options: SnapshotOptions,
    tmpDir: string,
  ): Promise<RedisSnapshot> {
    const bulk = await RespConnection.open(server.node, options.signal);
    try {
      const points = await RespConnection.open(server.node, options.signal);
      await checkSlot(server, points);
      return new RedisSnapshot(server, options, { bulk, points }, setting, await estimate(server, points), tmpDir);
    } catch (error) {
      bulk.close();
      throw error;
    }
  }

  get consistency(): Consistency {
    return this.#consistency;
  }

  get notes(): readonly SnapshotNote[] {
    return this.#notes.list;
  }

  records(selection: RecordSelection): RecordStream {
    return this.#options.method === "none" ? this.#readPlain(selection, true) : this.#readTracked(selection);
  }

  /** Key by key; `asked` when nothing better was wanted, else `reason` says why there is nothing better. */
  async *#readPlain(selection: RecordSelection, asked: boolean, reason?: string): RecordStream {
    this.#notes = new Notes(this.#options.logger, this.#onLoss);
    this.#consistency = notOneInstant(asked, reason);
    yield* new PlainRead({ ...this.#readOptions, notes: this.#notes }).records(selection);
    await checkSlot(this.#server, this.#connection);
  }

  get #readOptions(): Omit<PlainReadOptions, "notes"> {
    const { signal } = this.#options;
    const hasChangeLog = parseSetting(this.setting).changeLog;
    return { server: this.#server, connection: this.#connection, hasChangeLog, signal };
  }

  async *#readTracked(selection: RecordSelection): AsyncGenerator<RecordBatch> {
    for (let attempt = 1; ; attempt++) {
      const notes = new RepeatedNotes(this.#options.logger, this.#onLoss);
      this.#notes = notes;
      const read = new PlainRead({ ...this.#readOptions, notes });
      let tracked: TrackedRead | undefined;
      try {
        tracked = await this.#openTracked(selection, read, notes);
        this.#consistency = await prove(tracked, read.records(selection, tracked), attempt === MAX_ATTEMPTS);
        await checkSlot(this.#server, this.#connection);
        yield* this.#deliver(tracked);
        return;
      } catch (error) {
        const again = error instanceof StartAgain;
        if (again && attempt < MAX_ATTEMPTS) continue;
        const failure = again ? notTracked(this.#server.printable, REPLACED) : error;
        const reason = reasonNotTracked(failure);
        if (reason === undefined || this.#options.method === "tracking") throw failure;
        if (again || tracked?.isWhole !== true) return yield* this.#readPlain(selection, false, reason);
        this.#consistency = notOneInstant(false, reason);
        await checkSlot(this.#server, this.#connection);
        yield* this.#deliver(tracked);
        return;
      } finally {
        tracked?.close();
      }
    }
  }

  *#deliver(tracked: TrackedRead): Generator<RecordBatch> {
    for (const batch of tracked.records()) {
      this.#options.signal.throwIfAborted();
      yield batch;
    }
  }

  #openTracked(selection: RecordSelection, read: PlainRead, notes: RepeatedNotes): Promise<TrackedRead> {
    const isTree = selection.root !== undefined;
    const options = this.#readOptions;
    const filter = new KeyFilter(
      this.#server.prefix.length,
      familiesOf(selection),
      selection.kinds,
      options.hasChangeLog,
      isTree ? read.treeInodes : undefined,
    );
    return TrackedRead.open({
      ...options,
      filter,
      setting: this.setting,
      context: read.context,
      hardLinks: read.hardLinks,
      notes,
      isTree,
      progress: this.#options.progress,
      expectedRecords: [...this.estimates.values()].reduce((sum, count) => sum + count, 0),
      maxPauseMs: this.#options.maxPauseMs ?? DEFAULT_MAX_PAUSE_MS,
      spool: { maxBytes: SPOOL_BYTES, tmpDir: this.#tmpDir },
    });
  }

  async lookup(parent: bigint, name: Buffer): Promise<{ inode: bigint; type: number } | undefined> {
    return decodeDentry(await this.#points.call(["HGET", this.#key(`d${parent}`), name]));
  }

  async readNode(inode: bigint): Promise<Buffer | undefined> {
    const value = await this.#points.call(["GET", this.#key(`i${inode}`)]);
    return Buffer.isBuffer(value) ? value : undefined;
  }

  async close(): Promise<void> {
    this.#connection.close();
    this.#points.close();
  }

  #key(name: string): Buffer {
    return Buffer.concat([this.#server.prefix, Buffer.from(name)]);
  }
}

function notOneInstant(asked: boolean, reason: string | undefined): Consistency {
  const why = reason === undefined ? "" : ` (${reason})`;
  return {
    pointInTime: false,
    method: `Redis keys were read one after the other, so changes made during the dump may be in it in part${why}`,
    asOf: new Date(),
    ...(asked ? { asked } : {}),
  };
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** In the last attempt with writers held, where that is permitted. */
async function prove(tracked: TrackedRead, all: AsyncIterable<RecordBatch>, isLast: boolean): Promise<Consistency> {
  const proof = (isLast ? await tracked.proveHeld(all) : undefined) ?? (await tracked.prove(all));
  const { asOf, rereadKeys, rounds, heldMs } = proof;
  const held = heldMs === 0 ? "writers were not held" : `writers were held for ${heldMs.toFixed(1)} ms`;
  return {
    pointInTime: true,
    method: `Changes were tracked: ${counted(rereadKeys, "key")} read again in ${counted(rounds, "round")}, the last one a transaction; ${held}`,
    asOf,
    tracking: { rereadKeys, rounds, heldMs },
  };
}

/** Cheap guesses for progress: the counter of inodes, and in a database of its own the number of keys. */
export async function estimate(
  server: RedisServer,
  connection: RespConnection,
): Promise<ReadonlyMap<RecordKind, number>> {
  const key = Buffer.concat([server.prefix, Buffer.from("totalInodes")]);
  const inodes = Number(signedOrZero((await tolerant(connection, ["GET", key])) as Buffer | null));
  const estimates = new Map<RecordKind, number>();
  if (inodes <= 0) return estimates;
  estimates.set("node", inodes + 1);
  estimates.set("edge", inodes);
  if (!server.cluster) {
    const keys = Number(await tolerant(connection, ["DBSIZE"]));
    if (keys > inodes) estimates.set("chunk", keys - inodes);
  }
  return estimates;
}

/** A guess is not worth a failure, unless the connection is gone. */
async function tolerant(connection: RespConnection, command: (string | Buffer)[]): Promise<Buffer | bigint | null> {
  try {
    return (await connection.call(command)) as Buffer | bigint | null;
  } catch (error) {
    if (error instanceof EngineError && error.code !== "DECANT_E_REDIS_LOST") return null;
    throw error;
  }
}
