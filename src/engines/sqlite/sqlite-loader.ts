import { setImmediate as nextTurn } from "node:timers/promises";
import { DataError, errorText, InternalError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { RecordBatch, RecordKind } from "../../volume/records.ts";
import type { Loader, LoaderOptions, LoadPosition, LoadProgress } from "../engine.ts";
import { takeLastChangelog } from "../sql/last-changelog.ts";
import { unpackNodeRow } from "../sql/node-row.ts";
import { NODE_COLUMNS, SQL_TABLES, tableName } from "../sql/schema.ts";
import { findLeftOver, leftOverFiles, removeUselessFiles, runningLoad } from "./left-over-files.ts";
import { readProgress, removeProgress, storeProgress } from "./load-progress-row.ts";
import {
  assertCreatable,
  assertPublishable,
  publishDatabase,
  removeDatabase,
  resolveTarget,
  temporaryName,
} from "./publish-database.ts";
import { nodeReader } from "./read-node.ts";
import { type RecordWriter, recordWriters } from "./record-writers.ts";
import { restoreSchemaOrder } from "./schema-order.ts";
import type { SqliteAddress } from "./sqlite-address.ts";
import { type Connection, openWriter } from "./sqlite-connection.ts";
import { isSqliteError, toEngineError } from "./sqlite-errors.ts";
import { Catalog, createIndexSql, createTableSql, quote } from "./sqlite-schema.ts";

/** The database library works synchronously: the event loop gets a turn at least this often. */
const TURN_MS = 15;

/** Page cache of the loading connection, also the memory for sorting each index. */
const CACHE_KIB = 48 * 1024;

/**
 * Builds the volume in a file beside the target and gives it the target's name when it is complete: whatever happens before, the
 * target stays as it was (docs/spec/sql.md §16.1, 12.8). Until the first checkpoint without journal and in one transaction: when
 * that is cut off, the file is of no use. A checkpoint ends the transaction, and from then on a journal takes the file back to it.
 */
export class SqliteLoader implements Loader {
  readonly isResumable: boolean;
  readonly earlier: LoadProgress | undefined;
  readonly #address: SqliteAddress;
  readonly #options: LoaderOptions;
  readonly #target: string;
  readonly #temporary: string;
  readonly #db: Connection;
  readonly #writers: Partial<Record<RecordKind, RecordWriter>>;
  #hasCheckpoint: boolean;
  #lastChangelog = 0n;
  #lastTurn = performance.now();
  #state: "open" | "failed" | "ended" = "open";

  /** The caller has found the target to be empty, or a load that was cut off, with which this one goes on if it is told to. */
  static open(address: SqliteAddress, options: LoaderOptions): SqliteLoader {
    const target = resolveTarget(address.path);
    assertCreatable(target);
    if (options.resume) removeUselessFiles(target, address.tablePrefix);
    const earlier = options.resume ? findLeftOver(target, address.tablePrefix) : undefined;
    warnOfLeftovers(target, earlier?.file, options.logger);
    const temporary = earlier?.file ?? temporaryName(target);
    try {
      return new SqliteLoader(address, options, target, temporary, earlier !== undefined);
    } catch (error) {
      if (earlier === undefined) removeDatabase(temporary);
      else if (isSqliteError(error, "SQLITE_BUSY")) throw runningLoad(target, temporary);
      throw toEngineError(error, temporary, "create");
    }
  }

  private constructor(
    address: SqliteAddress,
    options: LoaderOptions,
    target: string,
    temporary: string,
    goesOn: boolean,
  ) {
    this.isResumable = options.stamp !== undefined;
    this.#address = address;
    this.#options = options;
    this.#target = target;
    this.#temporary = temporary;
    this.#hasCheckpoint = goesOn;
    this.#db = openWriter(temporary);
    try {
      this.#db.pragma("locking_mode = EXCLUSIVE");
      this.#db.pragma(`cache_size = -${CACHE_KIB}`);
      if (goesOn) {
        this.#useJournal();
        this.#db.exec("BEGIN EXCLUSIVE");
        this.earlier = readProgress(this.#db, address.tablePrefix);
        if (this.earlier === undefined) throw runningLoad(target, temporary); // which has gone on meanwhile
      } else {
        this.#db.pragma("journal_mode = OFF");
        this.#db.pragma("synchronous = OFF");
        this.#db.exec("BEGIN EXCLUSIVE");
        for (const table of SQL_TABLES) this.#db.exec(createTableSql(table, address.tablePrefix));
      }
      this.#writers = recordWriters(this.#db, address.tablePrefix, options.sliceRefs);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  async write(batch: RecordBatch): Promise<void> {
    await this.#step(() => {
      if (batch.kind === "counter") this.#writers.counter?.write(this.#withoutChangelog(batch));
      else this.#writers[batch.kind]?.write(batch); // parent records are computed from the edges in SQL
    });
    if (performance.now() - this.#lastTurn < TURN_MS) return;
    await nextTurn();
    this.#lastTurn = performance.now();
  }

  async readNodes(inodes: readonly bigint[]): Promise<(Buffer | undefined)[]> {
    return this.#step(() => {
      this.#writers.node?.flush();
      return inodes.map(nodeReader(this.#db, new Catalog(this.#db, this.#address.tablePrefix)));
    });
  }

  async replaceNodes(batch: RecordBatch): Promise<void> {
    await this.#step(() => {
      this.#writers.node?.flush();
      const marks = NODE_COLUMNS.map(() => "?").join(",");
      const replace = this.#db.prepare(
        `INSERT OR REPLACE INTO ${this.#table("node")} (${NODE_COLUMNS.join(",")}) VALUES (${marks})`,
      );
      for (let i = 0, at = 0; i < batch.count; i++) {
        const values: unknown[] = [];
        at = unpackNodeRow(batch.bytes, at, values, 0);
        replace.run(values);
      }
    });
  }

  async finish(setting: Buffer): Promise<void> {
    await this.#step(() => this.#flush());
    for (const table of SQL_TABLES) {
      for (const sql of createIndexSql(table, this.#address.tablePrefix)) {
        await this.#step(() => this.#createIndex(sql, table.name));
        await nextTurn();
      }
    }
    await this.#step(() => this.#complete(setting));
    this.#state = "ended";
  }

  async skip(batch: RecordBatch): Promise<void> {
    await this.#step(() => {
      if (batch.kind === "counter") this.#withoutChangelog(batch);
    });
  }

  /**
   * Without a place in it the position says that nothing can be gone on with. But nothing of what follows is stored without the
   * setting, so the checkpoint before it stays good.
   */
  async checkpoint(position: LoadPosition): Promise<void> {
    const { stamp } = this.#options;
    if (stamp === undefined || position.checkpoint === undefined) return;
    await this.#step(() => {
      this.#flush();
      if (!this.#hasCheckpoint) {
        // The position comes in a transaction of its own: before it the file may be of no use, and must not say otherwise.
        this.#db.exec("COMMIT");
        this.#useJournal();
        this.#db.exec("BEGIN");
      }
      storeProgress(this.#db, this.#address.tablePrefix, { stamp, ...position });
      this.#db.exec("COMMIT");
      this.#hasCheckpoint = true;
      this.#db.exec("BEGIN");
    });
  }

  /** Nothing is stored beyond a checkpoint. */
  async announce(): Promise<void> {}

  async suspend(): Promise<boolean> {
    if (!this.#hasCheckpoint) await this.abort();
    if (this.#state === "ended") return false;
    this.#state = "ended";
    this.#db.close(); // back to the last checkpoint
    return true;
  }

  async abort(): Promise<void> {
    if (this.#state === "ended") return;
    this.#state = "ended";
    try {
      this.#db.close();
      removeDatabase(this.#temporary);
    } catch (error) {
      this.#options.logger.warn(`Could not remove ${this.#temporary}: ${errorText(error)}`);
    }
  }

  /** Writes to the disk what is committed, and can take back what is not, also after a loss of power. */
  #useJournal(): void {
    this.#db.pragma("journal_mode = DELETE");
    this.#db.pragma("synchronous = FULL");
  }

  #flush(): void {
    for (const writer of Object.values(this.#writers)) writer.flush();
  }

  /** Nothing may be written after an error: without a journal, half of a statement may have been stored. */
  async #step<T>(work: () => T): Promise<T> {
    if (this.#state !== "open") throw new InternalError("DECANT_E_LOADER_STATE", "The loader has already ended");
    this.#options.signal.throwIfAborted();
    try {
      return work();
    } catch (error) {
      this.#state = "failed";
      throw toEngineError(error, this.#target, "write");
    }
  }

  #withoutChangelog(batch: RecordBatch): RecordBatch {
    const { counters, lastChangelog } = takeLastChangelog(batch);
    this.#lastChangelog = lastChangelog ?? this.#lastChangelog;
    return counters;
  }

  #createIndex(sql: string, table: string): void {
    try {
      this.#db.exec(sql);
    } catch (error) {
      if (isSqliteError(error, "SQLITE_CONSTRAINT")) throw this.#duplicateRow(table, error);
      throw error;
    }
  }

  /** Names one of the rows that a unique index refused. */
  #duplicateRow(name: string, cause: unknown): DataError {
    const columns =
      SQL_TABLES.find((table) => table.name === name)?.indexes.find((index) => index.unique)?.columns ?? [];
    const names = columns.map(quote).join(",");
    const values = columns.map(
      (column) => `iif(typeof(${quote(column)}) = 'blob', quote(${quote(column)}), ${quote(column)})`,
    );
    const found = this.#db
      .prepare(`SELECT ${values.join(",")} FROM ${this.#table(name)} GROUP BY ${names} HAVING count(*) > 1 LIMIT 1`)
      .raw()
      .get() as unknown[] | undefined;
    const key = columns.map((column, i) => `${column} ${found?.[i]}`).join(", ");
    return new DataError(
      "DECANT_E_DUPLICATE",
      `Cannot store two rows of ${tableName(this.#address.tablePrefix, name)} with ${key}`,
      {
        cause,
        location: { key },
      },
    );
  }

  #complete(setting: Buffer): void {
    assertPublishable(this.#target); // while the file can still be taken back to its last checkpoint
    if (this.#lastChangelog > 0n) {
      const name = tableName(this.#address.tablePrefix, "change_log");
      this.#db.prepare("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)").run(name, this.#lastChangelog);
    }
    this.#db.prepare(`INSERT INTO ${this.#table("setting")} VALUES ('format', CAST(? AS TEXT))`).run(setting);
    if (this.#hasCheckpoint) removeProgress(this.#db, this.#address.tablePrefix);
    this.#db.exec("COMMIT");
    this.#hasCheckpoint = false;
    this.#db.close();
    const db = openWriter(this.#temporary);
    try {
      restoreSchemaOrder(db);
      if (this.#address.walMode) db.pragma("journal_mode = WAL");
    } finally {
      db.close();
    }
    publishDatabase(this.#temporary, this.#target);
  }

  #table(name: string): string {
    return quote(tableName(this.#address.tablePrefix, name));
  }
}

/** A load that was killed could not clean up; its file is never used again, but takes space. */
function warnOfLeftovers(target: string, own: string | undefined, logger: Logger): void {
  for (const file of leftOverFiles(target)) {
    if (file === own) continue;
    logger.warn(`${file} belongs to another load into ${target}: if that was killed, remove it or load with --clean`);
  }
}
