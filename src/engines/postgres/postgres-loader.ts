import { recycle } from "../../base/bytes.ts";
import { EngineError, errorText, InternalError } from "../../base/errors.ts";
import type { RecordBatch } from "../../volume/records.ts";
import type { Loader, LoaderOptions, LoadPosition, LoadProgress } from "../engine.ts";
import { takeLastChangelog } from "../sql/last-changelog.ts";
import { countRows, NO_ROWS, type RowCounts } from "../sql/load-rows.ts";
import { unpackNodeRow } from "../sql/node-row.ts";
import { NODE_COLUMNS, SQL_TABLES, type SqlTable, tableName } from "../sql/schema.ts";
import type { CopyWriter } from "./copy-writer.ts";
import { findLoad, LoadMarker } from "./load-marker.ts";
import type { PostgresAddress } from "./postgres-address.ts";
import { PostgresConnection, type SqlValue, withConnection } from "./postgres-connection.ts";
import {
  addPrimaryKey,
  createBareTable,
  createIndexes,
  readKeyedTables,
  readSettingRow,
  SERIAL_COLUMN,
} from "./postgres-schema.ts";
import { readNodes } from "./postgres-snapshot.ts";
import { type VolumeRows, volumeRows } from "./record-writers.ts";
import { createReferenceTables, mergeReferences } from "./reference-tables.ts";
import { dropTables } from "./remove-remains.ts";
import { quote } from "./stored-names.ts";
import { endOtherLoad, inspectTarget, lockTarget, refuseTarget } from "./target-state.ts";

/** How long removing what was stored with a checkpoint may take. */
const ABORT_TIMEOUT_MS = 60_000;

/**
 * Loads a volume in one transaction with the tables themselves: until its first checkpoint nobody sees anything of it, and whatever
 * happens before, the server leaves nothing behind (docs/spec/sql.md §16.3, 12.8). A checkpoint ends the transaction, with a marker
 * that says what the tables are, and begins the next one: so there is never anything that no checkpoint covers. Rows go in with
 * COPY, one table at a time and one COPY behind what is being encoded; keys and indexes are made when all rows are there, in the
 * last transaction.
 */
export class PostgresLoader implements Loader {
  readonly isResumable: boolean;
  readonly earlier: LoadProgress | undefined;
  readonly #connection: PostgresConnection;
  readonly #options: LoaderOptions;
  readonly #rows: VolumeRows;
  readonly #derives: boolean;
  /** Tables that have their primary key already. */
  readonly #keyed: Set<string>;
  readonly #marker: LoadMarker;
  readonly #backend: bigint;
  /** Whether the marker is there: then what was loaded stays when the transaction does not. */
  #isMarked: boolean;
  #sending: Promise<void> = Promise.resolve();
  #lastChangelog = 0n;
  #state: "open" | "failed" | "ended" = "open";

