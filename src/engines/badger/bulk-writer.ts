import { rmdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import { recycle } from "../../base/bytes.ts";
import { errorText } from "../../base/errors.ts";
import type { KvBulkOptions, KvBulkWriter, KvPage, KvPair } from "../kv/kv-store.ts";
import { lookUp } from "./badger-snapshot.ts";
import { clearDirectory, makeDirectory, publishFile, syncDirectory } from "./directory-changes.ts";
import { LOAD_MARK, listDirectory, MANIFEST_NAME } from "./directory-files.ts";
import { type DirectoryLock, lockDirectory } from "./directory-lock.ts";
import { DirectoryView } from "./directory-view.ts";
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
}

/**
 * Fills a directory that holds no keys (docs/spec/kv-stores.md §3.6.3): sorts all pairs, then writes tables of the last level,
 * and at last MANIFEST. Until that is there, clients and decant take the directory for empty; clients delete the tables.
 */
export class BadgerBulkWriter implements KvBulkWriter {
  readonly #begun: Begun;
  readonly #options: KvBulkOptions;
  readonly #sorter: PairSorter;
  readonly #tables: ListedTable[] = [];
  #isOpen = true;

  private constructor(begun: Begun, options: KvBulkOptions) {
    this.#begun = begun;
    this.#options = options;
    this.#sorter = new PairSorter({ maxBytes: options.maxBytes, tmpDir: begun.tmpDir, rankBytes: 0 });
  }

  /** Locks the directory until the end, and empties it of what a load that was cut off has left. */
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
      clearDirectory(directory, files);
      return new BadgerBulkWriter({ directory, tmpDir, lock, made }, options);
    } catch (error) {
      if (made !== undefined) removeDirectories(directory, made, options);
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
      rmSync(join(directory, LOAD_MARK), { force: true }); // beside a MANIFEST it means nothing
    } catch (error) {
      this.#options.logger.warn(
        `Cannot remove ${join(directory, LOAD_MARK)}, which is not needed: ${errorText(error)}`,
      );
    }
    lock.release();
  }

  async abort(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const { directory, lock, made } = this.#begun;
    this.#sorter.close();
    try {
      for (const { id } of this.#tables) rmSync(join(directory, tableName(id)), { force: true });
      rmSync(join(directory, LOAD_MARK), { force: true });
    } catch (error) {
      this.#options.logger.warn(
        `Cannot remove all that was written to ${directory}: ${errorText(error)}. No client takes it for a volume, and the next load removes it`,
      );
    }
    if (made !== undefined) removeDirectories(directory, made, this.#options);
    lock.release();
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

/** Removes empty directories from `directory` up to `topmost`, which were made for it. */
function removeDirectories(directory: string, topmost: string, { logger }: KvBulkOptions): void {
  try {
    for (let path = resolve(directory); path.length >= resolve(topmost).length; path = dirname(path)) rmdirSync(path);
  } catch (error) {
    logger.warn(`Cannot remove ${directory}, which was made for this load: ${errorText(error)}`);
  }
}
