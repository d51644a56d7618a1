import { accessSync, constants, existsSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { DataError, DecantError, EngineError, errorText, isAbortError } from "../../base/errors.ts";

/** True for an error of the database library with a result code that begins so: `SQLITE_BUSY`. */
export function isSqliteError(error: unknown, code: string): boolean {
  return error instanceof Database.SqliteError && error.code.startsWith(code);
}

interface Explanation {
  readonly code: string;
  readonly data?: true;
  readonly retryable?: true;
  readonly text: string;
  readonly hint?: string;
}

/** What the library's result codes mean for whoever runs the command; the first prefix that fits counts. */
const EXPLANATIONS: readonly (readonly [prefix: string, Explanation])[] = [
  [
    "SQLITE_NOTADB",
    { code: "DECANT_E_NOT_A_DATABASE", data: true, text: "it is no SQLite database", hint: "Check the path" },
  ],
  [
    "SQLITE_CORRUPT",
    {
      code: "DECANT_E_CORRUPT_DATABASE",
      data: true,
      text: "the file is damaged",
      hint: "Take what can be read with dump --keep-going, or check it with: sqlite3 FILE 'PRAGMA integrity_check'. A -wal file that was separated from its database looks the same",
    },
  ],
  [
    "SQLITE_BUSY",
    {
      code: "DECANT_E_LOCKED",
      retryable: true,
      text: "it is locked by another program",
      hint: "Try again, or stop the program that holds the lock",
    },
  ],
  [
    "SQLITE_READONLY_ROLLBACK",
    {
      code: "DECANT_E_OPEN_DATABASE",
      text: "a writer died in the middle of a change, which must be rolled back first",
      hint: "Open the database once with write permission, for instance with: sqlite3 FILE 'PRAGMA user_version'",
    },
  ],
  ["SQLITE_READONLY", { code: "DECANT_E_READ_ONLY", text: "the file or its directory is read-only" }],
  ["SQLITE_PERM", { code: "DECANT_E_READ_ONLY", text: "permission denied" }],
  [
    "SQLITE_FULL",
    {
      code: "DECANT_E_DISK_FULL",
      text: "the disk is full",
      hint: "Make room beside the database and in the directory of temporary files (--tmp-dir), where indexes are sorted",
    },
  ],
  [
    "SQLITE_IOERR",
    { code: "DECANT_E_DISK", text: "reading or writing it failed", hint: "Is its disk full or failing?" },
  ],
  [
    "SQLITE_TOOBIG",
    { code: "DECANT_E_VALUE_TOO_BIG", data: true, text: "a value exceeds SQLite's limit of 10^9 bytes" },
  ],
];

/** An error of the database or the file system for people, with the path; all others pass through untouched. */
export function toEngineError(error: unknown, path: string, action: string): unknown {
  if (error instanceof DecantError || isAbortError(error)) return error;
  if (!(error instanceof Error && "code" in error)) return error;
  const code = error instanceof Database.SqliteError ? error.code : "";
  const found = explainAccess(code, path, action) ?? EXPLANATIONS.find(([prefix]) => code.startsWith(prefix))?.[1];
  if (found === undefined) {
    return new EngineError("DECANT_E_SQLITE", `Cannot ${action} ${path}: ${errorText(error)}`, {
      cause: error,
      ...(action === "read" ? { hint: "Check it with: sqlite3 FILE 'PRAGMA integrity_check'" } : {}),
    });
  }
  const options = {
    cause: error,
    retryable: found.retryable ?? false,
    ...(found.hint === undefined ? {} : { hint: found.hint }),
  };
  const message = `Cannot ${action} ${path}: ${found.text} (${errorText(error)})`;
  return found.data ? new DataError(found.code, message, options) : new EngineError(found.code, message, options);
}

/** The library does not say what it could not open or write: the file, its directory, or a file that WAL mode needs. */
function explainAccess(code: string, path: string, action: string): Explanation | undefined {
  const isOpening = code.startsWith("SQLITE_CANTOPEN");
  if (!isOpening && !(code.startsWith("SQLITE_READONLY") && code !== "SQLITE_READONLY_ROLLBACK")) return undefined;
  const base = { code: isOpening ? "DECANT_E_OPEN_DATABASE" : "DECANT_E_READ_ONLY" };
  const exists = existsSync(path);
  if (exists && !isAllowed(path, constants.R_OK)) return { ...base, text: "permission to read the file is denied" };
  if (action === "read") {
    return {
      ...base,
      text: "the -shm file that reading in WAL mode needs cannot be created or opened",
      hint: "To read a database in a place without permission to write, copy it together with its -wal file elsewhere first",
    };
  }
  if (exists && !isAllowed(path, constants.W_OK)) return { ...base, text: "permission to write the file is denied" };
  if (!isAllowed(dirname(path), constants.W_OK)) {
    return { ...base, text: `directory ${dirname(path)} does not exist or is read-only` };
  }
  return { ...base, text: "the file or one beside it cannot be opened" };
}

function isAllowed(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}
