import { setImmediate as turn } from "node:timers/promises";
import type {
  FdbDatabase,
  FdbKeySelector,
  FdbTransaction,
  FoundationdbPackage,
} from "../../src/engines/foundationdb/foundationdb-package.ts";
import type { FoundationdbClock } from "../../src/engines/foundationdb/read-versions.ts";
import { reportUnavailable } from "./skip.ts";

reportUnavailable("a real FoundationDB", "it can be had from no registry, its tests run over an imitation in memory");

/**
 * A stand-in for the package `foundationdb`, and for the cluster behind it, in memory. FoundationDB can be installed from no registry, so
 * this is the one database of the tests that is not a real one. It keeps to the rules of its documentation that decant depends on:
 * versions of a microsecond that are forgotten after five seconds, conflicts between what was read and what others wrote, the limits
 * of keys, values and transactions, and which errors may be tried again. What a real cluster does beyond that, it cannot show.
 */
export class StandInCluster {
  /** Turned by tests; goes on by itself only as transactions are committed. */
  readonly clock: StandInClock = new StandInClock();
  /** Called before each call is answered: tests change the time, or other keys, in between. */
  onCall: (call: Call) => void | Promise<void> = () => undefined;
  /** Sizes of the transactions that were committed, as the cluster counts them. */
  readonly committedBytes: number[] = [];
  readonly #values = new Map<string, Stored[]>();
  readonly #writes: { version: bigint; start: string; end: string }[] = [];
  #sorted: string[] | undefined = [];
  #version = 1_000_000_000n;
  #faults: Fault[] = [];

  /** The next such calls fail with a number; a commit may be done all the same. */
  fail(call: Call, code: number, options: { times?: number; skip?: number; done?: boolean } = {}): void {
    this.#faults.push({ call, code, times: 1, skip: 0, done: false, ...options });
  }

  /** The number with which a call is to fail. */
  async answer(call: Call): Promise<Fault | undefined> {
    await this.onCall(call);
    await turn();
    const fault = this.#faults.find((one) => one.call === call && one.times > 0);
    if (fault === undefined) return undefined;
    if (fault.skip > 0) {
      fault.skip--;
      return undefined;
    }
    fault.times--;
    return fault;
  }

