import { existsSync } from "node:fs";
import { NotFoundError } from "../../base/errors.ts";
import type { Engine, MetadataStore, OpenOptions } from "../engine.ts";
import { findLeftOver } from "./left-over-files.ts";
import { parseSqliteAddress, type SqliteAddress } from "./sqlite-address.ts";
import { assertDatabaseFile, withReader } from "./sqlite-connection.ts";
import { countTables } from "./sqlite-schema.ts";
import { SqliteStore } from "./sqlite-store.ts";

/** Volumes in SQLite files (docs/spec/sql.md): `sqlite3://PATH[?table_prefix=...]`. */
export const sqliteEngine: Engine = {
  name: "SQLite",

  async open(address: string, options: OpenOptions): Promise<MetadataStore> {
    const parsed = parseSqliteAddress(address);
    if (!options.create || existsSync(parsed.path)) {
      explainMissingFile(parsed);
      assertDatabaseFile(parsed.path);
      // Says now rather than later that a file is no database.
      await withReader(parsed, options.signal, countTables);
    }
    return new SqliteStore(parsed);
  },
};

/** Throws `NotFoundError` when there is no database, but what a load was building that was cut off. */
function explainMissingFile({ path, tablePrefix }: SqliteAddress): void {
  if (existsSync(path)) return;
  const found = findLeftOver(path, tablePrefix);
  if (found === undefined) return;
  const { source, began } = found.progress.stamp;
  throw new NotFoundError("DECANT_E_NO_DATABASE", `Database file ${path} does not exist`, {
    hint:
      `A load of ${source} that began ${began} was cut off, and has left ${found.file}: ` +
      "the same command with --resume goes on, with --clean removes it",
  });
}
