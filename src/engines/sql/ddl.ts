import { indexName, type SqlColumn, type SqlTable, tableName } from "./schema.ts";

/** How a SQL database spells the statements that create tables (docs/spec/sql.md §3.2). */
export interface SqlDialect {
  /** A quoted name. */
  quote(name: string): string;
  /** The type of a column, with what numbers its rows where the dialect says that in the type. */
  columnType(column: SqlColumn): string;
  /** What follows `PRIMARY KEY` for a column whose values the database numbers. */
  readonly autoSuffix: string;
}

/** `CREATE TABLE` as the reference sends it, without `IF NOT EXISTS`. */
export function createTableSql(dialect: SqlDialect, table: SqlTable, prefix: string): string {
  const parts = table.columns.map((column) => columnSql(dialect, column));
  if (table.primaryKey !== undefined) {
    parts.push(`PRIMARY KEY ( ${table.primaryKey.map((name) => dialect.quote(name)).join(",")} )`);
  }
  return `CREATE TABLE ${dialect.quote(tableName(prefix, table.name))} (${parts.join(", ")})`;
}

/** The definition of a column, as in `CREATE TABLE` and `ALTER TABLE ... ADD`. */
export function columnSql(dialect: SqlDialect, column: SqlColumn): string {
  const key = column.key === undefined ? "" : ` PRIMARY KEY${column.key === "auto" ? dialect.autoSuffix : ""}`;
  const fallback = column.defaultZero ? " DEFAULT 0" : "";
  const nullable = column.nullable ? "NULL" : "NOT NULL";
  return `${dialect.quote(column.name)} ${dialect.columnType(column)}${key}${fallback} ${nullable}`;
}

/** The statements that create the indexes of a table. */
export function createIndexSql(dialect: SqlDialect, table: SqlTable, prefix: string): string[] {
  const fullName = tableName(prefix, table.name);
  return table.indexes.map((index) => {
    const columns = index.columns.map((name) => dialect.quote(name)).join(",");
    const name = dialect.quote(indexName(fullName, index));
    return `CREATE ${index.unique ? "UNIQUE " : ""}INDEX ${name} ON ${dialect.quote(fullName)} (${columns})`;
  });
}
