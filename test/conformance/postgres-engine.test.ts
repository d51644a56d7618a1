import { requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { readPostgresCatalog, readPostgresTables } from "../support/postgres-tables.ts";
import type { EngineHarness } from "./engine-harness.ts";
import { describeEngine } from "./engine-suite.ts";

async function harness(): Promise<EngineHarness> {
  const server = await startPostgres();
  return {
    createsDatabase: false,
    pointInTime: true,
    limits: { maxNumber: 2147483647, maxSlices: Number.POSITIVE_INFINITY, byteNames: false },
    emptyAddress: async () => server.url(await server.createDatabase()),
    fingerprint: async (address) => ({
      catalog: await readPostgresCatalog(address),
      tables: await readPostgresTables(address, ""),
    }),
    occupy: async (address) => {
      await server.psql(address.slice(address.lastIndexOf("/") + 1), "CREATE TABLE something_else (a integer)");
    },
  };
}

describeEngine("postgres", (await requirePostgresServer()) ? await harness() : undefined);
