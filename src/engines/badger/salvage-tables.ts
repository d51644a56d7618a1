import { join } from "node:path";
import { type Damage, isDamage } from "./damage.ts";
import { type DirectoryFiles, liveTables, MANIFEST_NAME, readManifest } from "./directory-files.ts";
import { compareWholeKeys, EMPTY } from "./entry.ts";
import { isCutOff, type ListedTable } from "./manifest.ts";
import { COMPRESSION_UNKNOWN } from "./salvage-index.ts";
import { TableCursor } from "./table-cursor.ts";
import type { TableFiles, TableSummary } from "./table-files.ts";

/**
 * The tables that can be read, of those that count as far as that is known. Where MANIFEST does not say it any more, all that are there
 * do: they are read as if they overlapped.
 */
export function readableTables(
  directory: string,
  files: DirectoryFiles,
  tables: TableFiles,
  damage: Damage,
  signal: AbortSignal,
): TableSummary[] {
  const readable: TableSummary[] = [];
  for (const table of countingTables(directory, files, damage)) {
    signal.throwIfAborted();
    damage.during(
      () => readable.push(tables.summarize(directory, table)),
      () => "the table is lost",
    );
  }
  return readable;
}

function countingTables(directory: string, files: DirectoryFiles, damage: Damage): ListedTable[] {
  const all = files.tables.map((id) => ({ id, level: 0, compression: COMPRESSION_UNKNOWN }));
  let listed: ListedTable[];
  try {
    listed = liveTables(directory, files);
  } catch (error) {
    if (!isDamage(error)) throw error;
    damage.lost(`${error.message}: all tables that are there were read, also those that had been replaced`);
    return all;
  }
  const ids = new Set(listed.map(({ id }) => id));
  const others = all.filter(({ id }) => !ids.has(id));
  if (!files.hasManifest || others.length === 0) return listed;
  const isMissing = listed.some(({ id }) => !files.tables.includes(id));
  if (!isMissing && !isCutOff(readManifest(directory))) return listed; // left by a client that was killed
  const path = join(directory, MANIFEST_NAME);
  damage.lost(
    `${path} does not fit the tables that are there or is cut off: ${others.length} that it does not list were read as well`,
  );
  return [...listed, ...others];
}

/**
 * Tables that do not overlap, in as few groups as possible, each by first keys. What MANIFEST says of levels may be wrong where tables
 * are lost, so that it is the keys that count.
 */
export function groupByKeys(files: TableFiles, tables: readonly TableSummary[], damage: Damage): TableSummary[][] {
  const groups: { tables: TableSummary[]; lastKey: Buffer | undefined }[] = [];
  for (const table of [...tables].sort((a, b) => compareWholeKeys(a.firstKey, b.firstKey))) {
    const lastKey = lastKeyOf(files, table, damage);
    const group = groups.find(({ lastKey: last }) => last !== undefined && compareWholeKeys(last, table.firstKey) < 0);
    if (group === undefined) groups.push({ tables: [table], lastKey });
    else {
      group.tables.push(table);
      group.lastKey = lastKey;
    }
  }
  return groups.map((group) => group.tables);
}

/** Undefined where the last block cannot be read. */
function lastKeyOf(files: TableFiles, table: TableSummary, damage: Damage): Buffer | undefined {
  const { index } = files.acquire(table);
  const first = Buffer.from(index.firstKey(index.blockCount - 1));
  files.release(table);
  const cursor = new TableCursor(files, [table], first, EMPTY, damage);
  let last: Buffer | undefined;
  try {
    while (cursor.next()) last = Buffer.from(cursor.key.subarray(0, cursor.keySize));
  } finally {
    cursor.close();
  }
  return last;
}
