import { errorText } from "../../base/errors.ts";
import type { RecordBatch, RecordKind, RecordStream } from "../../volume/records.ts";
import { parseSetting } from "../../volume/setting.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote, SnapshotOptions } from "../engine.ts";
import { Notes, type OnLoss, tellOnce } from "../notes.ts";
import { decodeDentry } from "./dentry.ts";
import { estimate } from "./estimates.ts";
import { familiesOf, PlainRead, type PlainReadOptions } from "./plain-read.ts";
import type { RedisServer } from "./redis-server.ts";
import { forkProblem } from "./replication/fork-problem.ts";
import { ReplicaSnapshot } from "./replication/replica-snapshot.ts";
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
  /** Gives the data when changes could not be tracked, for this reason. */
  #replica: ReplicaSnapshot | undefined;
  #notTracked = "";

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
    if (this.#replica === undefined) return this.#consistency;
    const { consistency } = this.#replica;
    return { ...consistency, method: `${consistency.method} (changes could not be tracked: ${this.#notTracked})` };
  }

  get notes(): readonly SnapshotNote[] {
    return this.#replica?.notes ?? this.#notes.list;
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
        yield* this.#readUntracked(selection, again ? undefined : tracked, reason);
        return;
      } finally {
        tracked?.close();
      }
    }
  }

  /** What can be had where changes could not be tracked, for that reason. `tracked` may have read everything once. */
  async *#readUntracked(selection: RecordSelection, tracked: TrackedRead | undefined, reason: string): RecordStream {
    const problem = selection.root === undefined ? await this.#openReplica() : undefined;
    if (this.#replica !== undefined) {
      tracked?.close();
      this.#notTracked = reason;
      yield* this.#replica.records(selection);
      return;
    }
    const reasons = problem === undefined ? reason : `${reason}; no full resync: ${problem}`;
    if (tracked?.isWhole !== true) {
      yield* this.#readPlain(selection, false, reasons);
      return;
    }
    this.#consistency = notOneInstant(false, reasons);
    await checkSlot(this.#server, this.#connection);
    yield* this.#deliver(tracked);
  }

  /** All data as of a fork instead, where the server permits and can afford it; else gives the reason why not. */
  async #openReplica(): Promise<string | undefined> {
    const problem = await forkProblem(this.#points);
    if (problem !== undefined) return problem;
    try {
      const replica = await ReplicaSnapshot.open(this.#server, this.setting, this.#options, this.#tmpDir);
      if (replica.setting.equals(this.setting)) {
        this.#replica = replica;
        return undefined;
      }
      await replica.close();
      return "the setting was changed meanwhile";
    } catch (error) {
      this.#options.signal.throwIfAborted();
      return errorText(error);
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
    if (this.#replica !== undefined) return this.#replica.readNode(inode);
    const value = await this.#points.call(["GET", this.#key(`i${inode}`)]);
    return Buffer.isBuffer(value) ? value : undefined;
  }

  async close(): Promise<void> {
    this.#connection.close();
    this.#points.close();
    await this.#replica?.close();
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
