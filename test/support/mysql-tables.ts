import type { MysqlServer } from "./mysql-server.ts";

const BYTE_TYPES = new Set(["blob", "mediumblob", "longblob", "varbinary"]);
const TEXT_TYPES = new Set(["varchar", "text", "mediumtext", "longtext"]);

/** All rows of all tables, as texts in the form of sqlite-tables.ts; columns named `id` left out where the database numbers them. */
export async function readMysqlTables(server: MysqlServer, database: string): Promise<Map<string, string[]>> {
  const columns = (await server.query(
    `SELECT table_name, column_name, data_type FROM information_schema.columns
      WHERE table_schema = '${database}' ORDER BY table_name, ordinal_position`,
  )) as [string, string, string][];
  const tables = new Map<string, string[]>();
  for (const name of new Set(columns.map(([table]) => table))) {
    const parts = columns
      .filter(([table, column]) => table === name && (column !== "id" || name.endsWith("_acl")))
      .map(([, column, type]) => `concat('${column}=', ifnull(${printed(column, type)}, 'NULL'))`);
    const rows = await server.query(`SELECT concat_ws(' ', ${parts.join(", ")}) FROM \`${name}\``, database);
    tables.set(name, rows.map(([row]) => String(row)).sort());
  }
  return tables;
}

function printed(column: string, type: string): string {
  if (BYTE_TYPES.has(type)) return `concat("X'", hex(\`${column}\`), "'")`;
  return TEXT_TYPES.has(type) ? `concat("'", replace(\`${column}\`, "'", "''"), "'")` : `\`${column}\``;
}

/** The statements that create the tables, without what depends on the rows. */
export async function readMysqlCatalog(server: MysqlServer, database: string): Promise<string[]> {
  const names = await server.query(
    `SELECT table_name FROM information_schema.tables WHERE table_schema = '${database}' ORDER BY table_name`,
  );
  const statements: string[] = [];
  for (const [name] of names) {
    const [row] = await server.query(`SHOW CREATE TABLE \`${String(name)}\``, database);
    statements.push(String(row![1]).replace(/ AUTO_INCREMENT=\d+/, ""));
  }
  return statements;
}

/** The entries of a volume's change log, in their order. */
export async function readMysqlChangeLog(server: MysqlServer, database: string): Promise<string[]> {
  const rows = await server.query("SELECT entry FROM jfs_change_log ORDER BY id", database);
  return rows.map(([entry]) => String(entry));
}
