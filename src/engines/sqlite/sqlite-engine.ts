import { existsSync } from "node:fs";
import type { Engine, MetadataStore, OpenOptions } from "../engine.ts";
import { parseSqliteAddress } from "./sqlite-address.ts";
import { assertDatabaseFile, withReader } from "./sqlite-connection.ts";
import { countTables } from "./sqlite-schema.ts";
import { SqliteStore } from "./sqlite-store.ts";

/** Volumes in SQLite files (docs/spec/sql.md): `sqlite3://PATH[?table_prefix=...]`. */
export const sqliteEngine: Engine = {
  name: "SQLite",

  async open(address: string, options: OpenOptions): Promise<MetadataStore> {
    const parsed = parseSqliteAddress(address);
    if (!options.create || existsSync(parsed.path)) {
      assertDatabaseFile(parsed.path);
      // Says now rather than later that a file is no database.
      await withReader(parsed, options.signal, countTables);
    }
    return new SqliteStore(parsed);
  },
};
