import { rmSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { recycle } from "../../base/bytes.ts";
import { errorText } from "../../base/errors.ts";
import type { KvBulkOptions, KvBulkWriter, KvPage, KvPair } from "../kv/kv-store.ts";
import { lookUp } from "./badger-snapshot.ts";
import { clearDirectory, makeDirectory, publishFile, removeDirectories, syncDirectory } from "./directory-changes.ts";
import { LOAD_MARK, listDirectory, MANIFEST_NAME } from "./directory-files.ts";
import { type DirectoryLock, lockDirectory } from "./directory-lock.ts";
import { DirectoryView } from "./directory-view.ts";
import { LoadRuns, readStoredLoad, removeRuns, type StoredLoad } from "./load-runs.ts";
import { COMPRESSION_NONE, encodeManifest, type ListedTable, MAX_LEVEL } from "./manifest.ts";
import { PairSorter } from "./pair-sorter.ts";
import { tableName } from "./table-files.ts";
import { TableWriter } from "./table-writer.ts";

/** A table is ended when it is larger. */
const TABLE_BYTES = 64 * 1024 * 1024;

/** The first transaction of a database. */
const FIRST_TS = 1n;

/** After so many bytes signals get their turn. */
const BYTES_PER_TURN = 4 * 1024 * 1024;

/** What a writer starts with. */
interface Begun {
  readonly directory: string;
  readonly tmpDir: string;
  readonly lock: DirectoryLock;
  /** The topmost directory that was made for it. */
  readonly made: string | undefined;
  /** A load that was cut off, with which this one goes on. */
  readonly earlier: StoredLoad | undefined;
}

/**
 * Fills a directory that holds no keys (docs/spec/kv-stores.md §3.6.3): sorts all pairs, then writes tables of the last level,
 * and at last MANIFEST. Until that is there, clients and decant take the directory for empty; clients delete the tables. With
 * `resumable` the sorted runs are files in the directory, and a checkpoint makes runs of all that is in memory: whoever goes on begins
 * with these, and sorts no pair again.
 */
export class BadgerBulkWriter implements KvBulkWriter {
  readonly #begun: Begun;
  readonly #options: KvBulkOptions;
  readonly #sorter: PairSorter;
  readonly #runs: LoadRuns | undefined;
  readonly #tables: ListedTable[] = [];
  readonly checkpoint?: (changes: readonly KvPair[]) => Promise<void>;
  #isOpen = true;

  private constructor(begun: Begun, options: KvBulkOptions) {
    this.#begun = begun;
    this.#options = options;
    const { directory, earlier, made, tmpDir } = begun;
    const resumed = earlier === undefined ? undefined : LoadRuns.resume(directory, earlier);
    this.#runs = resumed?.keeper ?? (options.resumable === true ? new LoadRuns(directory, made) : undefined);
    this.#sorter = new PairSorter({ maxBytes: options.maxBytes, tmpDir, rankBytes: 0, keeper: this.#runs });
    if (resumed !== undefined) this.#sorter.restore(resumed.runs, earlier!.pieces);
    if (this.#runs !== undefined) this.checkpoint = (changes) => this.#checkpoint(changes);
  }

  /**
   * Locks the directory until the end, and empties it of what a load that was cut off has left, but for that of which `takesOver` tells.
   * Undefined where there is anything else that can be gone on with.
   */
  static open(directory: string, tmpDir: string, options: KvBulkOptions): BadgerBulkWriter | undefined {
    options.signal.throwIfAborted();
    const made = makeDirectory(directory);
    let lock: DirectoryLock | undefined;
    try {
      lock = lockDirectory(directory, "load");
      const files = listDirectory(directory)!;
      const view = new DirectoryView(directory, files, tmpDir, options.signal);
      try {
        const { guard } = options;
        if (lookUp(view, [guard.key, guard.absent]).some((value) => value !== undefined) || view.hasKeys()) {
          lock.release();
          return undefined;
        }
      } finally {
        view.close();
      }
      const earlier = readStoredLoad(directory);
      if (!isSame(earlier?.bytes, options.takesOver)) {
        lock.release();
        return undefined;
      }
      if (earlier === undefined) removeRuns(directory);
      clearDirectory(directory, files);
      return new BadgerBulkWriter({ directory, tmpDir, lock, made: earlier?.made ?? made, earlier }, options);
    } catch (error) {
      if (made !== undefined) removeDirectories(directory, made, options.logger);
      lock?.release();
      throw error;
    }
  }

  async write({ bytes }: KvPage): Promise<void> {
    this.#options.signal.throwIfAborted();
    this.#sorter.add(bytes);
    recycle(bytes);
  }

  async get(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]> {
    this.#options.signal.throwIfAborted();
    return this.#sorter.find(keys);
  }

  /** What comes after it is stored with the next one. */
  async #checkpoint(changes: readonly KvPair[]): Promise<void> {
    this.#options.signal.throwIfAborted();
    const { runs, pieces } = this.#sorter.flush();
    await this.#runs!.checkpoint(changes[0]!.value!, runs, pieces);
  }

  async finish(changes: readonly KvPair[]): Promise<void> {
    const { directory, lock, made } = this.#begun;
    const deleted = new Set<string>();
    for (const { key, value } of changes) {
      if (value === undefined) deleted.add(Buffer.from(key).toString("latin1"));
      else this.#put(key, value);
    }
    await this.#writeTables(deleted);
    this.#sorter.close();
    if (made !== undefined) syncDirectory(directory);
    this.#options.signal.throwIfAborted();
    publishFile(directory, MANIFEST_NAME, [encodeManifest(this.#tables)]);
    this.#isOpen = false;
    try {
      // beside a MANIFEST they mean nothing
      rmSync(join(directory, LOAD_MARK), { force: true });
      removeRuns(directory);
    } catch (error) {
      this.#options.logger.warn(`Cannot remove from ${directory} what is not needed any more: ${errorText(error)}`);
    }
    lock.release();
  }

  /** Tables go all the same: they would take the room that may have been missing. */
  async suspend(): Promise<boolean> {
    if (this.#runs?.hasCheckpoint !== true) {
      await this.abort();
      return false;
    }
    this.#stop(() => this.#removeTables());
    return true;
  }

  async abort(): Promise<void> {
    this.#stop(() => {
      const { directory, made } = this.#begun;
      removeRuns(directory);
      this.#removeTables();
      rmSync(join(directory, LOAD_MARK), { force: true });
      if (made !== undefined) removeDirectories(directory, made, this.#options.logger);
    });
  }

  #stop(remove: () => void): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const { directory, lock } = this.#begun;
    this.#sorter.close();
    try {
      remove();
    } catch (error) {
      this.#options.logger.warn(
        `Cannot remove all that was written to ${directory}: ${errorText(error)}. No client takes it for a volume, and the next load removes it`,
      );
    }
    lock.release();
  }

  #removeTables(): void {
    for (const { id } of this.#tables) rmSync(join(this.#begun.directory, tableName(id)), { force: true });
  }

  #put(key: Uint8Array, value: Uint8Array): void {
    const at = this.#sorter.reserve(key.length, value.length);
    this.#sorter.buffer.set(key, at);
    this.#sorter.buffer.set(value, at + key.length);
  }

  /** A table is made durable while the next one is written. */
  async #writeTables(deleted: ReadonlySet<string>): Promise<void> {
    const { signal } = this.#options;
    const sorter = this.#sorter;
    let table: TableWriter | undefined;
    let syncing: Promise<void> | undefined;
    let nextTurn = BYTES_PER_TURN;
    try {
      while (sorter.next()) {
        const { bytes, keyStart, valueStart, valueEnd } = sorter;
        if (deleted.size > 0 && deleted.has(bytes.toString("latin1", keyStart, valueStart))) continue;
        if (table !== undefined && table.length >= TABLE_BYTES) {
          await syncing;
          syncing = table.finish();
          table = undefined;
        }
        if (table === undefined) {
          table = this.#startTable();
          nextTurn = BYTES_PER_TURN;
        }
        table.add(bytes, keyStart, valueStart, valueEnd);
        if (table.length < nextTurn) continue;
        nextTurn = table.length + BYTES_PER_TURN;
        await setImmediate();
        signal.throwIfAborted();
      }
      await syncing;
      syncing = undefined;
      await table?.finish();
      syncDirectory(this.#begun.directory);
    } finally {
      table?.close();
      await syncing?.catch(() => undefined); // another error is on its way
    }
  }

  #startTable(): TableWriter {
    const id = this.#tables.length + 1;
    this.#tables.push({ id, level: MAX_LEVEL, compression: COMPRESSION_NONE });
    return new TableWriter(join(this.#begun.directory, tableName(id)), FIRST_TS);
  }
}

function isSame(stored: Buffer | undefined, expected: Uint8Array | undefined): boolean {
  return expected === undefined ? stored === undefined : (stored?.equals(expected) ?? false);
}
