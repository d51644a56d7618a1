import { readdirSync } from "node:fs";
import { DataError } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import type {
  KvBulkOptions,
  KvBulkWriter,
  KvChangeLog,
  KvDeleteOptions,
  KvLimits,
  KvPair,
  KvRange,
  KvSnapshot,
  KvSnapshotOptions,
  KvStore,
  KvTransaction,
  KvUnfinishedLoad,
  KvUnfinishedLoads,
} from "../kv/kv-store.ts";
import { BadgerSnapshot, lookUp } from "./badger-snapshot.ts";
import { BadgerBulkWriter } from "./bulk-writer.ts";
import { Damage } from "./damage.ts";
import { makeDirectory, removeDirectories, removeLoadMark } from "./directory-changes.ts";
import { listDirectory } from "./directory-files.ts";
import { lockDirectory } from "./directory-lock.ts";
import { DirectoryView } from "./directory-view.ts";
import { hasRuns, readStoredLoad, removeRuns } from "./load-runs.ts";
import { LogAppender } from "./log-appender.ts";

/** Bytes of a transaction that deletes keys of a range. */
const DELETE_BYTES = 1024 * 1024;

/** The reference numbers the lines of one read version (docs/spec/kv.md §5.13). */
const LINES_PER_VERSION = 100n;
export const LOG_REWIND = 100_000n;

/**
 * A BadgerDB v4 in a directory (docs/spec/kv-stores.md §3). Every call locks the directory for as long as it takes and reads what
 * stands there, so nothing is held between them. Reading changes nothing, not even what clients leave behind.
 */
export class BadgerStore implements KvStore {
  readonly name = "BadgerDB";
  readonly address: string;
  readonly limits: KvLimits = {
    maxValueBytes: undefined,
    maxKeyBytes: 65000,
    emptyValues: true,
    maxTransactionPairs: undefined,
  };
  readonly changeLog: KvChangeLog;
  readonly unfinishedLoads: KvUnfinishedLoads = {
    find: async (signal) => this.#findLoad(signal),
    remove: async (signal) => this.#removeLoad(signal),
  };
  readonly #directory: string;
  readonly #tmpDir: string;
  #logLines = 0n;

  /** `tmpDir`: for what is sorted and does not fit into memory. */
  constructor(address: string, directory: string, tmpDir: string, rewind: bigint = LOG_REWIND) {
    this.address = address;
    this.changeLog = { sharded: false, rewind };
    this.#directory = directory;
    this.#tmpDir = tmpDir;
  }

