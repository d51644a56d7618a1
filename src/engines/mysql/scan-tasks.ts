import { TRASH_INODE } from "../../volume/inode.ts";
import type { TableScan } from "../sql/table-scans.ts";
import type { MysqlSession } from "./mysql-session.ts";

/** A part of a scan: the rows that meet `condition`, all where it is undefined. */
export interface ScanTask {
  readonly scan: TableScan;
  readonly condition?: string;
}

/** Rows of one task, roughly: enough for a statement to be worth its while, few enough to spread one table. */
const TASK_KEYS = 200_000n;
const MAX_RANGES = 1000n;
/** Key of the clustered index, for the tables that may be huge. */
const KEYS: Readonly<Record<string, string>> = {
  node: "inode",
  edge: "id",
  chunk: "id",
  xattr: "id",
  symlink: "inode",
};

/** The scans in parts, by ranges of the key, so that one huge table is spread over all connections. */
export async function splitScans(session: MysqlSession, scans: readonly TableScan[]): Promise<ScanTask[]> {
  const tasks: ScanTask[] = [];
  for (const scan of scans) {
    const key = KEYS[scan.table];
    const conditions = key === undefined ? [] : await ranges(session, scan.table, key);
    if (conditions.length === 0) tasks.push({ scan });
    else for (const condition of conditions) tasks.push({ scan, condition });
  }
  return tasks;
}

/** Conditions that give every row once, whatever its key: the first and the last range are open. */
async function ranges(session: MysqlSession, table: string, key: string): Promise<string[]> {
  // What is in the trash has numbers far beyond the others: it would make nearly all ranges empty.
  const usual = `${key} > 0 AND ${key} < ${TRASH_INODE}`;
  const query = `SELECT min(${key}), max(${key}) FROM ${session.catalog.table(table)} WHERE ${usual}`;
  const [row] = await session.rows<[min: bigint | null, max: bigint | null]>(query);
  const [min, max] = row!;
  if (min === null || max === null) return [];
  // Keys may be sparse: there are never more than so many ranges of a table.
  const count = (max - min) / TASK_KEYS < MAX_RANGES ? (max - min) / TASK_KEYS : MAX_RANGES;
  const width = (max - min) / (count + 1n) + 1n;
  const bounds = Array.from({ length: Number(count) }, (_, i) => min + width * BigInt(i + 1));
  if (bounds.length === 0) return [];
  const inner = bounds.slice(1).map((bound, i) => `${key} >= ${bounds[i]} AND ${key} < ${bound}`);
  return [`${key} < ${bounds[0]}`, ...inner, `${key} >= ${bounds.at(-1)}`];
}
