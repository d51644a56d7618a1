import { LEGACY_SESSION_TABLE, SQL_TABLES, tableName } from "../sql/schema.ts";
import type { PostgresAddress } from "./postgres-address.ts";
import { storedName } from "./stored-names.ts";

/** What is needed of a connection, which itself needs to know the columns. */
interface QueryRows {
  rows<T extends readonly unknown[]>(query: string, values: readonly string[]): Promise<T[]>;
}

/** Column names by full table name, of the tables of a volume in a schema. */
export async function readColumns(
  session: QueryRows,
  { schema, tablePrefix }: PostgresAddress,
): Promise<Map<string, ReadonlySet<string>>> {
  const rows = await session.rows<[table: string, columns: string[]]>(
    `SELECT c.relname::text, array_agg(a.attname::text)
       FROM pg_catalog.pg_class c
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relname LIKE 'jfs\\_%'
      GROUP BY c.relname`,
    [schema],
  );
  const found = new Map(rows);
  const names = [...SQL_TABLES.map(({ name }) => name), LEGACY_SESSION_TABLE];
  const fullNames = names.map((name) => tableName(tablePrefix, name));
  return new Map(
    fullNames.flatMap((name) => {
      const columns = found.get(storedName(name));
      return columns === undefined ? [] : [[name, new Set(columns)]];
    }),
  );
}
