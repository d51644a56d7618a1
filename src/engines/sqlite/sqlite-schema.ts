import { EngineError } from "../../base/errors.ts";
import {
  indexName,
  LEGACY_SESSION_TABLE,
  SQL_TABLES,
  type SqlColumn,
  type SqlTable,
  type SqlType,
  tableName,
} from "../sql/schema.ts";
import type { Connection } from "./sqlite-connection.ts";

const TYPE_NAMES: Readonly<Record<SqlType, string>> = {
  int32: "INTEGER",
  int64: "INTEGER",
  name: "TEXT",
  text: "TEXT",
  bytes: "BLOB",
  bytes255: "BLOB",
  bytes4096: "BLOB",
};

/** A quoted name. */
export function quote(name: string): string {
  return `\`${name.replaceAll("`", "``")}\``;
}

/** `CREATE TABLE` exactly as the reference leaves it in sqlite_master (docs/spec/sql.md §3.2). */
export function createTableSql(table: SqlTable, prefix: string): string {
  const parts = table.columns.map(columnSql);
  if (table.primaryKey !== undefined) parts.push(`PRIMARY KEY ( ${table.primaryKey.map(quote).join(",")} )`);
  return `CREATE TABLE ${quote(tableName(prefix, table.name))} (${parts.join(", ")})`;
}

function columnSql(column: SqlColumn): string {
  const key = column.key === undefined ? "" : ` PRIMARY KEY${column.key === "auto" ? " AUTOINCREMENT" : ""}`;
  const fallback = column.defaultZero ? " DEFAULT 0" : "";
  return `${quote(column.name)} ${TYPE_NAMES[column.type]}${key}${fallback} ${column.nullable ? "NULL" : "NOT NULL"}`;
}

/** The statements that create the indexes of a table. */
export function createIndexSql(table: SqlTable, prefix: string): string[] {
  const fullName = tableName(prefix, table.name);
  return table.indexes.map((index) => {
    const columns = index.columns.map(quote).join(",");
    const name = quote(indexName(fullName, index));
    return `CREATE ${index.unique ? "UNIQUE " : ""}INDEX ${name} ON ${quote(fullName)} (${columns})`;
  });
}

/** Which of a volume's tables and columns a database has; older volumes lack some (docs/spec/sql.md §3.3). */
export class Catalog {
  readonly #prefix: string;
  readonly #columns = new Map<string, Set<string>>();

  constructor(db: Connection, prefix: string) {
    this.#prefix = prefix;
    const names = [...SQL_TABLES.map((table) => table.name), LEGACY_SESSION_TABLE];
    const columns = db
      .prepare("SELECT p.name FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name = ?")
      .pluck();
    for (const name of names) {
      const found = columns.all(tableName(prefix, name)) as string[];
      if (found.length > 0) this.#columns.set(name, new Set(found));
    }
  }

  has(table: string): boolean {
    return this.#columns.has(table);
  }

  /** Statements that add the columns which the table lacks; they leave the same text as a new table has. */
  missingColumns(table: SqlTable): string[] {
    const present = this.#columns.get(table.name);
    return table.columns
      .filter((column) => !present?.has(column.name))
      .map((column) => `ALTER TABLE ${this.table(table.name)} ADD ${columnSql(column)}`);
  }

  /** The quoted full name. */
  table(name: string): string {
    return quote(tableName(this.#prefix, name));
  }

  /** An expression for a column that is 0 where it is NULL or does not exist. */
  integer(table: string, column: string, alias: string): string {
    return this.#columns.get(table)?.has(column) ? `ifnull(${alias}.${quote(column)},0)` : "0";
  }
}

/** How many tables the database has, the library's own not counted: what the reference calls "not empty" (§11.1). */
export function countTables(db: Connection): number {
  const query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
  return Number(db.prepare(query).pluck().get());
}

/** Packed rows and casts between bytes and text are right for UTF-8 only; the reference never makes another database. */
function assertUtf8(db: Connection): void {
  const encoding = db.pragma("encoding", { simple: true });
  if (encoding === "UTF-8") return;
  throw new EngineError("DECANT_E_ENCODING", `${db.name} is a database in ${encoding}; decant handles UTF-8 only`, {
    hint: "Dump it with the reference client, or copy it into a new database with: sqlite3 FILE .dump",
  });
}

/** The stored setting, undefined when the table or the row is missing or the value is empty (docs/spec/sql.md §9.1). */
export function readSettingRow(db: Connection, prefix: string): Buffer | undefined {
  assertUtf8(db);
  const name = tableName(prefix, "setting");
  const known = db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").get(name);
  if (known === undefined) return undefined;
  const value = db
    .prepare(`SELECT CAST(value AS BLOB) FROM ${quote(name)} WHERE name = 'format'`)
    .pluck()
    .get();
  return Buffer.isBuffer(value) && value.length > 0 ? value : undefined;
}
