import { databaseOf } from "../support/database-of.ts";
import { type PostgresServer, requirePostgres } from "../support/postgres-server.ts";
import { readPostgresCatalog, readPostgresTables } from "../support/postgres-tables.ts";
import type { EngineHarness } from "./engine-harness.ts";
import { describeEngine } from "./engine-suite.ts";

function harness(server: PostgresServer): EngineHarness {
  return {
    createsDatabase: false,
    pointInTime: true,
    exactCheckpoints: true,
    limits: { maxNumber: 2147483647, maxSlices: Number.POSITIVE_INFINITY, byteNames: false },
    emptyAddress: async () => server.url(await server.createDatabase()),
    fingerprint: async (address) => ({
      catalog: await readPostgresCatalog(address),
      tables: await readPostgresTables(address, ""),
    }),
    changeLog: async (address) => {
      const entries = await server.psql(databaseOf(address), "SELECT entry FROM jfs_change_log ORDER BY id");
      return entries.trim().split("\n");
    },
    occupy: async (address) => {
      await server.psql(databaseOf(address), "CREATE TABLE something_else (a integer)");
    },
  };
}

const server = await requirePostgres();
describeEngine("postgres", server && harness(server));
