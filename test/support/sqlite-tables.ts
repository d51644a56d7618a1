import Database from "better-sqlite3";

/** All rows of all tables but the library's own, as texts; columns named `id` left out where the database numbers them. */
export function readTables(path: string, prefix: string = "jfs_"): Map<string, string[]> {
  const db = new Database(path, { readonly: true });
  try {
    const names = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all() as string[];
    return new Map(names.filter((name) => name.startsWith(prefix)).map((name) => [name, readTable(db, name)]));
  } finally {
    db.close();
  }
}

function readTable(db: Database.Database, name: string): string[] {
  const columns = db.prepare(`SELECT name FROM pragma_table_info(?)`).pluck().all(name) as string[];
  const kept = columns.filter((column) => column !== "id" || name.endsWith("_acl"));
  const row = kept.map((column) => `'${column}=' || quote("${column}")`).join(` || ' ' || `);
  return (db.prepare(`SELECT ${row} FROM "${name}"`).pluck().all() as string[]).sort();
}

/** sqlite_master in its order, without the page numbers. */
export function readCatalog(path: string): string[] {
  return query(
    path,
    "SELECT type || ' ' || name || ' ' || tbl_name || ' ' || ifnull(sql, '') FROM sqlite_master ORDER BY rowid",
  );
}

/** The first column of a query. */
export function query(path: string, sql: string): string[] {
  const db = new Database(path, { readonly: true });
  try {
    return (db.prepare(sql).pluck().all() as unknown[]).map(String);
  } finally {
    db.close();
  }
}
