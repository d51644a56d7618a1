import { databaseOf } from "./database-of.ts";
import { type MysqlServer, requireMysql } from "./mysql-server.ts";
import { readMysqlCatalog, readMysqlTables } from "./mysql-tables.ts";
import { type PostgresServer, requirePostgres } from "./postgres-server.ts";
import { readPostgresTables } from "./postgres-tables.ts";

/** What tests of all SQL servers need of one. Databases go by their META-URL. */
export interface SqlServer {
  /** Ending of its SQL files below test/fixtures: `postgres`. */
  readonly ending: string;
  /** A new, empty database. */
  createDatabase(): Promise<string>;
  /** A new database with what a SQL file holds. */
  restore(file: string): Promise<string>;
  /** Runs statements. */
  run(url: string, sql: string): Promise<void>;
  /** Rows by table, in the form of sqlite-tables.ts. */
  readTables(url: string): Promise<Map<string, string[]>>;
  /** The schema as the server's own program or statements tell it, in lines. */
  readSchema(url: string): Promise<string[]>;
}

/** Every SQL server that decant supports, undefined where it had to be skipped: for `describe.each`. */
export async function requireSqlServers(): Promise<(readonly [name: string, server: SqlServer | undefined])[]> {
  const [postgres, mysql] = [await requirePostgres(), await requireMysql()];
  return [
    ["PostgreSQL", postgres && ofPostgres(postgres)],
    ["MySQL", mysql && ofMysql(mysql)],
  ];
}

export function ofPostgres(server: PostgresServer): SqlServer {
  return {
    ending: "postgres",
    createDatabase: async () => server.url(await server.createDatabase()),
    restore: async (file) => server.url(await server.restore(file)),
    run: async (url, sql) => void (await server.psql(databaseOf(url), sql)),
    readTables: (url) => readPostgresTables(url, ""),
    readSchema: async (url) => (await server.dumpSchema(databaseOf(url))).split("\n"),
  };
}

export function ofMysql(server: MysqlServer): SqlServer {
  return {
    ending: "mysql",
    createDatabase: async () => server.url(await server.createDatabase()),
    restore: async (file) => server.url(await server.restore(file)),
    run: async (url, sql) => void (await server.query(sql, databaseOf(url))),
    readTables: (url) => readMysqlTables(server, databaseOf(url)),
    readSchema: async (url) => (await readMysqlCatalog(server, databaseOf(url))).join("\n").split("\n"),
  };
}
