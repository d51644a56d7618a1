import { closeSync, fstatSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DataError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import { damagedFile } from "./badger-errors.ts";
import { decodeManifest, type ListedTable } from "./manifest.ts";
import { readExactly } from "./read-file.ts";

export const MANIFEST_NAME = "MANIFEST";

/**
 * Stands in a directory while a load fills it, until MANIFEST is there: tables beside it that no MANIFEST lists are what a load
 * that was cut off has left. Clients do not look at it.
 */
export const LOAD_MARK = "decant-load";

/** A larger MANIFEST is none: the reference writes it anew when it has grown. */
const MAX_MANIFEST_BYTES = 256 * 1024 * 1024;

/** What stands in a directory, by kind. */
export interface DirectoryFiles {
  readonly hasManifest: boolean;
  readonly hasLoadMark: boolean;
  /** Numbers of the files, ascending. */
  readonly tables: readonly number[];
  readonly memoryLogs: readonly number[];
  readonly valueLogs: readonly number[];
}

/** Lists a directory; undefined when there is none. Throws `FileError`. */
export function listDirectory(directory: string): DirectoryFiles | undefined {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw fileError("read", directory, error);
  }
  return {
    hasManifest: names.includes(MANIFEST_NAME),
    hasLoadMark: names.includes(LOAD_MARK),
    tables: numbersOf(names, ".sst"),
    memoryLogs: numbersOf(names, ".mem"),
    valueLogs: numbersOf(names, ".vlog"),
  };
}

function numbersOf(names: readonly string[], extension: string): number[] {
  return names
    .filter((name) => name.endsWith(extension) && /^\d{1,10}\.[a-z]+$/.test(name))
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b);
}

/** The name of a memtable log. */
export function memoryLogName(number: number): string {
  return `${String(number).padStart(5, "0")}.mem`;
}

/**
 * The tables that count. Throws `DataError` for a MANIFEST that is damaged, and for tables without one: a client would take the
 * directory for new and delete them.
 */
export function liveTables(directory: string, files: DirectoryFiles): ListedTable[] {
  if (files.hasManifest) return [...decodeManifest(readManifest(directory), join(directory, MANIFEST_NAME)).values()];
  if (files.tables.length > 0 && !files.hasLoadMark) {
    throw new DataError(
      "DECANT_E_BADGER_DAMAGED",
      `${join(directory, MANIFEST_NAME)} is missing, but there are ${files.tables.length} tables`,
      {
        hint: "Put MANIFEST back from a copy. Let no client open the directory before that: it would delete the tables",
      },
    );
  }
  return [];
}

/** Throws `DataError`, `FileError`. */
export function readManifest(directory: string): Buffer {
  const path = join(directory, MANIFEST_NAME);
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    throw fileError("read", path, error);
  }
  try {
    const { size } = fstatSync(descriptor);
    if (size > MAX_MANIFEST_BYTES) throw damagedFile(path, 0, `it cannot have ${size} bytes`);
    const bytes = Buffer.allocUnsafe(size);
    readExactly(descriptor, path, 0, bytes, 0, size);
    return bytes;
  } finally {
    closeSync(descriptor);
  }
}
