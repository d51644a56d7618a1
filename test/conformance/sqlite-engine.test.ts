import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { query, readCatalog, readTables } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { describeEngine } from "./engine-suite.ts";

const PREFIX = "sqlite3://";

describeEngine("sqlite", {
  createsDatabase: true,
  pointInTime: true,
  exactCheckpoints: true,
  holdsItsPlace: true,
  emptyAddress: async () => PREFIX + join(temporaryDirectory(), "volume.db"),
  fingerprint: async (address) => {
    const path = address.slice(PREFIX.length);
    const files = readdirSync(dirname(path)).filter((name) => !/-(?:wal|shm)$/.test(name));
    return existsSync(path) ? { files, catalog: readCatalog(path), tables: readTables(path, "") } : { files };
  },
  changeLog: async (address) => query(address.slice(PREFIX.length), "SELECT entry FROM jfs_change_log ORDER BY id"),
  occupy: async (address) => {
    const database = new Database(address.slice(PREFIX.length));
    database.exec("CREATE TABLE something_else (a)");
    database.close();
  },
});
