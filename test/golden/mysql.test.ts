import { databaseOf } from "../support/database-of.ts";
import { requireMysql } from "../support/mysql-server.ts";
import { readMysqlCatalog, readMysqlTables } from "../support/mysql-tables.ts";
import { describeSqlGolden, nativeDumps, type SqlGoldenServer } from "./sql-golden.ts";

const server = await requireMysql();

const golden: SqlGoldenServer | undefined = server && {
  restore: async (file) => server.url(await server.restore(file)),
  createDatabase: async () => server.url(await server.createDatabase()),
  readTables: (url) => readMysqlTables(server, databaseOf(url)),
  readCatalog: (url) => readMysqlCatalog(server, databaseOf(url)),
};

await describeSqlGolden({ name: "MySQL", ending: "mysql", native: nativeDumps("natmysql", "mysql") }, golden);
