import Database from "better-sqlite3";
import { SqlCatalog } from "../../sql/catalog.ts";
import { SQL_TABLES, type SqlTable, tableName } from "../../sql/schema.ts";
import { quote } from "../sqlite-schema.ts";
import type { DatabaseImage } from "./database-image.ts";
import { TableWalk } from "./table-walk.ts";

/** Where a table is and what its rows have. */
export interface StoredTable {
  /** Undefined where the description of the table is lost. */
  readonly root: number | undefined;
  readonly columns: readonly string[];
  /** Column that is the rowid itself, so that rows have NULL in its place; -1 where there is none. */
  readonly alias: number;
}

/** Columns of the table that describes all others: type, name, table, page, statement. */
const [NAME, ROOT, SQL] = [1, 3, 4];

/** What a database says of its tables, as far as it can be read. */
export class StoredSchema {
  readonly catalog: SqlCatalog;
  /** What cannot be read of it, undefined where all can. */
  readonly damage: string | undefined;
  readonly #tables: ReadonlyMap<string, StoredTable>;
  readonly #indexes: ReadonlyMap<string, number>;
  readonly #prefix: string;

  constructor(image: DatabaseImage, prefix: string) {
    this.#prefix = prefix;
    const tables = new Map<string, StoredTable>();
    const indexes = new Map<string, number>();
    const fullNames = new Map(SQL_TABLES.map((table) => [tableName(prefix, table.name), table]));
    const walk = new TableWalk(image);
    const { record } = walk;
    for (const _ of walk.rows(1)) {
      if (record.columns < 5 || !record.isBytes(NAME!) || !record.isInteger(ROOT!)) continue;
      const name = record.bytes(NAME!).toString();
      const root = Number(record.integer(ROOT!));
      const table = fullNames.get(name);
      if (record.bytes(0).toString() === "index") indexes.set(name, root);
      else if (table !== undefined)
        tables.set(name, describe(record.isBytes(SQL!) ? record.bytes(SQL!) : undefined, root, table));
    }
    const lost = walk.lost[0];
    if (lost !== undefined) {
      this.damage = `page ${lost.page} of ${image.path}, which describes tables, is damaged: ${lost.why}`;
      for (const [name, table] of fullNames) if (!tables.has(name)) tables.set(name, standard(table, undefined));
    }
    this.#tables = tables;
    this.#indexes = indexes;
    const columns = new Map([...tables].map(([name, table]) => [name, new Set(table.columns)]));
    this.catalog = new SqlCatalog(prefix, columns, quote);
  }

  /** `name` without prefix. */
  table(name: string): StoredTable | undefined {
    return this.#tables.get(tableName(this.#prefix, name));
  }

  /** Where an index begins: `UQE_jfs_edge_edge`, for instance. */
  index(fullName: string): number | undefined {
    return this.#indexes.get(fullName);
  }
}

/** From the statement that made the table, which a database in memory is asked for: columns may have come later. */
function describe(sql: Buffer | undefined, root: number, table: SqlTable): StoredTable {
  const statement = sql?.toString() ?? "";
  if (!/^CREATE TABLE /i.test(statement)) return standard(table, root);
  const db = new Database(":memory:");
  try {
    db.prepare(statement).run();
    const query =
      "SELECT p.name, p.type, p.pk FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name <> 'sqlite_sequence'";
    const columns = db.prepare(query).raw().all() as [name: string, type: string, key: number][];
    const keys = columns.filter(([, , key]) => key > 0);
    const alias = columns.findIndex(
      ([, type, key]) => key > 0 && keys.length === 1 && type.toUpperCase() === "INTEGER",
    );
    return { root, columns: columns.map(([name]) => name), alias };
  } catch {
    return standard(table, root); // the statement is damaged; rows that do not fit are told one by one
  } finally {
    db.close();
  }
}

/** The table as it is made today (docs/spec/sql.md §3.2). */
function standard({ columns }: SqlTable, root: number | undefined): StoredTable {
  const alias = columns.findIndex(({ key, type }) => key === "auto" || (key === "primary" && type === "int64"));
  return { root, columns: columns.map(({ name }) => name), alias };
}
