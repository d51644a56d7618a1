import { databaseOf } from "../support/database-of.ts";
import { requireMysql } from "../support/mysql-server.ts";
import { readMysqlCatalog, readMysqlChangeLog, readMysqlTables } from "../support/mysql-tables.ts";
import { describeEngine } from "./engine-suite.ts";

const server = await requireMysql();

describeEngine(
  "mysql",
  server && {
    createsDatabase: false,
    pointInTime: true,
    limits: { maxNumber: 2147483647, maxSlices: 2730, byteNames: false },
    emptyAddress: async () => server.url(await server.createDatabase()),
    fingerprint: async (address) => ({
      catalog: await readMysqlCatalog(server, databaseOf(address)),
      tables: await readMysqlTables(server, databaseOf(address)),
    }),
    changeLog: (address) => readMysqlChangeLog(server, databaseOf(address)),
    occupy: async (address) => {
      await server.query("CREATE TABLE something_else (a INT)", databaseOf(address));
    },
  },
);
