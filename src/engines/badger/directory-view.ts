import { join } from "node:path";
import { ByteWriter } from "../../base/bytes.ts";
import type { KvRange } from "../kv/kv-store.ts";
import { damagedFile } from "./badger-errors.ts";
import type { Damage } from "./damage.ts";
import { type DirectoryFiles, liveTables, memoryLogName } from "./directory-files.ts";
import { compareWholeKeys, EMPTY, type EntryCursor } from "./entry.ts";
import { type LogExtent, measureLog } from "./log-reader.ts";
import { MemoryCursor, MemoryRun } from "./memory-run.ts";
import { MergedEntries } from "./merged-entries.ts";
import { type LogPart, salvageLog } from "./salvage-log.ts";
import { groupByKeys, readableTables } from "./salvage-tables.ts";
import { TableCursor } from "./table-cursor.ts";
import { TableFiles, type TableSummary } from "./table-files.ts";
import { ValueLog } from "./value-log.ts";

/** A memtable log as it was found. */
export interface FoundLog extends LogExtent {
  readonly number: number;
  readonly path: string;
  /** Of a damaged one: the parts that count. */
  readonly parts?: readonly LogPart[];
}

/**
 * All that stands in a directory at the moment in which it is opened, which must be locked until it is closed. What is appended
 * later, by this process, is not seen. Memory: the summaries of all tables, a few indexes, and what a scan reads ahead.
 */
export class DirectoryView {
  /** The largest ts in it. */
  readonly maxVersion: bigint;
  /** Memtable logs, ascending. */
  readonly logs: readonly FoundLog[];
  readonly #files: TableFiles;
  readonly #damage: Damage | undefined;
  readonly #valueLog: ValueLog;
  readonly #run: MemoryRun | undefined;
  /** Tables that do not overlap, by their first keys: each of level 0 alone, then the levels. */
  readonly #groups: readonly (readonly TableSummary[])[];

  /** Throws `DataError`, `FileError`; with `damage`, what cannot be read goes there, and all else is given. */
  constructor(directory: string, files: DirectoryFiles, tmpDir: string, signal: AbortSignal, damage?: Damage) {
    this.#files = new TableFiles(damage);
    this.#damage = damage;
    this.#valueLog = new ValueLog(directory);
    const tables =
      damage === undefined
        ? this.#liveTables(directory, files, signal)
        : readableTables(directory, files, this.#files, damage, signal);
    this.#groups = damage === undefined ? groupTables(tables) : groupByKeys(this.#files, tables, damage);
    this.logs = files.memoryLogs.map((number): FoundLog => {
      signal.throwIfAborted();
      const path = join(directory, memoryLogName(number));
      return { number, path, ...(damage === undefined ? measureLog(path) : salvageLog(path, damage)) };
    });
    this.#run = this.logs.length === 0 ? undefined : MemoryRun.build(this.logs, tmpDir, signal);
    const versions = [...tables.map((table) => table.maxVersion), ...this.logs.map((log) => log.maxVersion)];
    this.maxVersion = versions.reduce((largest, version) => (version > largest ? version : largest), 0n);
  }

  #liveTables(directory: string, files: DirectoryFiles, signal: AbortSignal): TableSummary[] {
    return liveTables(directory, files).map((table) => {
      signal.throwIfAborted();
      return this.#files.summarize(directory, table);
    });
  }

  /** What is alive from `start` on, below `end` (empty: to the end). Close it. */
  entries(start: Uint8Array, end: Uint8Array): MergedEntries {
    const cursors: EntryCursor[] = this.#run === undefined ? [] : [new MemoryCursor(this.#run, start)];
    for (const group of this.#groups) cursors.push(new TableCursor(this.#files, group, start, end, this.#damage));
    return new MergedEntries(cursors, this.#valueLog, end, Date.now() / 1000, this.#damage);
  }

  /** False when nothing is alive. */
  hasKeys(): boolean {
    return !this.keys({ start: EMPTY, end: EMPTY }).next().done;
  }

  /** The keys of a range that are alive; copies. Not for hot paths. */
  *keys({ start, end }: KvRange, signal?: AbortSignal): Generator<Buffer> {
    const entries = this.entries(start, end);
    const writer = new ByteWriter(65536);
    try {
      while (entries.fill(writer, 1) > 0) {
        signal?.throwIfAborted();
        const pair = writer.written();
        yield Buffer.from(pair.subarray(8, 8 + pair.readUInt32BE(0)));
        writer.length = 0;
      }
    } finally {
      entries.close();
    }
  }

  close(): void {
    this.#files.close();
    this.#valueLog.close();
    this.#run?.close();
  }
}

function groupTables(tables: readonly TableSummary[]): TableSummary[][] {
  const groups = tables.filter(({ level }) => level === 0).map((table) => [table]);
  for (const level of new Set(tables.map((table) => table.level))) {
    if (level === 0) continue;
    const group = tables
      .filter((table) => table.level === level)
      .sort((a, b) => compareWholeKeys(a.firstKey, b.firstKey));
    for (const [i, table] of group.entries()) {
      if (i > 0 && compareWholeKeys(group[i - 1]!.firstKey, table.firstKey) === 0) {
        throw damagedFile(table.path, 0, `tables ${group[i - 1]!.id} and ${table.id} of level ${level} overlap`);
      }
    }
    groups.push(group);
  }
  return groups;
}
