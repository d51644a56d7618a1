import type { Logger } from "../../base/logger.ts";

/**
 * What the key-value engines ask of a store (docs/spec/kv.md, docs/spec/kv-stores.md). A store knows bytes and transactions, and
 * nothing of what JuiceFS keeps in them. Keys here are without the volume's prefix: the store puts it in front, and takes it off.
 * Errors are `EngineError` (also for what a server refuses), `DataError` (damaged files) and carry no password; every call ends
 * soon after its signal was aborted.
 */
export interface KvStore {
  /** For people: "etcd", "TiKV", "BadgerDB". */
  readonly name: string;
  /** The address, passwords masked. */
  readonly address: string;
  readonly limits: KvLimits;

  /** A view of all keys at one instant. */
  openSnapshot(options: KvSnapshotOptions): Promise<KvSnapshot>;

  /** How its change log is numbered; undefined where it has none (etcd). */
  readonly changeLog: KvChangeLog | undefined;

  /** The newest committed values, as of one moment; undefined for keys that are not there. */
  get(keys: readonly Uint8Array[], signal: AbortSignal): Promise<(Buffer | undefined)[]>;

  /**
   * One transaction: when every condition holds, makes all changes and returns true; else changes nothing and returns false. When it
   * cannot be known whether it was committed, throws `EngineError` `DECANT_E_OUTCOME_UNKNOWN`.
   */
  transact(transaction: KvTransaction, signal: AbortSignal): Promise<boolean>;

  /**
   * Begins to fill the range, which was found empty, by writing the guard. Undefined when the key of the guard, or the one that
   * has to be absent, is there.
   */
  openBulkWriter(options: KvBulkOptions): Promise<KvBulkWriter | undefined>;

  /** Where a load has nothing among the keys before it is complete, not even the guard: what one that was cut off has left. */
  readonly unfinishedLoads?: KvUnfinishedLoads;

  /** Removes the keys of a range, not at one instant; never the key of the guard. */
  deleteRange(range: KvRange, options: KvDeleteOptions): Promise<void>;

  /** The clock of the store, undefined where it has none. */
  serverTime(signal: AbortSignal): Promise<Date | undefined>;

  /** Never throws. */
  close(): Promise<void>;
}

/** Keys from `start` on, below `end`, in the order of their bytes. An empty `end`: all keys from `start` on. */
export interface KvRange {
  readonly start: Uint8Array;
  readonly end: Uint8Array;
}

/**
 * The pair `key`, `value` has to be there and the key `absent` must not, while something is done: others remove or write them
 * to stop that. Looked at as often as the store can, where it can in the transactions that write; when it is otherwise, the call
 * throws what `lost` makes, and what is there is left alone. Where only one process may open the store (BadgerDB), its lock is as
 * good, and the pair needs not be written.
 */
export interface KvGuard {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly absent: Uint8Array;
  lost(): Error;
}

/** Loads that were cut off, of which no key tells. Only of a store without keys. */
export interface KvUnfinishedLoads {
  /** Undefined where there is none that can be gone on with. Throws `DataError` for what no load has left like this. */
  find(signal: AbortSignal): Promise<KvUnfinishedLoad | undefined>;

  /** Removes all that loads have left; false when that is nothing. Throws where one is running. */
  remove(signal: AbortSignal): Promise<boolean>;
}

export interface KvUnfinishedLoad {
  /** What the load's last `checkpoint` was given as the value of its only change. */
  readonly progress: Buffer;
  /** For `takesOver`: changes with every checkpoint. */
  readonly token: Buffer;
}

/** `XLOG` | shard | id where the log is sharded, else `XLOG` | id (docs/spec/kv.md §5.13). */
export interface KvChangeLog {
  readonly sharded: boolean;
  /** A dump has the lines whose numbers are at most this much below the last one. */
  readonly rewind: bigint;
}

export interface KvLimits {
  /** Largest value, and key with its prefix, in bytes; undefined where nothing known to be stored reaches it. */
  readonly maxValueBytes: number | undefined;
  readonly maxKeyBytes: number | undefined;
  /** False where a value must have at least one byte (TiKV). */
  readonly emptyValues: boolean;
  /** Changes, and conditions, that one transaction may have; undefined where there is no such limit that matters. */
  readonly maxTransactionPairs: number | undefined;
}

