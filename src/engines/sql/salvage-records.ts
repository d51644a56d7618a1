import { packBatch, type RecordBatch, unpackBatch } from "../../volume/records.ts";
import { parseSetting } from "../../volume/setting.ts";
import type { SnapshotLoss } from "../engine.ts";
import type { SqlSession } from "./catalog.ts";
import { type SalvageScan, salvageScans } from "./salvage-scan.ts";
import { tableName } from "./schema.ts";
import { STANDARD_COUNTERS } from "./standard-counters.ts";
import { parentsQuery } from "./subtree.ts";

type Tell = (loss: SnapshotLoss) => void;

/** The result of a statement, or why the server could not read what it needs. */
export type Attempt<T> = { readonly result: T } | { readonly damage: string };

/** Reads tables that may be damaged, in a transaction. */
export interface SalvageTables {
  /** Throws when something else than damage is in the way. */
  attempt<T>(work: () => Promise<T>): Promise<Attempt<T>>;
  /** The records of a table, each row that is not damaged. */
  read(scan: SalvageScan, tell: Tell): AsyncGenerator<RecordBatch>;
}

/** A damaged volume on a server. */
export interface SalvageSource {
  readonly session: SqlSession;
  readonly prefix: string;
  readonly setting: Buffer;
  readonly tables: SalvageTables;
}

/** All that can be read of the kinds, of the whole volume: an index that would say what belongs to a directory may be damaged. */
export async function* salvageRecords(
  source: SalvageSource,
  kinds: ReadonlySet<string>,
  tell: Tell,
): AsyncGenerator<RecordBatch> {
  if (kinds.has("counter")) yield await readCounterBatch(source, tell);
  for (const scan of salvageScans(source.session.catalog, source.prefix, kinds, tell))
    yield* source.tables.read(scan, tell);
  if (kinds.has("parent") && source.session.catalog.has("edge")) yield* readParents(source, tell);
}

/** The entry of that name, by looking at all entries. */
export async function findEntry(
  source: SalvageSource,
  parent: bigint,
  name: Buffer,
): Promise<{ inode: bigint; type: number } | undefined> {
  let found: { inode: bigint; type: number } | undefined;
  // Read to the end: whoever leaves early ends the connection.
  for await (const batch of salvageRecords(source, new Set(["edge"]), ignore)) {
    for (const edge of unpackBatch("edge", batch)) {
      if (edge.parent === parent && edge.name.equals(name)) found ??= { inode: edge.inode, type: edge.type };
    }
  }
  return found;
}

/** The attribute record, by looking at all inodes. */
export async function findNode(source: SalvageSource, inode: bigint): Promise<Buffer | undefined> {
  let found: Buffer | undefined;
  for await (const batch of salvageRecords(source, new Set(["node"]), ignore)) {
    for (const node of unpackBatch("node", batch)) if (node.inode === inode) found ??= Buffer.from(node.attribute);
  }
  return found;
}

/** `totalInodes`, 0 where it cannot be read. */
export async function countInodes(source: SalvageSource): Promise<bigint> {
  return (await readCounters(source, ignore)).get("totalInodes")!;
}

/** All counters; those that every volume has are 0 where they are lost (docs/spec/sql.md §5). */
async function readCounters({ session, prefix, tables }: SalvageSource, tell: Tell): Promise<Map<string, bigint>> {
  const counters = new Map(STANDARD_COUNTERS.map((name) => [name, 0n]));
  const fullName = tableName(prefix, "counter");
  const lose = (what: string): void => tell({ kind: "counter", message: `table ${fullName}${what}` });
  if (!session.catalog.has("counter")) {
    lose(": it does not exist");
    return counters;
  }
  const query = `SELECT name, value FROM ${session.catalog.table("counter")}`;
  const read = await tables.attempt(() => session.rows<[name: string | null, value: unknown]>(query));
  if ("damage" in read) lose(`: ${read.damage}`);
  const rows = "result" in read ? read.result : [];
  for (const [name, value] of rows) {
    if (typeof name !== "string") lose(", a row: the name is no text");
    else if (typeof value !== "bigint") lose(`, name ${name}: the value is no integer`);
    else counters.set(name, value);
  }
  const found = new Set(rows.map(([name]) => name));
  for (const name of STANDARD_COUNTERS) {
    // The hour directories of the trash have a counter only once there was one.
    if (name !== "nextTrash" && !found.has(name)) lose(`: there is no ${name}, which is taken as 0`);
  }
  return counters;
}

async function readCounterBatch(source: SalvageSource, tell: Tell): Promise<RecordBatch> {
  const { session, prefix, setting, tables } = source;
  const counters = await readCounters(source, tell);
  counters.delete("lastChangelog"); // as without damage (server-status.ts)
  if (parseSetting(setting).changeLog && session.catalog.has("change_log")) {
    const query = `SELECT coalesce(max(id), 0) FROM ${session.catalog.table("change_log")}`;
    const read = await tables.attempt(() => session.rows<[bigint]>(query));
    if ("damage" in read) {
      const message = `table ${tableName(prefix, "change_log")}: its last version is not known: ${read.damage}`;
      tell({ kind: "counter", message });
    } else if (read.result[0]![0] !== 0n) counters.set("lastChangelog", read.result[0]![0]);
  }
  return packBatch(
    "counter",
    [...counters].map(([name, value]) => ({ name, value })),
  );
}

/** Inodes with several places are few: their rows wait in memory as those of any statement of few rows. */
async function* readParents({ session, prefix, tables }: SalvageSource, tell: Tell): AsyncGenerator<RecordBatch> {
  const read = await tables.attempt(() =>
    session.rows<[inode: bigint | null, parent: bigint | null, count: bigint]>(parentsQuery(session.catalog)),
  );
  if ("damage" in read) {
    const what = "the directories of files with several places cannot be counted";
    tell({ kind: "parent", message: `table ${tableName(prefix, "edge")}: ${what}: ${read.damage}` });
    return;
  }
  const records = read.result.flatMap(([inode, parent, count]) =>
    inode === null || parent === null
      ? []
      : [{ inode: BigInt.asUintN(64, inode), parent: BigInt.asUintN(64, parent), count }],
  );
  if (records.length > 0) yield packBatch("parent", records);
}

function ignore(): void {
  // It is told when the table is read for its records.
}
