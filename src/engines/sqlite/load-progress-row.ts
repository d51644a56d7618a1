import type { LoadProgress } from "../engine.ts";
import { encodeProgress, PROGRESS_NAME, parseProgress } from "../load-progress.ts";
import { tableName } from "../sql/schema.ts";
import type { Connection } from "./sqlite-connection.ts";
import { quote } from "./sqlite-schema.ts";

/**
 * A row of the setting table of a database that is being built, from its first checkpoint on; clients ask for the row `format` only.
 * It goes in the transaction in which that comes.
 */

/** In the caller's transaction, which has all that was loaded until then. */
export function storeProgress(db: Connection, prefix: string, progress: LoadProgress): void {
  removeProgress(db, prefix);
  const insert = `INSERT INTO ${settingTable(prefix)} VALUES (?, CAST(? AS TEXT))`;
  db.prepare(insert).run(PROGRESS_NAME, encodeProgress(progress));
}

export function removeProgress(db: Connection, prefix: string): void {
  db.prepare(`DELETE FROM ${settingTable(prefix)} WHERE name = ?`).run(PROGRESS_NAME);
}

/** Undefined where no load was cut off after a checkpoint. */
export function readProgress(db: Connection, prefix: string): LoadProgress | undefined {
  const isThere = db.prepare("SELECT 1 FROM sqlite_master WHERE name = ?").get(tableName(prefix, "setting"));
  if (isThere === undefined) return undefined;
  const value = db
    .prepare(`SELECT CAST(value AS BLOB) FROM ${settingTable(prefix)} WHERE name = ?`)
    .pluck()
    .get(PROGRESS_NAME);
  return Buffer.isBuffer(value) ? parseProgress(value) : undefined;
}

function settingTable(prefix: string): string {
  return quote(tableName(prefix, "setting"));
}