export interface KvSnapshotOptions {
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /**
   * Called for each thing that cannot be read, while all else is still given, where the store reads files: also while it is opened, and
   * perhaps again by another scan. Undefined: whatever is damaged throws. Servers that fail throw in any case.
   */
  readonly onLoss?: (loss: KvLoss) => void;
}

/** Something of a store that could not be read. */
export interface KvLoss {
  /** The key whose value is lost; undefined where nobody knows which keys are. */
  readonly key?: Buffer;
  /** What is wrong, without final period. */
  readonly message: string;
}

export interface KvSnapshot {
  /** How it was made, as `Consistency` in engines/engine.ts, and the instant as well as it is known; final when all is read. */
  readonly pointInTime: boolean;
  readonly method: string;
  readonly asOf: Date;

  /**
   * All pairs of a range, ascending by key, in pages that belong to the caller. Several scans may run at one time. Memory: a few
   * pages of about a quarter of a megabyte.
   */
  scan(range: KvRange): AsyncIterable<KvPage>;

  get(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]>;

  close(): Promise<void>;
}

/** Pairs back to back: u32 size of the key, u32 size of the value (both big-endian), key, value. */
export interface KvPage {
  readonly count: number;
  readonly bytes: Buffer;
}

/** `value` undefined: the key must not be there; or, of a change: the key is deleted. */
export interface KvPair {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

export interface KvTransaction {
  readonly conditions: readonly KvPair[];
  readonly changes: readonly KvPair[];
  /** Lines for the change log, which the store numbers, in the same transaction. Dropped where it has none. */
  readonly logEntries?: readonly string[];
}

export interface KvDeleteOptions {
  readonly signal: AbortSignal;
  readonly guard?: KvGuard;
}

export interface KvBulkOptions {
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Ceiling of memory for what must be sorted first (BadgerDB). */
  readonly maxBytes: number;
  /** Where all keys are that will be written: `abort` removes these ranges and nothing else. Undefined: everywhere. */
  readonly ranges?: readonly KvRange[];
  /** There from the beginning until `finish` or `abort` has ended. */
  readonly guard: KvGuard;
  /** `checkpoint` will be called: what is written then has to be there for another process. */
  readonly resumable?: boolean;
  /** The value of another guard of the same key, whose place this one takes: the range need not be empty then. */
  readonly takesOver?: Uint8Array;
  /** Bytes that will be stored, where something is known of them: to tell early what has no room. */
  readonly expectedBytes?: ExpectedBytes;
}

export interface ExpectedBytes {
  /** Hardly less than this. */
  readonly least: number;
  readonly likely: number;
}

/** Fills an empty range with many pairs, in any order; a key that comes again replaces the value before. */
export interface KvBulkWriter {
  /**
   * Waits until all that was written is durable, then makes the changes, which need the guard. Undefined where what was written is lost
   * with the process: there nobody can go on.
   */
  readonly checkpoint?: (changes: readonly KvPair[]) => Promise<void>;

  /**
   * Makes the changes, which need the guard, and waits until they are durable; what was written before may still be under way. Undefined
   * where who goes on finds exactly what was written until the last checkpoint.
   */
  readonly announce?: (changes: readonly KvPair[]) => Promise<void>;

  /**
   * Stops as `abort` does, but leaves all as it is; false when that is nothing to go on with, and was removed. Never throws. Only
   * where there is `checkpoint`.
   */
  readonly suspend?: () => Promise<boolean>;

  /** Takes over the page. Await it before the next call: it waits while too much is on its way. */
  write(page: KvPage): Promise<void>;

  /** Values written so far. For rare repairs. */
  get(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]>;

  /**
   * Waits until all is durable, then removes the guard's key and makes the changes, in one transaction that needs the guard:
   * only with it the range counts as written. Throws what `lost` makes where the guard does not hold.
   */
  finish(changes: readonly KvPair[]): Promise<void>;

  /**
   * Stops, waits until nothing of it can be written any more, and removes what was written and the guard, also when the signal
   * has fired. Never throws; says in a warning what it had to leave behind.
   */
  abort(): Promise<void>;
}
