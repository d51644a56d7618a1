import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ConflictError } from "../../base/errors.ts";
import type { LoadProgress } from "../engine.ts";
import { readProgress } from "./load-progress-row.ts";
import { removeDatabase, TEMPORARY_MARK } from "./publish-database.ts";
import { type Connection, openWriter } from "./sqlite-connection.ts";
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
      throw runningLoad(target, file);
    }
    removeDatabase(file);
  }
  return files.length > 0;
}

/** A database that a load into the same target was building when it was cut off. */
export interface LeftOverLoad {
  readonly file: string;
  readonly progress: LoadProgress;
}

/** The load that was cut off after a checkpoint, the last one where there are several; undefined when there is none. */
export function findLeftOver(target: string, prefix: string): LeftOverLoad | undefined {
  if (!existsSync(dirname(target))) return undefined;
  const found = leftOverFiles(target).flatMap((file): LeftOverLoad[] => {
    const progress = progressIn(file, prefix);
    return progress === undefined || progress === "running" ? [] : [{ file, progress }];
  });
  return found.toSorted((a, b) => (a.progress.stamp.began < b.progress.stamp.began ? 1 : -1))[0];
}

/** Removes those with which nobody can go on. Throws `ConflictError` when another load is running. */
export function removeUselessFiles(target: string, prefix: string): void {
  const files = leftOverFiles(target).map((file) => ({ file, progress: progressIn(file, prefix) }));
  const running = files.find(({ progress }) => progress === "running");
  if (running !== undefined) throw runningLoad(target, running.file);
  for (const { file, progress } of files) if (progress === undefined) removeDatabase(file);
}

function progressIn(file: string, prefix: string): LoadProgress | "running" | undefined {
  let db: Connection | undefined;
  try {
    db = openWriter(file); // also rolls back what a load that was killed has not completed
    return readProgress(db, prefix);
  } catch (error) {
    if (!isSqliteError(error, "SQLITE_")) throw error;
    return isSqliteError(error, "SQLITE_BUSY") ? "running" : undefined; // killed before its first checkpoint: no whole database
  } finally {
    db?.close();
  }
}

export function runningLoad(target: string, file: string): ConflictError {
  return new ConflictError("DECANT_E_TARGET_BUSY", `Another load into ${target} is writing ${file}`, {
    hint: "Wait for its end, or stop it",
  });
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
