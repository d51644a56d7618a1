import { readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ConflictError } from "../../base/errors.ts";
import { removeDatabase, TEMPORARY_MARK } from "./publish-database.ts";
import { openWriter } from "./sqlite-connection.ts";
import { isSqliteError } from "./sqlite-errors.ts";

/** The files in which other loads into `target` build their databases, or did when they were killed. */
export function leftOverFiles(target: string): string[] {
  const start = `${basename(target)}${TEMPORARY_MARK}`;
  const directory = dirname(target);
  const names = readdirSync(directory).filter((name) => name.startsWith(start) && name.endsWith(".tmp"));
  return names.map((name) => join(directory, name));
}

/** Removes them; false when there are none. Throws `ConflictError` when one is being written. */
export function removeLeftOverFiles(target: string): boolean {
  const files = leftOverFiles(target);
  for (const file of files) {
    if (isInUse(file)) {
      throw new ConflictError("DECANT_E_TARGET_BUSY", `Another load into ${target} is writing ${file}`, {
        hint: "Wait for its end, or stop it",
      });
    }
    removeDatabase(file);
  }
  return files.length > 0;
}

/** A load holds its file locked; what a killed one left may be no whole database. */
function isInUse(file: string): boolean {
  const db = openWriter(file);
  try {
    db.exec("BEGIN EXCLUSIVE");
    return false;
  } catch (error) {
    return isSqliteError(error, "SQLITE_BUSY");
  } finally {
    db.close();
  }
}