  async openSnapshot({ signal, onLoss }: KvSnapshotOptions): Promise<KvSnapshot> {
    signal.throwIfAborted();
    if (listDirectory(this.#directory) === undefined) return new BadgerSnapshot(undefined, undefined, signal);
    const lock = lockDirectory(this.#directory, "shared");
    try {
      const damage = onLoss === undefined ? undefined : new Damage(this.#directory, onLoss);
      return new BadgerSnapshot(this.#view(signal, damage), lock, signal);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  async get(keys: readonly Uint8Array[], signal: AbortSignal): Promise<(Buffer | undefined)[]> {
    const snapshot = await this.openSnapshot({ signal, logger: silentLogger });
    try {
      return await snapshot.get(keys);
    } finally {
      await snapshot.close();
    }
  }

  async transact({ conditions, changes, logEntries = [] }: KvTransaction, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    return this.#change(signal, (view, appender) => {
      const found = lookUp(
        view,
        conditions.map(({ key }) => key),
      );
      if (!conditions.every(({ value }, i) => isSame(value, found[i]))) return false;
      if (changes.length + logEntries.length === 0) return true;
      const transaction = appender.begin();
      for (const { key, value } of changes) transaction.add(key, value);
      for (const line of logEntries) transaction.add(this.#logKey(appender.readTs), Buffer.from(line));
      appender.commit(transaction);
      return true;
    });
  }

  async openBulkWriter(options: KvBulkOptions): Promise<KvBulkWriter | undefined> {
    return BadgerBulkWriter.open(this.#directory, this.#tmpDir, options);
  }

  async deleteRange(range: KvRange, { signal, guard }: KvDeleteOptions): Promise<void> {
    signal.throwIfAborted();
    if (listDirectory(this.#directory) === undefined) return;
    this.#change(signal, (view, appender) => {
      if (guard !== undefined && lookUp(view, [guard.absent])[0] !== undefined) throw guard.lost();
      let transaction = appender.begin();
      for (const key of view.keys(range, signal)) {
        if (guard !== undefined && key.equals(guard.key)) continue;
        transaction.add(key, undefined);
        if (transaction.length < DELETE_BYTES) continue;
        appender.commit(transaction);
        transaction = appender.begin();
      }
      if (transaction.length > 0) appender.commit(transaction);
    });
  }

  /** There is no server. */
  async serverTime(): Promise<undefined> {}

  async close(): Promise<void> {
    // Nothing is kept open.
  }

  #view(signal: AbortSignal, damage?: Damage): DirectoryView {
    return new DirectoryView(this.#directory, listDirectory(this.#directory)!, this.#tmpDir, signal, damage);
  }

  #findLoad(signal: AbortSignal): KvUnfinishedLoad | undefined {
    signal.throwIfAborted();
    if (listDirectory(this.#directory) === undefined) return undefined;
    const lock = lockDirectory(this.#directory, "shared");
    try {
      const stored = readStoredLoad(this.#directory);
      return stored === undefined ? undefined : { progress: stored.progress, token: stored.bytes };
    } finally {
      lock.release();
    }
  }

  /** A load that runs holds the lock. */
  #removeLoad(signal: AbortSignal): boolean {
    signal.throwIfAborted();
    if (listDirectory(this.#directory) === undefined) return false;
    const lock = lockDirectory(this.#directory, "load");
    try {
      const files = listDirectory(this.#directory)!;
      if (!files.hasLoadMark && !hasRuns(this.#directory)) return false;
      const made = madeFor(this.#directory);
      removeRuns(this.#directory);
      removeLoadMark(this.#directory, files);
      const isEmpty = readdirSync(this.#directory).length === 0;
      if (made !== undefined && isEmpty) removeDirectories(this.#directory, made, silentLogger);
      return true;
    } finally {
      lock.release();
    }
  }

  /** Works on a directory that nobody else has open, which is made when it is not there. */
  #change<T>(signal: AbortSignal, work: (view: DirectoryView, appender: LogAppender) => T): T {
    makeDirectory(this.#directory);
    const lock = lockDirectory(this.#directory, "exclusive");
    try {
      const files = listDirectory(this.#directory)!;
      removeLoadMark(this.#directory, files);
      const view = this.#view(signal);
      try {
        if (hasRuns(this.#directory) && view.hasKeys()) removeRuns(this.#directory); // of no use beside a volume
        return work(view, new LogAppender(this.#directory, view.logs, view.maxVersion));
      } finally {
        view.close();
      }
    } finally {
      lock.release();
    }
  }

  /** `XLOG` | read version * 100 + number modulo 100, BE64. */
  #logKey(readTs: bigint): Buffer {
    const key = Buffer.alloc(12);
    key.write("XLOG", "latin1");
    key.writeBigUInt64BE(readTs * LINES_PER_VERSION + (++this.#logLines % LINES_PER_VERSION), 4);
    return key;
  }
}

/** The topmost directory that a load has made for this one, as far as it can be read. */
function madeFor(directory: string): string | undefined {
  try {
    return readStoredLoad(directory)?.made;
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    return undefined;
  }
}

function isSame(expected: KvPair["value"], found: Buffer | undefined): boolean {
  return expected === undefined ? found === undefined : (found?.equals(expected) ?? false);
}
