import Database from "better-sqlite3";
import { printableName } from "../../../volume/path.ts";
import type { SnapshotLoss } from "../../engine.ts";
import type { FieldRow } from "../../sql/field-row.ts";
import { tableName } from "../../sql/schema.ts";
import type { RecordReader } from "./cells.ts";
import type { DatabaseImage, PageSet } from "./database-image.ts";
import { shapeOf } from "./row-shape.ts";
import type { StoredSchema } from "./stored-schema.ts";
import type { FindRows } from "./table-salvage.ts";
import { indexEntries, RangeList, TableWalk } from "./table-walk.ts";

const ROWS_PER_STEP = 2000;

interface Source {
  readonly image: DatabaseImage;
  readonly schema: StoredSchema;
  readonly prefix: string;
  readonly tell: (loss: SnapshotLoss) => void;
  readonly freePages: () => PageSet | undefined;
}

/**
 * What indexes say of rows whose page is damaged. An entry of a directory can be made again of two of them and the type of its
 * inode; of chunks and extended attributes it is known at least whose they were.
 */
export function findLostRows(table: string, source: Source): FindRows | undefined {
  switch (table) {
    case "edge":
      return (row, left) => findEntries(source, row, left);
    case "sustained":
      return (row, left) => findSustained(source, row, left);
    case "chunk":
      return (_row, left) => nameRows(source, left, "chunk", "UQE_jfs_chunk_chunk");
    case "xattr":
      return (_row, left) => nameRows(source, left, "xattr", "UQE_jfs_xattr_name");
    default:
      return undefined;
  }
}

/** Entries of an index whose rows are lost, by the rowid that ends them. */
function* lostIn({ image, schema, prefix }: Source, index: string, left: RangeList): Generator<[RecordReader, bigint]> {
  const root = schema.index(index.replace("jfs_", () => tableName(prefix, "")));
  if (root === undefined) return;
  for (const record of indexEntries(image, root)) {
    const last = record.columns - 1;
    if (last < 1 || !record.isInteger(last)) continue;
    const rowid = record.integer(last);
    if (left.has(rowid)) yield [record, rowid];
  }
}

/** Fields of the row: parent, inode, type, name (sql/table-scans.ts). */
function* findEntries(source: Source, row: FieldRow, left: RangeList): Generator<bigint | undefined> {
  const lost = new Database(""); // a file of SQLite's own, which has no name
  try {
    lost.defaultSafeIntegers(true);
    lost.exec("PRAGMA journal_mode = OFF; CREATE TABLE lost (id INTEGER PRIMARY KEY, inode, type); BEGIN");
    const add = lost.prepare("INSERT OR IGNORE INTO lost VALUES (?, ?, NULL)");
    for (const [record, rowid] of lostIn(source, "IDX_jfs_edge_inode", left)) {
      if (record.isInteger(0)) add.run(rowid, record.integer(0));
    }
    yield* addTypes(source, lost);
    const take = lost.prepare("DELETE FROM lost WHERE id = ? RETURNING inode, type").raw();
    for (const [record, rowid] of lostIn(source, "UQE_jfs_edge_edge", left)) {
      if (record.columns !== 3 || !record.isInteger(0) || !record.isBytes(1)) continue;
      const parent = record.integer(0);
      const name = record.bytes(1);
      const [inode, type] = (take.get(rowid) ?? [undefined, null]) as [bigint | undefined, bigint | null];
      if (inode === undefined || type === null) {
        const of =
          inode === undefined ? "the inode is lost" : `the type is lost, and inode ${BigInt.asUintN(64, inode)} is too`;
        const message = `table ${tableName(source.prefix, "edge")}, id ${rowid}, name ${printableName(name)}: ${of}`;
        source.tell({ kind: "edge", inode: BigInt.asUintN(64, parent), message });
        continue;
      }
      row.open(name);
      row.setBigInt(0, parent);
      row.setBigInt(1, inode);
      row.setBigInt(2, type);
      row.setBytes(3, 0, name.length);
      yield rowid;
    }
    const rest = lost.prepare("SELECT id, inode FROM lost ORDER BY id").raw();
    for (const [id, inode] of rest.iterate() as IterableIterator<[bigint, bigint]>) {
      const table = tableName(source.prefix, "edge");
      const message = `table ${table}, id ${id}, inode ${BigInt.asUintN(64, inode)}: the name and the directory are lost`;
      source.tell({ kind: "edge", message });
    }
  } finally {
    lost.close();
  }
}

/** Stores the types of the inodes in `lost`, also of those whose page no other leads to. Yields now and then. */
function* addTypes({ image, schema, freePages }: Source, lost: Database.Database): Generator<undefined> {
  const table = schema.table("node");
  const column = table?.columns.indexOf("type") ?? -1;
  if (table === undefined || column < 0) return;
  lost.exec("CREATE INDEX by_inode ON lost (inode)");
  const set = lost.prepare("UPDATE lost SET type = ? WHERE inode = ?");
  const walk = new TableWalk(image);
  const { cell, record } = walk;
  let count = 0;
  const take = (): boolean => {
    if (record.columns > column && record.isInteger(column)) set.run(record.integer(column), cell.rowid);
    return ++count % ROWS_PER_STEP === 0;
  };
  for (const _ of walk.rows(table.root)) if (take()) yield undefined;
  const free = walk.hasLostInner ? freePages() : undefined;
  if (free === undefined) return;
  for (const isFound of walk.orphans(free, new RangeList(walk.lost), shapeOf(table, "node", record))) {
    if (!isFound || take()) yield undefined;
  }
}

/** Fields of the row: sid, inode. The index has all of it. */
function* findSustained(source: Source, row: FieldRow, left: RangeList): Generator<bigint> {
  for (const [record, rowid] of lostIn(source, "UQE_jfs_sustained_sustained", left)) {
    if (record.columns !== 3 || !record.isInteger(0) || !record.isInteger(1)) continue;
    row.setBigInt(0, record.integer(0));
    row.setBigInt(1, record.integer(1));
    yield rowid;
  }
}

/** Tells of rows to which inode they belonged; none of them can be made again. */
function* nameRows(source: Source, left: RangeList, kind: "chunk" | "xattr", index: string): Generator<bigint> {
  const table = tableName(source.prefix, kind);
  for (const [record, rowid] of lostIn(source, index, left)) {
    if (record.columns !== 3 || !record.isInteger(0)) continue;
    const inode = BigInt.asUintN(64, record.integer(0));
    const what = record.isBytes(1)
      ? `name ${printableName(record.bytes(1))}`
      : record.isInteger(1)
        ? `indx ${record.integer(1)}`
        : "";
    source.tell({ kind, inode, message: `table ${table}, id ${rowid}, ${what}: the row is on a damaged page` });
  }
  yield* [];
}
