import { SqlCatalog } from "../sql/catalog.ts";
import { columnSql, createIndexSql, createTableSql, type SqlDialect } from "../sql/ddl.ts";
import {
  indexName,
  LEGACY_SESSION_TABLE,
  SQL_TABLES,
  type SqlIndex,
  type SqlTable,
  type SqlType,
  tableName,
} from "../sql/schema.ts";
import type { MysqlConnection } from "./mysql-connection.ts";

const TYPE_NAMES: Readonly<Record<SqlType, string>> = {
  int32: "INT",
  int64: "BIGINT(20)",
  name: "VARCHAR(255)",
  text: "TEXT",
  bytes: "BLOB",
  bytes255: "VARBINARY(255)",
  bytes4096: "VARBINARY(4096)",
};

/** No engine, character set or collation: those of the server and the database apply, as with the reference. */
const MYSQL_DIALECT: SqlDialect = {
  quote,
  columnType: (column) => TYPE_NAMES[column.type],
  autoSuffix: " AUTO_INCREMENT",
};

/** A quoted name. */
export function quote(name: string): string {
  return `\`${name.replaceAll("`", "``")}\``;
}

/** Storage engines whose tables the reference counts (docs/spec/sql.md §11.1). */
const COUNTED_ENGINES: ReadonlySet<string> = new Set(["InnoDB", "MyISAM", "TokuDB"]);

/** Storage engines in which a consistent snapshot sees one state. */
const SNAPSHOT_ENGINES: ReadonlySet<string> = new Set(["InnoDB", "TokuDB", "ROCKSDB"]);

/** The tables of a database. */
export interface TableInfo {
  readonly catalog: SqlCatalog;
  /** How many tables the reference would count, of whatever volume or application. */
  readonly countedTables: number;
  /** Full names of the volume's tables whose storage engine knows no snapshots. */
  readonly withoutSnapshot: readonly string[];
}

/** Asks which tables and columns there are. A user sees those for which there is any right. */
export async function readTables(
  connection: MysqlConnection,
  prefix: string,
  lowersNames: boolean,
): Promise<TableInfo> {
  const tables = await connection.rows<[name: string, engine: string | null]>(
    "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'",
  );
  const found = await connection.rows<[table: string, column: string]>(
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name LIKE 'jfs\\_%'",
  );
  const names = [...SQL_TABLES.map(({ name }) => name), LEGACY_SESSION_TABLE];
  const fullNames = names.map((name) => tableName(prefix, name));
  const stored = new Map(fullNames.map((name) => [lowersNames ? name.toLowerCase() : name, name]));
  const columns = new Map<string, Set<string>>();
  for (const [table, column] of found) {
    const name = stored.get(table);
    if (name !== undefined) columns.set(name, (columns.get(name) ?? new Set()).add(column));
  }
  return {
    catalog: new SqlCatalog(prefix, columns, quote),
    countedTables: tables.filter(([, engine]) => COUNTED_ENGINES.has(engine ?? "")).length,
    withoutSnapshot: tables
      .filter(([name, engine]) => stored.has(name) && !SNAPSHOT_ENGINES.has(engine ?? ""))
      .map(([name]) => name),
  };
}

/** `CREATE TABLE`, which fails when the table exists. */
export function createTable(table: SqlTable, prefix: string): string {
  return createTableSql(MYSQL_DIALECT, table, prefix);
}

/** One statement that adds the indexes of a table, which reads the rows once; undefined when there are none or they are `present`. */
export function addIndexes(
  whole: SqlTable,
  prefix: string,
  present: ReadonlySet<string> = new Set(),
): string | undefined {
  const fullName = tableName(prefix, whole.name);
  const isMissing = (index: SqlIndex): boolean => !present.has(indexName(fullName, index).toLowerCase());
  const table = { ...whole, indexes: whole.indexes.filter(isMissing) };
  if (table.indexes.length === 0) return undefined;
  const start = `ALTER TABLE ${quote(tableName(prefix, table.name))} `;
  const clauses = createIndexSql(MYSQL_DIALECT, table, prefix).map((sql) =>
    sql.replace(/^CREATE /, "ADD ").replace(/ ON `(?:[^`]|``)*`/, ""),
  );
  return start + clauses.join(", ");
}

/** Names of all indexes of a database, in lower case. */
export async function readIndexNames(connection: MysqlConnection): Promise<Set<string>> {
  const rows = await connection.rows<[name: string]>(
    "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = DATABASE()",
  );
  return new Set(rows.map(([name]) => name.toLowerCase()));
}

/** Statements that create the tables and columns that are missing (docs/spec/sql.md §3.3). */
export function missingSchema(catalog: SqlCatalog, prefix: string): string[] {
  return SQL_TABLES.flatMap((table) => {
    if (!catalog.has(table.name)) {
      return [createTable(table, prefix), ...createIndexSql(MYSQL_DIALECT, table, prefix)].map((sql) =>
        sql.replace(/^CREATE TABLE /, "CREATE TABLE IF NOT EXISTS "),
      );
    }
    return catalog
      .missingColumns(table)
      .map((column) => `ALTER TABLE ${catalog.table(table.name)} ADD ${columnSql(MYSQL_DIALECT, column)}`);
  });
}

/** The stored setting, undefined when the table or the row is missing or the value is empty (docs/spec/sql.md §9.1). */
export async function readSettingRow(
  session: { readonly catalog: SqlCatalog; rows<T extends readonly unknown[]>(query: string): Promise<T[]> },
  lock: "" | " FOR UPDATE" = "",
): Promise<Buffer | undefined> {
  if (!session.catalog.has("setting")) return undefined;
  const table = session.catalog.table("setting");
  const [row] = await session.rows<[value: string]>(`SELECT value FROM ${table} WHERE name = 'format' LIMIT 1${lock}`);
  return row === undefined || row[0] === "" ? undefined : Buffer.from(row[0]);
}
