import { existsSync } from "node:fs";
import { DataError, NotFoundError } from "../../base/errors.ts";
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
      await assertDatabase(parsed, options.signal);
    }
    return new SqliteStore(parsed, options.tmpDir);
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

/** Says now rather than later that a file is no database. One that is damaged may still be read in part (salvage/). */
async function assertDatabase(address: SqliteAddress, signal: AbortSignal): Promise<void> {
  try {
    await withReader(address, signal, countTables);
  } catch (error) {
    if (!(error instanceof DataError) || error.code !== "DECANT_E_CORRUPT_DATABASE") throw error;
  }
}
