import { columnSql, createIndexSql, createTableSql, type SqlDialect } from "../sql/ddl.ts";
import { indexName, SQL_TABLES, type SqlColumn, type SqlTable, type SqlType, tableName } from "../sql/schema.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { quote, storedName } from "./stored-names.ts";

const TYPE_NAMES: Readonly<Record<SqlType, string>> = {
  int32: "INTEGER",
  int64: "BIGINT",
  name: "VARCHAR(255)",
  text: "TEXT",
  bytes: "BYTEA",
  bytes255: "BYTEA",
  bytes4096: "BYTEA",
};

/** The column that a sequence numbers, in every table that has one. */
export const SERIAL_COLUMN = "id";

const DIALECT: SqlDialect = {
  quote,
  columnType: ({ name, type }) => {
    if (name !== SERIAL_COLUMN) return TYPE_NAMES[type];
    return type === "int32" ? "SERIAL" : "BIGSERIAL";
  },
  autoSuffix: "",
};

/** Two names of a volume that the server would cut to one because the prefix is so long; undefined when there are none. */
export function findNameClash(prefix: string): string | undefined {
  const seen = new Set<string>();
  const names = SQL_TABLES.flatMap((table) => {
    const fullName = tableName(prefix, table.name);
    return [fullName, ...table.indexes.map((index) => indexName(fullName, index))];
  });
  return names.find((name) => seen.size === seen.add(storedName(name)).size);
}

/** The statements that create a table with its indexes (docs/spec/sql.md §3.2). */
export function createTable(table: SqlTable, prefix: string): string[] {
  return [createTableSql(DIALECT, table, prefix), ...createIndexes(table, prefix)];
}

/** A table without primary key and indexes, to be filled first. */
export function createBareTable(table: SqlTable, prefix: string): string {
  const columns = table.columns.map(({ key: _, ...column }): SqlColumn => column);
  return createTableSql(DIALECT, { name: table.name, columns, indexes: [] }, prefix);
}

/** What `createBareTable` leaves out; the constraint gets the name that PostgreSQL gives it in `CREATE TABLE` too. */
export function addPrimaryKey(table: SqlTable, prefix: string): string {
  const columns = table.primaryKey ?? table.columns.filter(({ key }) => key !== undefined).map(({ name }) => name);
  return `ALTER TABLE ${quote(tableName(prefix, table.name))} ADD PRIMARY KEY (${columns.map(quote).join(",")})`;
}

/** The tables of a volume that have their primary key, by name without prefix. */
export async function readKeyedTables(connection: PostgresConnection): Promise<Set<string>> {
  const { schema, tablePrefix } = connection.address;
  const found = await connection.rows<[string]>(
    `SELECT c.relname::text FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'p' AND n.nspname = $1`,
    [schema],
  );
  const names = new Set(found.map(([name]) => name));
  const keyed = SQL_TABLES.filter(({ name }) => names.has(storedName(tableName(tablePrefix, name))));
  return new Set(keyed.map(({ name }) => name));
}

export function createIndexes(table: SqlTable, prefix: string): string[] {
  return createIndexSql(DIALECT, table, prefix);
}

/** Creates tables, indexes and columns that an older volume lacks, as a client does that opens a session (docs/spec/sql.md §3.3). */
export async function syncTables(connection: PostgresConnection): Promise<void> {
  const catalog = await connection.readCatalog();
  const { tablePrefix } = connection.address;
  const missing = catalog.missingTables();
  for (const table of missing) {
    for (const statement of createTable(table, tablePrefix)) await connection.run(statement);
  }
  for (const table of SQL_TABLES.filter((candidate) => !missing.includes(candidate))) {
    for (const column of catalog.missingColumns(table)) {
      await connection.run(`ALTER TABLE ${catalog.table(table.name)} ADD ${columnSql(DIALECT, column)}`);
    }
  }
  await connection.readCatalog();
}

/** How many tables a schema has: what the reference calls "not empty" (docs/spec/sql.md §11.1). */
export async function countTables(connection: PostgresConnection): Promise<bigint> {
  const query = "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = $1";
  return (await connection.rows<[bigint]>(query, [connection.address.schema]))[0]![0];
}

/** The stored setting, undefined when the table or the row is missing or the value is empty (docs/spec/sql.md §9.1). */
export async function readSettingRow(
  connection: PostgresConnection,
  lock: "" | "FOR UPDATE" = "",
): Promise<Buffer | undefined> {
  const catalog = await connection.readCatalog();
  if (!catalog.has("setting")) return undefined;
  const query = `SELECT value FROM ${catalog.table("setting")} WHERE name = 'format' LIMIT 1 ${lock}`;
  const [row] = await connection.rows<[string]>(query);
  return row === undefined || row[0] === "" ? undefined : Buffer.from(row[0]);
}
