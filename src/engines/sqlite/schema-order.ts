import type { Connection } from "./sqlite-connection.ts";

/** The library's own table stands behind the first table that numbers its rows. */
const SEQUENCE_TABLE = "sqlite_sequence";

/**
 * Puts each index behind its table in sqlite_master, where the reference has it (docs/spec/sql.md §3.1): the loader creates
 * them after all rows, so they stand at the end. Only row numbers of the catalog change; SQLite reads the catalog in that
 * order and needs nothing but every table before its indexes.
 */
export function restoreSchemaOrder(db: Connection): void {
  db.unsafeMode(true);
  db.pragma("writable_schema = ON");
  db.exec("BEGIN IMMEDIATE");
  const rows = db.prepare("SELECT rowid, type, tbl_name FROM sqlite_master ORDER BY rowid").raw().all() as [
    bigint,
    string,
    string,
  ][];
  const positions = new Map<string, number>();
  let tables = 0;
  for (const [, type, name] of rows) {
    if (type === "table") positions.set(name, name === SEQUENCE_TABLE ? tables : ++tables);
  }
  const ordered = rows.toSorted((a, b) => positions.get(a[2])! - positions.get(b[2])!);
  const move = db.prepare("UPDATE sqlite_master SET rowid = ? WHERE rowid = ?");
  // By way of negative numbers, so that no two rows ever have the same one.
  for (const [i, [rowid]] of ordered.entries()) move.run(-i - 1, rowid);
  for (const i of ordered.keys()) move.run(i + 1, -i - 1);
  db.exec("COMMIT");
  db.pragma("writable_schema = RESET");
}