  /** The newest version. */
  get version(): bigint {
    const now = 1_000_000_000n + BigInt(Math.floor(this.clock.now() * 1000));
    if (now > this.#version) this.#version = now;
    return this.#version;
  }

  /** Throws when nobody remembers the version. */
  check(version: bigint): void {
    if (version < this.version - VERSIONS_KEPT) throw new StandInError(1007);
  }

  get(key: string, version: bigint): Buffer | undefined {
    this.check(version);
    return this.#at(key, version);
  }

  /** Whole keys from `start` on, below `end`, up to a number of pairs and of bytes. */
  scan(start: string, end: string, version: bigint, limit: number): { results: [Buffer, Buffer][]; more: boolean } {
    this.check(version);
    this.#sorted ??= [...this.#values.keys()].sort();
    const results: [Buffer, Buffer][] = [];
    let size = 0;
    for (let i = firstIndex(this.#sorted, start); i < this.#sorted.length && this.#sorted[i]! < end; i++) {
      const key = this.#sorted[i]!;
      const value = this.#at(key, version);
      if (value === undefined) continue;
      if ((limit > 0 && results.length >= limit) || size >= REPLY_BYTES) return { results, more: true };
      results.push([bytesOf(key), value]);
      size += key.length + value.length;
    }
    return { results, more: false };
  }

  #at(key: string, version: bigint): Buffer | undefined {
    const stored = this.#values.get(key)?.findLast((one) => one.version <= version)?.value;
    return stored === undefined ? undefined : Buffer.from(stored);
  }

  /** Throws when it was read too long ago, or when somebody else has written there since. */
  commit({ readVersion, reads, writes, mutations }: Commit): bigint {
    if (reads.length > 0) {
      this.check(readVersion);
      const isChanged = this.#writes.some(
        (write) => write.version > readVersion && reads.some(([start, end]) => start < write.end && write.start < end),
      );
      if (isChanged) throw new StandInError(1020);
    }
    this.#version = this.version + 1n;
    const version = this.#version;
    for (const [start, end] of writes) this.#writes.push({ version, start, end });
    while (this.#writes.length > 0 && this.#writes[0]!.version < version - VERSIONS_KEPT) this.#writes.shift();
    for (const { start, end, value } of mutations) {
      if (end === undefined) this.#store(start, version, value);
      else for (const key of this.#values.keys()) if (key >= start && key < end) this.#store(key, version, undefined);
    }
    return version;
  }

  #store(key: string, version: bigint, value: Buffer | undefined): void {
    const known = this.#values.get(key);
    if (known === undefined) {
      this.#values.set(key, [{ version, value }]);
      this.#sorted = undefined;
    } else known.push({ version, value });
  }
}

export type Call = "version" | "get" | "range" | "commit";

interface Fault {
  readonly call: Call;
  readonly code: number;
  readonly done: boolean;
  times: number;
  skip: number;
}

interface Stored {
  readonly version: bigint;
  readonly value: Buffer | undefined;
}

/** Keys as latin1 text: its order is that of the bytes. */
type Span = readonly [start: string, end: string];

/** `end`: the range is cleared. */
interface Mutation {
  readonly start: string;
  readonly end: string | undefined;
  readonly value: Buffer | undefined;
}

interface Commit {
  readonly readVersion: bigint;
  readonly reads: readonly Span[];
  readonly writes: readonly Span[];
  readonly mutations: readonly Mutation[];
}

const VERSIONS_KEPT = 5_000_000n;
const MAX_KEY_BYTES = 10_000;
const MAX_VALUE_BYTES = 100_000;
const MAX_TRANSACTION_BYTES = 10_000_000;
/** What comes in one reply when everything is wanted. */
const REPLY_BYTES = 80_000;

const TEXTS: Readonly<Record<number, string>> = {
  1007: "Transaction is too old to perform reads or be committed",
  1020: "Transaction not committed due to conflict with another transaction",
  1021: "Transaction may or may not have committed",
  1025: "Operation aborted because the transaction was cancelled",
  1031: "Operation aborted because the transaction timed out",
  1037: "Storage process does not have recent mutations",
  1038: "Database is locked",
  1039: "The protocol version of the cluster has changed",
  1515: "No cluster file found in current directory or default location",
  2010: "Transaction already has a read version set",
  2101: "Transaction exceeds byte limit",
  2102: "Key length exceeds limit",
  2103: "Value length exceeds limit",
};

/** What `rawOnError` begins anew after (FoundationDB's `Transaction::onError`). */
const RETRYABLE = new Set([1007, 1009, 1020, 1021, 1037, 1038, 1039, 1042, 1051, 1078, 1213, 1223]);

export class StandInError extends Error {
  readonly code: number;

  constructor(code: number) {
    super(TEXTS[code] ?? `Error ${code}`);
    this.code = code;
  }
}

/** Time that goes on when a test says so. */
export class StandInClock implements FoundationdbClock {
  #now = 0;
  #timers: { at: number; run: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  get waiting(): number {
    return this.#timers.length;
  }

  advance(ms: number): void {
    this.#now += ms;
    const due = this.#timers.filter(({ at }) => at <= this.#now);
    this.#timers = this.#timers.filter(({ at }) => at > this.#now);
    for (const { run } of due) run();
  }
}

/** The package, with a cluster for every name of a cluster file. */
export class StandInPackage implements FoundationdbPackage {
  readonly #clusters = new Map<string, StandInCluster>();
  #apiVersion: number | undefined;

