import { SQL_TABLES, type SqlColumn, type SqlTable, tableName } from "./schema.ts";

/** Which of a volume's tables and columns a database has; older volumes lack some (docs/spec/sql.md §3.3). */
export class SqlCatalog {
  readonly #prefix: string;
  readonly #columns: ReadonlyMap<string, ReadonlySet<string>>;
  readonly #quote: (fullName: string) => string;

  /** `columns`: by full table name. `quote` makes the full name of a table an identifier in statements. */
  constructor(
    prefix: string,
    columns: ReadonlyMap<string, ReadonlySet<string>>,
    quote: (fullTableName: string) => string,
  ) {
    this.#prefix = prefix;
    this.#columns = columns;
    this.#quote = quote;
  }

  has(table: string): boolean {
    return this.#columns.has(tableName(this.#prefix, table));
  }

  hasColumn(table: string, column: string): boolean {
    return this.#columns.get(tableName(this.#prefix, table))?.has(column) ?? false;
  }

  /** The full name as an identifier. */
  table(name: string): string {
    return this.#quote(tableName(this.#prefix, name));
  }

  /** The tables of a volume that are missing, in creation order. */
  missingTables(): SqlTable[] {
    return SQL_TABLES.filter((table) => !this.has(table.name));
  }

  /** The columns that a table lacks. */
  missingColumns(table: SqlTable): SqlColumn[] {
    return table.columns.filter((column) => !this.hasColumn(table.name, column.name));
  }
}

/** One session with a SQL server, as far as servers do not differ. */
export interface SqlSession {
  readonly catalog: SqlCatalog;

  /**
   * The rows of a query as arrays: integers and whole decimals as bigint, byte strings as Buffer, texts as string, NULL as
   * null. For few rows.
   */
  rows<T extends readonly unknown[]>(query: string): Promise<T[]>;
}
