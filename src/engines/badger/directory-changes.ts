import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { errorText, FileError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import type { Logger } from "../../base/logger.ts";
import { type DirectoryFiles, LOAD_MARK, MANIFEST_NAME, memoryLogName } from "./directory-files.ts";
import { tableName } from "./table-files.ts";

/** Files that are not complete begin so; nobody reads them. */
export const UNFINISHED = "decant-unfinished-";

/** Makes the directory and those above it, as clients do; the topmost that was made, undefined when it was there. */
export function makeDirectory(directory: string): string | undefined {
  try {
    const made = makeWithParents(resolve(directory));
    if (made !== undefined) syncDirectory(dirname(made));
    return made;
  } catch (error) {
    throw fileError("write", directory, error);
  }
}

/** Node's own `recursive` never ends where a directory is there and takes no others, such as /proc. */
function makeWithParents(directory: string): string | undefined {
  try {
    mkdirSync(directory, { mode: 0o700 });
    return directory;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" && statSync(directory).isDirectory()) return undefined;
    const parent = dirname(directory);
    if (code === "ENOENT" && existsSync(parent)) {
      throw new FileError("DECANT_E_FILE", `Cannot make the directory ${directory}`, {
        cause: error,
        hint: `${parent} takes no directories; name one in a file system for data`,
      });
    }
    if (code !== "ENOENT") throw error;
    const made = makeWithParents(parent);
    return makeWithParents(directory) === undefined ? made : (made ?? directory);
  }
}

/** Removes empty directories from `directory` up to `topmost`, which were made for it. What cannot be removed is a warning. */
export function removeDirectories(directory: string, topmost: string, logger: Logger): void {
  try {
    for (let path = resolve(directory); path === topmost || path.startsWith(`${topmost}/`); path = dirname(path)) {
      rmdirSync(path);
    }
  } catch (error) {
    logger.warn(`Cannot remove ${directory}, which was made for this load: ${errorText(error)}`);
  }
}

/** Creates or replaces a file: it has its name when it is complete and durable. Throws `FileError`. */
export function publishFile(directory: string, name: string, parts: readonly Uint8Array[]): void {
  const temporary = join(directory, UNFINISHED + name);
  try {
    const descriptor = openSync(temporary, "w", 0o600);
    try {
      for (const part of parts) writeFully(descriptor, part);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, join(directory, name));
  } catch (error) {
    rmSync(temporary, { force: true });
    throw fileError("write", join(directory, name), error);
  }
  syncDirectory(directory);
}

/** Writes `bytes` at `offset` of a file that is there, durably. Throws `FileError`. */
export function extendFile(path: string, offset: number, parts: readonly Uint8Array[]): void {
  try {
    const descriptor = openSync(path, "r+");
    try {
      let at = offset;
      for (const part of parts) {
        writeFully(descriptor, part, at);
        at += part.length;
      }
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw fileError("write", path, error);
  }
}

function writeFully(descriptor: number, bytes: Uint8Array, offset?: number): void {
  for (let at = 0; at < bytes.length; ) {
    at += writeSync(descriptor, bytes, at, bytes.length - at, offset === undefined ? null : offset + at);
  }
}

/** Makes names durable. Throws `FileError`. */
export function syncDirectory(directory: string): void {
  try {
    const descriptor = openSync(directory, "r");
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw fileError("write", directory, error);
  }
}

/**
 * Removes all files of a database in which no key is alive, and leaves the mark of a load. At no moment anything comes to life
 * again: without MANIFEST no table counts, then logs go from the oldest to the newest, so that what deletes a key goes after what
 * wrote it. Throws `FileError`.
 */
export function clearDirectory(directory: string, files: DirectoryFiles): void {
  publishFile(directory, LOAD_MARK, []);
  removeFiles(directory, [MANIFEST_NAME]);
  for (const number of files.memoryLogs) removeFiles(directory, [memoryLogName(number)]);
  removeFiles(directory, [
    ...files.tables.map(tableName),
    ...files.valueLogs.map(valueLogName),
    ...["DISCARD", UNFINISHED + MANIFEST_NAME],
  ]);
}

/**
 * Ends what a load that was cut off has left: the mark, and the tables beside it when there is no MANIFEST, which nobody lists then.
 * Without the mark they would be taken for those of a database that has lost its MANIFEST. Throws `FileError`.
 */
export function removeLoadMark(directory: string, files: DirectoryFiles): void {
  if (!files.hasLoadMark) return;
  if (!files.hasManifest) removeFiles(directory, files.tables.map(tableName));
  removeFiles(directory, [LOAD_MARK]);
}

function removeFiles(directory: string, names: readonly string[]): void {
  for (const name of names) {
    try {
      rmSync(join(directory, name), { force: true });
    } catch (error) {
      throw fileError("delete", join(directory, name), error);
    }
  }
  syncDirectory(directory);
}

function valueLogName(number: number): string {
  return `${String(number).padStart(6, "0")}.vlog`;
}