  /**
   * Throws `ConflictError` when the target is not empty, or another load is under way. With `options.resume` a load that was cut off
   * is gone on with.
   */
  static async open(address: PostgresAddress, options: LoaderOptions): Promise<PostgresLoader> {
    const connection = await PostgresConnection.open(address, options.signal);
    try {
      if (options.resume) await endOtherLoad(connection); // also one of which nothing is stored: its client may be gone for hours
      await connection.run("BEGIN");
      await lockTarget(connection, options.signal, options.resume ? ABORT_TIMEOUT_MS : undefined);
      const target = await inspectTarget(connection);
      const [[backend]] = (await connection.rows<[bigint]>("SELECT pg_backend_pid()")) as [[bigint]];
      const marker = new LoadMarker();
      const start: LoadStart = { marker, backend, earlier: undefined, rows: NO_ROWS, keyed: new Set() };
      if (target.state === "interrupted" && options.resume && target.progress.checkpoint !== undefined) {
        const { rows } = (await findLoad(connection))!;
        const { stamp = target.progress.stamp } = options;
        await marker.store(connection, { ...target.progress, stamp }, rows);
        await beginNext(connection, options.signal, marker);
        const keyed = await readKeyedTables(connection);
        return new PostgresLoader(connection, options, { ...start, earlier: target.progress, rows, keyed });
      }
      refuseTarget(connection, target);
      for (const table of SQL_TABLES) await connection.run(createBareTable(table, address.tablePrefix));
      await connection.readCatalog();
      if (options.sliceRefs === "exceptions") await createReferenceTables(connection);
      return new PostgresLoader(connection, options, start);
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  private constructor(connection: PostgresConnection, options: LoaderOptions, start: LoadStart) {
    this.isResumable = options.stamp !== undefined;
    this.earlier = start.earlier;
    this.#connection = connection;
    this.#options = options;
    this.#derives = options.sliceRefs === "exceptions";
    this.#rows = volumeRows(this.#derives, start.rows);
    this.#keyed = new Set(start.keyed);
    this.#marker = start.marker;
    this.#backend = start.backend;
    this.#isMarked = start.earlier !== undefined;
  }

  async write(batch: RecordBatch): Promise<void> {
    await this.#step(async () => {
      const write = this.#rows.byKind[batch.kind]; // parent records are computed from the edges in SQL
      if (write === undefined) return;
      for (const rows of write(batch.kind === "counter" ? this.#withoutChangelog(batch) : batch))
        await this.#send(rows);
    });
  }

  async readNodes(inodes: readonly bigint[]): Promise<(Buffer | undefined)[]> {
    return this.#step(async () => {
      await this.#completeNodes();
      return readNodes(this.#connection, inodes);
    });
  }

  async replaceNodes(batch: RecordBatch): Promise<void> {
    await this.#step(async () => {
      await this.#completeNodes();
      const columns = NODE_COLUMNS.map(quote);
      const marks = columns.map((_, i) => `$${i + 1}`);
      const statement = `INSERT INTO ${this.#table("node")} (${columns.join(",")}) VALUES (${marks.join(",")})
        ON CONFLICT (inode) DO UPDATE SET ${columns.map((name) => `${name} = excluded.${name}`).join(",")}`;
      for (let i = 0, at = 0; i < batch.count; i++) {
        const values: unknown[] = [];
        at = unpackNodeRow(batch.bytes, at, values, 0);
        await this.#connection.run(statement, values as SqlValue[]);
      }
    });
  }

  async finish(setting: Buffer): Promise<void> {
    await this.#step(async () => {
      await this.#sendAll();
      if (this.#isMarked) await this.#marker.remove(this.#connection);
      if (this.#derives) await mergeReferences(this.#connection);
      for (const table of SQL_TABLES) {
        await this.#addKey(table);
        for (const statement of createIndexes(table, this.#prefix)) await this.#connection.run(statement);
        await this.#advanceSequence(table);
      }
      await this.#connection.run(`INSERT INTO ${this.#table("setting")} (name, value) VALUES ('format', $1)`, [
        setting.toString(),
      ]);
      await this.#commit(setting);
    });
    this.#state = "ended";
    await this.#connection.close();
  }

  /** When the connection breaks before the answer comes, whether the server has committed is looked up. */
  async #commit(setting: Buffer): Promise<void> {
    try {
      await this.#connection.run("COMMIT");
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== "DECANT_E_POSTGRES_LOST") throw error;
      const { address } = this.#connection;
      const isThere = await withConnection(address, this.#options.signal, (connection) =>
        connection.transaction("BEGIN", async () => {
          // Held by the load's own transaction until it has ended, whichever way.
          await lockTarget(connection, this.#options.signal);
          return (await readSettingRow(connection))?.equals(setting) ?? false;
        }),
      ).catch(() => false);
      if (!isThere) throw error;
    }
  }

  async skip(batch: RecordBatch): Promise<void> {
    await this.#step(async () => {
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
    await this.#step(async () => {
      await this.#sendAll();
      const rows = countRows(this.#rows.writers, ({ table }) => table);
      await this.#marker.store(this.#connection, { stamp, ...position }, rows);
      this.#isMarked = true; // also where the answer to COMMIT is lost
      await beginNext(this.#connection, this.#options.signal, this.#marker);
    });
  }

  /** Nothing is stored beyond a checkpoint. */
  async announce(): Promise<void> {}

  async suspend(): Promise<boolean> {
    if (!this.#isMarked) await this.abort();
    if (this.#state === "ended") return false;
    await this.#end();
    return true;
  }

  async abort(): Promise<void> {
    if (this.#state === "ended") return;
    await this.#end();
    if (!this.#isMarked) return;
    try {
      await this.#removeStored();
    } catch (error) {
      const { url } = this.#connection.address;
      this.#options.logger.warn(`Could not remove the tables of the load from ${url}: ${errorText(error)}`);
    }
  }

  async #end(): Promise<void> {
    this.#state = "ended";
    await this.#sending.catch(() => undefined); // its error was the reason, or does not matter any more
    await this.#connection.rollback();
    await this.#connection.close();
  }

  /** By a connection that neither the caller's signal nor what happened to the old one touches. */
  async #removeStored(): Promise<void> {
    const signal = AbortSignal.timeout(ABORT_TIMEOUT_MS);
    await withConnection(this.#connection.address, signal, async (connection) => {
      await this.#marker.check(connection); // another load that has it holds the lock
      await endOtherLoad(connection, this.#backend); // the server may still be busy with its last statement
      await connection.transaction("BEGIN", async () => {
        await lockTarget(connection, signal, ABORT_TIMEOUT_MS);
        await this.#marker.check(connection);
        await dropTables(connection);
      });
    });
  }

  /** After an error the server takes nothing more in this transaction. */
  async #step<T>(work: () => Promise<T>): Promise<T> {
    if (this.#state !== "open") throw new InternalError("DECANT_E_LOADER_STATE", "The loader has already ended");
    this.#options.signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      this.#state = "failed";
      throw error;
    }
  }

  #withoutChangelog(batch: RecordBatch): RecordBatch {
    const { counters, lastChangelog } = takeLastChangelog(batch);
    this.#lastChangelog = lastChangelog ?? this.#lastChangelog;
    return counters;
  }

  /** Begins to send what is collected, when the server has stored what was sent before. */
  async #send(rows: CopyWriter): Promise<void> {
    const bytes = rows.take();
    if (bytes === undefined) return;
    await this.#sending;
    const columns = rows.columns.map(quote).join(",");
    const statement = `COPY ${this.#table(rows.table)} (${columns}) FROM STDIN (FORMAT binary)`;
    this.#sending = this.#connection.copyIn(statement, bytes).then(() => recycle(bytes));
    this.#sending.catch(() => undefined); // reported by whoever waits for it next
  }

  async #sendAll(): Promise<void> {
    for (const rows of this.#rows.writers) await this.#send(rows);
    await this.#sending;
  }

  async #completeNodes(): Promise<void> {
    for (const rows of this.#rows.writers) if (rows.table === "node") await this.#send(rows);
    await this.#sending;
    await this.#addKey(SQL_TABLES.find(({ name }) => name === "node")!);
  }

  async #addKey(table: SqlTable): Promise<void> {
    if (this.#keyed.has(table.name)) return;
    this.#keyed.add(table.name);
    await this.#connection.run(addPrimaryKey(table, this.#prefix));
  }

  /** The numbers were given with the rows: the sequence goes on behind them, which the reference forgets (§11.4). */
  async #advanceSequence(table: SqlTable): Promise<void> {
    if (!table.columns.some(({ name }) => name === SERIAL_COLUMN)) return;
    if (table.name === "change_log") {
      if (this.#lastChangelog > 0n) await this.#setSequence(table, String(this.#lastChangelog));
      return;
    }
    const highest = `(SELECT max(${quote(SERIAL_COLUMN)}) FROM ${this.#table(table.name)})`;
    await this.#setSequence(table, highest);
  }

  async #setSequence(table: SqlTable, last: string): Promise<void> {
    const sequence = "pg_get_serial_sequence($1, $2)";
    // Without rows there is no highest number, and setval of NULL does nothing.
    await this.#connection.rows(`SELECT setval(${sequence}, ${last}, true)`, [this.#table(table.name), SERIAL_COLUMN]);
  }

  get #prefix(): string {
    return this.#connection.address.tablePrefix;
  }

  #table(name: string): string {
    return quote(tableName(this.#prefix, name));
  }
}

/** What a load begins with. */
interface LoadStart {
  readonly marker: LoadMarker;
  readonly backend: bigint;
  readonly earlier: LoadProgress | undefined;
  readonly rows: RowCounts;
  readonly keyed: ReadonlySet<string>;
}

/** Stores the transaction with its marker and begins the next. Throws `ConflictError` when another load came in between. */
async function beginNext(connection: PostgresConnection, signal: AbortSignal, marker: LoadMarker): Promise<void> {
  await connection.run("COMMIT");
  await connection.run("BEGIN");
  await lockTarget(connection, signal);
  await marker.check(connection);
}
