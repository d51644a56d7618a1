import { type PostgresServer, requirePostgres } from "../support/postgres-server.ts";
import { readPostgresCatalog, readPostgresTables } from "../support/postgres-tables.ts";
import { describeSqlGolden, nativeDumps, type SqlGoldenServer } from "./sql-golden.ts";

const server = await requirePostgres();

function golden(server: PostgresServer): SqlGoldenServer {
  return {
    restore: async (file) => server.url(await server.restore(file)),
    createDatabase: async () => server.url(await server.createDatabase()),
    readTables: (url) => readPostgresTables(url),
    // How far the numbering of rows has gone differs: the reference forgets ACL rules, and writes a change log of its own.
    readCatalog: async (url) =>
      (await readPostgresCatalog(url)).map((line) => line.replace(/^(sequence \S+ \S+ 1 1 1) \d+$/, "$1")),
  };
}

await describeSqlGolden(
  {
    name: "PostgreSQL",
    ending: "postgres",
    native: [
      ...nativeDumps("natpg", "postgres"),
      ["golden/changelog/chlogpg.postgres.sql", "golden/changelog/chlogpg.json", {}, []],
    ],
  },
  server && golden(server),
);
