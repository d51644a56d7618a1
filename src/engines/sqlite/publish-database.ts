import { randomBytes } from "node:crypto";
import {
  accessSync,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import { ConflictError, EngineError } from "../../base/errors.ts";
import { COMPANION_SUFFIXES, openWriter } from "./sqlite-connection.ts";
import { isSqliteError } from "./sqlite-errors.ts";
import { countTables } from "./sqlite-schema.ts";

/** Between the name of a database and random digits in the name of the file in which it is built. */
export const TEMPORARY_MARK = ".decant-";

/** A name beside `target` for the file in which it is built. */
export function temporaryName(target: string): string {
  return `${target}${TEMPORARY_MARK}${randomBytes(6).toString("hex")}.tmp`;
}

/** The file that a path names: links are followed, so that a rename replaces the file and not the link. */
export function resolveTarget(path: string): string {
  return existsSync(path) ? realpathSync(path) : path;
}

/**
 * Throws `ConflictError` when files of another database stand beside `target`: SQLite would take a left-over -wal file for
 * part of the new database and destroy it.
 */
export function assertNoCompanions(target: string): void {
  const left = COMPANION_SUFFIXES.map((suffix) => target + suffix).find((file) => existsSync(file));
  if (left === undefined) return;
  throw new ConflictError("DECANT_E_LEFTOVER", `${left} exists, but its database does not`, {
    hint: "It belongs to a database that was removed or moved; put the database back, or remove this file too",
  });
}

/** Throws `EngineError` when no file can be made in the directory of `target`: a dry run must say so, too. */
export function assertCreatable(target: string): void {
  const directory = dirname(target);
  const fail = (reason: string): never => {
    throw new EngineError("DECANT_E_OPEN_DATABASE", `Cannot create ${target}: directory ${directory} ${reason}`);
  };
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) fail("does not exist");
  try {
    accessSync(directory, constants.W_OK);
  } catch {
    fail("is read-only");
  }
}

/** Throws what `publishDatabase` would, as far as it can be known before. */
export function assertPublishable(target: string): void {
  if (existsSync(target)) withEmptyDatabase(target, () => undefined);
  else assertNoCompanions(target);
}

/** Gives the finished database its name, durably and only while nothing else has that name. */
export function publishDatabase(temporary: string, target: string): void {
  syncPath(temporary);
  if (existsSync(target)) replaceEmptyDatabase(temporary, target);
  else {
    assertNoCompanions(target);
    moveToFreeName(temporary, target);
  }
  syncPath(dirname(target));
}

function moveToFreeName(temporary: string, target: string): void {
  try {
    linkSync(temporary, target); // fails when the name is taken, which a rename does not
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "EEXIST") throw appeared(target, error);
    claimName(target); // a file system without hard links
    renameSync(temporary, target);
    return;
  }
  rmSync(temporary);
}

function claimName(target: string): void {
  try {
    closeSync(openSync(target, "wx"));
  } catch (error) {
    throw error instanceof Error && "code" in error && error.code === "EEXIST" ? appeared(target, error) : error;
  }
}

function appeared(target: string, cause: unknown): ConflictError {
  return new ConflictError("DECANT_E_TARGET_CHANGED", `${target} was created by another program meanwhile`, { cause });
}

function replaceEmptyDatabase(temporary: string, target: string): void {
  withEmptyDatabase(target, () => {
    const { mode, uid, gid } = statSync(target);
    chmodSync(temporary, mode & 0o7777);
    keepOwner(temporary, uid, gid);
    assertNoCompanions(target);
    renameSync(temporary, target);
  });
}

/**
 * Does something with a database without tables while holding it locked. Leaving WAL mode needs to be its only user and takes the
 * -wal and -shm files away.
 */
function withEmptyDatabase(target: string, work: () => void): void {
  const db = openWriter(target);
  try {
    db.pragma("journal_mode = DELETE");
    // Locking a file of no bytes exclusively would begin to fill it; a shared lock keeps others from writing too.
    db.exec(statSync(target).size === 0 ? "BEGIN" : "BEGIN EXCLUSIVE");
    if (countTables(db) > 0) {
      throw new ConflictError("DECANT_E_TARGET_CHANGED", `${target} was filled by another program meanwhile`);
    }
    work();
  } catch (error) {
    if (!isSqliteError(error, "SQLITE_BUSY")) throw error;
    throw new ConflictError("DECANT_E_TARGET_BUSY", `${target} is in use by another program`, {
      cause: error,
      hint: "Stop the clients that have it open, or load into another file",
    });
  } finally {
    db.close();
  }
}

function keepOwner(path: string, uid: number, gid: number): void {
  const now = statSync(path);
  if (now.uid === uid && now.gid === gid) return;
  try {
    chownSync(path, uid, gid);
  } catch {
    // Only root may give files away; then the file belongs to whoever loads, as any new one.
  }
}

function syncPath(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Removes a database that nobody uses, with all that SQLite may have left beside it. */
export function removeDatabase(path: string): void {
  for (const suffix of ["", ...COMPANION_SUFFIXES]) rmSync(path + suffix, { force: true });
}
