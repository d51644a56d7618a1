import pg from "pg";
import { parsePostgresAddress } from "../../src/engines/postgres/postgres-address.ts";
import { tlsAttempts } from "../../src/engines/postgres/postgres-tls.ts";

/** All rows of all tables of schema `public`, as texts; columns named `id` left out where the database numbers them. */
export async function readPostgresTables(url: string, prefix: string = "jfs_"): Promise<Map<string, string[]>> {
  return withClient(url, async (client) => {
    const { rows } = await client.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1");
    const tables = new Map<string, string[]>();
    for (const { tablename } of rows as { tablename: string }[]) {
      if (tablename.startsWith(prefix)) tables.set(tablename, await readTable(client, tablename));
    }
    return tables;
  });
}

/** In the same form as those of a SQLite file (sqlite-tables.ts), so that two databases can be compared. */
async function readTable(client: pg.Client, table: string): Promise<string[]> {
  const columns = await client.query({
    text: `SELECT column_name FROM information_schema.columns
            WHERE table_schema = 'public' AND table_name = $1 ORDER BY ordinal_position`,
    values: [table],
    rowMode: "array",
  });
  const kept = (columns.rows as string[][])
    .map(([name]) => name!)
    .filter((name) => name !== "id" || table.endsWith("_acl"));
  const { rows } = await client.query({
    text: `SELECT ${kept.map(quote).join(",")} FROM ${quote(table)}`,
    rowMode: "array",
  });
  return (rows as unknown[][]).map((row) => row.map((value, i) => `${kept[i]}=${literal(value)}`).join(" ")).sort();
}

function literal(value: unknown): string {
  if (value === null) return "NULL";
  if (Buffer.isBuffer(value)) return `X'${value.toString("hex").toUpperCase()}'`;
  if (typeof value === "string") return /^-?\d+$/.test(value) ? value : `'${value.replaceAll("'", "''")}'`;
  return String(value);
}

/** Tables, columns, constraints, indexes and the state of the sequences of a database. */
export async function readPostgresCatalog(url: string): Promise<string[]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query({
      text: `SELECT concat_ws(' ', 'column', table_name, ordinal_position, column_name, data_type,
                              character_maximum_length, column_default, is_nullable)
               FROM information_schema.columns WHERE table_schema = 'public'
             UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
             UNION ALL SELECT concat_ws(' ', 'constraint', conname, pg_get_constraintdef(oid))
               FROM pg_constraint WHERE connamespace = 'public'::regnamespace
             UNION ALL SELECT concat_ws(' ', 'sequence', sequencename, data_type, start_value, increment_by, cache_size,
                                        last_value)
               FROM pg_sequences WHERE schemaname = 'public'
             ORDER BY 1`,
      rowMode: "array",
    });
    return (rows as string[][]).map(([line]) => line!);
  });
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const { hosts, user, password, database, tls } = parsePostgresAddress(url, {});
  const wantsTls = tls.mode === "require" || tls.mode.startsWith("verify");
  const client = new pg.Client({
    ...hosts[0]!,
    user,
    password,
    database,
    ...(wantsTls ? { ssl: tlsAttempts(tls, hosts[0]!.host)[0]! } : {}),
  });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