  setAPIVersion(version: number): void {
    if (this.#apiVersion !== undefined && this.#apiVersion !== version) throw new Error("already initialized");
    this.#apiVersion = version;
  }

  cluster(clusterFile: string = ""): StandInCluster {
    let cluster = this.#clusters.get(clusterFile);
    if (cluster === undefined) {
      cluster = new StandInCluster();
      this.#clusters.set(clusterFile, cluster);
    }
    return cluster;
  }

  open(clusterFile?: string): FdbDatabase {
    if (this.#apiVersion === undefined) throw new Error("You must specify an API version");
    if (clusterFile?.endsWith("missing")) throw new StandInError(1515);
    const cluster = this.cluster(clusterFile);
    let isOpen = true;
    return {
      rawCreateTransaction: ({ timeout = Number.POSITIVE_INFINITY } = {}) => {
        if (!isOpen) throw new Error("Cannot create transaction after db closed");
        return new StandInTransaction(cluster, new TransactionState(cluster.clock.now() + timeout), false);
      },
      close: () => {
        if (!isOpen) throw new Error("Invalid arguments");
        isOpen = false;
      },
    };
  }
}

/** For tests that open volumes by their addresses: `loadFoundationdb` gives it where they have it replaced. */
export const standIn: StandInPackage = new StandInPackage();

/** What all views of one transaction share. */
class TransactionState {
  readonly timeoutAt: number;
  readVersion: Promise<bigint> | undefined;
  committedVersion = -1n;
  mutations: Mutation[] = [];
  reads: Span[] = [];
  writes: Span[] = [];
  deferred: StandInError | undefined;
  isCancelled = false;
  /** Calls of before a reset fail. */
  generation = 0;

  constructor(timeoutAt: number) {
    this.timeoutAt = timeoutAt;
  }

  reset(): void {
    this.readVersion = undefined;
    this.mutations = [];
    this.reads = [];
    this.writes = [];
    this.deferred = undefined;
    this.generation++;
  }
}

class StandInTransaction implements FdbTransaction {
  readonly #cluster: StandInCluster;
  readonly #state: TransactionState;
  readonly #isSnapshot: boolean;

  constructor(cluster: StandInCluster, state: TransactionState, isSnapshot: boolean) {
    this.#cluster = cluster;
    this.#state = state;
    this.#isSnapshot = isSnapshot;
  }

  snapshot(): FdbTransaction {
    return new StandInTransaction(this.#cluster, this.#state, true);
  }

  async get(key: Buffer): Promise<Buffer | undefined> {
    const name = textOf(key);
    const own = this.#state.mutations.findLast(
      ({ start, end }) => start === name || (end !== undefined && start <= name && name < end),
    );
    return this.#call("get", (version) => {
      if (own !== undefined) return own.value;
      if (!this.#isSnapshot) this.#state.reads.push([name, `${name}\0`]);
      return this.#cluster.get(name, version);
    });
  }

  async getRangeNative(
    start: FdbKeySelector,
    end: FdbKeySelector,
    limit: number,
    targetBytes: number,
    streamingMode: number,
    _iteration: number,
    reverse: boolean,
  ): Promise<{ results: [Buffer, Buffer][]; more: boolean }> {
    const isKnown = [start, end].every(({ orEqual, offset }) => !orEqual && offset === 1);
    if (!isKnown || targetBytes !== 0 || streamingMode !== -2 || reverse) throw new Error("Not in the stand-in");
    if (this.#state.mutations.length > 0) throw new Error("The stand-in reads no ranges behind its own writes");
    const [from, to] = [textOf(start.key), textOf(end.key)];
    return this.#call("range", (version) => {
      const found = this.#cluster.scan(from, to, version, limit);
      const last = found.more ? `${textOf(found.results.at(-1)![0])}\0` : to;
      if (!this.#isSnapshot) this.#state.reads.push([from, last]);
      return found;
    });
  }

  set(key: Buffer, value: Buffer): void {
    if (key.length > MAX_KEY_BYTES) this.#state.deferred ??= new StandInError(2102);
    if (value.length > MAX_VALUE_BYTES) this.#state.deferred ??= new StandInError(2103);
    const start = textOf(key);
    this.#state.mutations.push({ start, end: undefined, value: Buffer.from(value) });
    this.#state.writes.push([start, `${start}\0`]);
  }

  clear(key: Buffer): void {
    const start = textOf(key);
    this.#state.mutations.push({ start, end: undefined, value: undefined });
    this.#state.writes.push([start, `${start}\0`]);
  }

  clearRange(first: Buffer, last: Buffer): void {
    const [start, end] = [textOf(first), textOf(last)];
    this.#state.mutations.push({ start, end, value: undefined });
    this.#state.writes.push([start, end]);
  }

  addReadConflictRange(start: Buffer, end: Buffer): void {
    this.#state.reads.push([textOf(start), textOf(end)]);
  }

  addWriteConflictRange(start: Buffer, end: Buffer): void {
    this.#state.writes.push([textOf(start), textOf(end)]);
  }

  setReadVersion(version: Buffer): void {
    if (this.#state.readVersion !== undefined) this.#state.deferred ??= new StandInError(2010);
    this.#state.readVersion = Promise.resolve(version.readBigInt64BE());
  }

  async getReadVersion(): Promise<Buffer> {
    const version = await this.#readVersion();
    return versionBytes(version);
  }

  #readVersion(): Promise<bigint> {
    const { generation } = this.#state;
    this.#state.readVersion ??= this.#cluster.answer("version").then((fault) => {
      this.#assertUsable(generation);
      if (fault !== undefined) throw new StandInError(fault.code);
      return this.#cluster.version;
    });
    return this.#state.readVersion;
  }

  getCommittedVersion(): Buffer {
    return versionBytes(this.#state.committedVersion);
  }

  async rawCommit(): Promise<void> {
    const { generation } = this.#state;
    const { mutations, reads, writes } = this.#state;
    const isReadOnly = mutations.length + writes.length === 0;
    const readVersion = isReadOnly || reads.length === 0 ? 0n : await this.#readVersion();
    const fault = await this.#cluster.answer("commit");
    this.#assertUsable(generation);
    if (this.#state.deferred !== undefined) throw this.#state.deferred;
    if (fault !== undefined && !fault.done) throw new StandInError(fault.code);
    if (!isReadOnly) {
      const size = sizeOf(this.#state);
      if (size > MAX_TRANSACTION_BYTES) throw new StandInError(2101);
      this.#state.committedVersion = this.#cluster.commit({ readVersion, reads, writes, mutations });
      this.#cluster.committedBytes.push(size);
    }
    if (fault !== undefined) throw new StandInError(fault.code);
  }

  async rawOnError(code: number): Promise<void> {
    const { generation } = this.#state;
    await turn();
    this.#assertUsable(generation);
    if (!RETRYABLE.has(code)) throw new StandInError(code);
    this.#state.reset();
  }

  rawCancel(): void {
    this.#state.isCancelled = true;
  }

  rawReset(): void {
    this.#state.isCancelled = false;
    this.#state.reset();
  }

  async #call<T>(call: Call, work: (version: bigint) => T): Promise<T> {
    const { generation } = this.#state;
    const version = await this.#readVersion();
    const fault = await this.#cluster.answer(call);
    this.#assertUsable(generation);
    if (fault !== undefined) throw new StandInError(fault.code);
    return work(version);
  }

  #assertUsable(generation: number): void {
    if (this.#state.isCancelled || this.#state.generation !== generation) throw new StandInError(1025);
    if (this.#cluster.clock.now() >= this.#state.timeoutAt) throw new StandInError(1031);
  }
}

/** Keys and values that are written, and all ranges. */
function sizeOf({ mutations, reads, writes }: TransactionState): number {
  let size = 0;
  for (const { start, end, value } of mutations) size += start.length + (end?.length ?? 0) + (value?.length ?? 0);
  for (const [start, end] of [...reads, ...writes]) size += start.length + end.length;
  return size;
}

function firstIndex(sorted: readonly string[], key: string): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function textOf(key: Buffer): string {
  return key.toString("latin1");
}

function bytesOf(key: string): Buffer {
  return Buffer.from(key, "latin1");
}

function versionBytes(version: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(version);
  return bytes;
}
