import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { errorText } from "../../../base/errors.ts";
import type { SqliteAddress } from "../sqlite-address.ts";
import { assertDatabaseFile, type Connection, ReaderConnection, retryWhileBusy } from "../sqlite-connection.ts";
import { isSqliteError, toEngineError } from "../sqlite-errors.ts";
import { DatabaseImage, type PageSet } from "./database-image.ts";

/** Pages that are copied between two turns of the event loop. */
const PAGES_PER_STEP = 1000;

/** The pages of a database at one instant. Close it in any case. */
export interface OpenImage {
  readonly image: DatabaseImage;
  /** How the instant was made, in one sentence without final period. */
  readonly method: string;
  /** What cannot be read before any table is. */
  readonly losses: readonly string[];
  freePages(): PageSet | undefined;
  close(): void;
}

/**
 * Opens the pages of a database. A transaction that reads keeps others from changing the file. Where there are changes in a
 * -wal file, SQLite puts both together in a copy below `tmpDir`, which has no name from then on.
 */
export async function openImage(
  address: SqliteAddress,
  signal: AbortSignal,
  tmpDir: string | undefined,
): Promise<OpenImage> {
  const { path } = address;
  assertDatabaseFile(path);
  const losses: string[] = [];
  let reader: ReaderConnection | undefined;
  try {
    reader = await retryWhileBusy(address, signal, "read", () => lockForReading(path));
    const file = await copyWithChanges(reader.db, path, signal, tmpDir, losses);
    const image = openPages(file, path);
    if (image.pages < image.pagesBySelf) {
      losses.push(`${path} ends after page ${image.pages} of ${image.pagesBySelf}: the rest of the file is missing`);
    }
    let free: { readonly pages: PageSet | undefined } | undefined;
    const opened = reader;
    return {
      image,
      method: "one read transaction",
      losses,
      freePages: () => {
        free ??= { pages: image.readFreePages() };
        return free.pages;
      },
      close: () => {
        image.close();
        opened.close();
      },
    };
  } catch (error) {
    reader?.close();
    throw toEngineError(error, path, "read");
  }
}

function openPages(copy: string | undefined, path: string): DatabaseImage {
  try {
    return DatabaseImage.open(copy ?? path, path);
  } finally {
    if (copy !== undefined) rmSync(dirname(copy), { recursive: true, force: true });
  }
}

/** A connection with a transaction that reads. Its tolerance lets SQLite open a file that was cut off. */
function lockForReading(path: string): ReaderConnection {
  const reader = new ReaderConnection(path);
  try {
    reader.db.unsafeMode(true); // a library that defends itself does not let the next line work
    reader.db.pragma("writable_schema = ON"); // damage to the schema is no error then; nothing is written
    reader.db.exec("BEGIN");
    reader.db.pragma("schema_version"); // the first read fixes the view
    return reader;
  } catch (error) {
    reader.close();
    throw error;
  }
}

/** The path of the copy, undefined where the file itself has everything. */
async function copyWithChanges(
  db: Connection,
  path: string,
  signal: AbortSignal,
  tmpDir: string | undefined,
  losses: string[],
): Promise<string | undefined> {
  if ((statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) === 0) return undefined;
  const directory = mkdtempSync(join(tmpDir ?? tmpdir(), "decant-salvage-"));
  try {
    const copy = join(directory, "copy.db");
    await db.backup(copy, {
      progress: () => {
        signal.throwIfAborted();
        return PAGES_PER_STEP;
      },
    });
    return copy;
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    if (!isSqliteError(error, "SQLITE_IOERR") && !isSqliteError(error, "SQLITE_CORRUPT")) throw error;
    losses.push(
      `${path}-wal: the changes in it are not read, because the disk does not give all of them or of the database (${errorText(error)})`,
    );
    return undefined;
  }
}
