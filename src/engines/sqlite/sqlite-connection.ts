import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import Database from "better-sqlite3";
import { EngineError, NotFoundError } from "../../base/errors.ts";
import type { SqliteAddress } from "./sqlite-address.ts";
import { isSqliteError, toEngineError } from "./sqlite-errors.ts";

export type Connection = Database.Database;

/** How long the library itself may wait for a lock: it blocks the whole process meanwhile. */
const LIBRARY_TIMEOUT_MS = 50;
const RETRY_PAUSE_MS = 20;

/** Files that SQLite keeps beside a database. */
export const COMPANION_SUFFIXES: readonly string[] = ["-wal", "-shm", "-journal"];

/** Throws `NotFoundError` or `EngineError` unless `path` is a file. */
export function assertDatabaseFile(path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) {
    throw new NotFoundError("DECANT_E_NO_DATABASE", `Database file ${path} does not exist`, {
      hint: "Check the path: a relative one begins at the current directory",
    });
  }
  if (!stat.isFile()) throw new EngineError("DECANT_E_OPEN_DATABASE", `Cannot open ${path}: it is not a regular file`);
}

/**
 * A connection that reads and never changes the database file. In WAL mode even a reader needs the -wal and -shm files; when
 * it is their only user, `closeReader` lets them vanish again.
 */
export class ReaderConnection {
  readonly db: Connection;
  readonly #path: string;
  readonly #createsCompanions: boolean;

  constructor(path: string) {
    this.#path = path;
    this.#createsCompanions = !existsSync(`${path}-wal`);
    this.db = openReader(path);
  }

  close(): void {
    this.db.close();
    if (this.#createsCompanions) removeIdleCompanions(this.#path);
  }
}

/**
 * A read-only connection cannot remove the -wal file that it made. A writing one that closes as the last user of a
 * database does so, under SQLite's own locks; with an empty -wal it has nothing to copy, so the database stays as it is.
 */
function removeIdleCompanions(path: string): void {
  if (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size !== 0) return;
  try {
    const db = connect(path, { fileMustExist: true, timeout: 0 });
    try {
      db.prepare("SELECT count(*) FROM sqlite_master").get();
    } finally {
      db.close();
    }
  } catch {
    // No right to write, or somebody else is at work: then two small files stay, as beside any database in use.
  }
}

/** A connection that only reads, for use beside a `ReaderConnection`. */
export function openReader(path: string): Connection {
  return connect(path, { readonly: true, fileMustExist: true, timeout: LIBRARY_TIMEOUT_MS });
}

/** A connection that may write; the file is created when it does not exist. */
export function openWriter(path: string): Connection {
  return connect(path, { timeout: LIBRARY_TIMEOUT_MS });
}

function connect(path: string, options: Database.Options): Connection {
  const db = new Database(resolve(path), options);
  db.defaultSafeIntegers(true);
  return db;
}

/** Runs `work` with a reader and closes it. */
export async function withReader<T>(
  address: SqliteAddress,
  signal: AbortSignal,
  work: (db: Connection) => T,
): Promise<T> {
  assertDatabaseFile(address.path);
  return retryWhileBusy(address, signal, "read", () => {
    const reader = new ReaderConnection(address.path);
    try {
      // One transaction, so that several statements see one state.
      reader.db.exec("BEGIN");
      return work(reader.db);
    } finally {
      reader.close();
    }
  });
}

/** Runs `work` in a write transaction that begins with the write lock held (docs/spec/sql.md §7.3), after `prepare`. */
export async function withWriter<T>(
  address: SqliteAddress,
  signal: AbortSignal,
  work: (db: Connection) => T,
  prepare?: (db: Connection) => void,
): Promise<T> {
  return retryWhileBusy(address, signal, "write", () => {
    const db = openWriter(address.path);
    try {
      prepare?.(db);
      db.exec("BEGIN IMMEDIATE");
      const result = work(db);
      db.exec("COMMIT");
      return result;
    } finally {
      db.close(); // rolls back what was not committed
    }
  });
}

/** Repeats `attempt` while the database is locked, for the time the address allows; waiting does not block the process. */
export async function retryWhileBusy<T>(
  address: SqliteAddress,
  signal: AbortSignal,
  action: string,
  attempt: () => T,
): Promise<T> {
  const deadline = performance.now() + address.busyTimeoutMs;
  for (;;) {
    signal.throwIfAborted();
    try {
      return attempt();
    } catch (error) {
      if (!isSqliteError(error, "SQLITE_BUSY") || performance.now() >= deadline) {
        throw toEngineError(error, address.path, action);
      }
    }
    await sleep(RETRY_PAUSE_MS, undefined, { signal });
  }
}
