import { recycle } from "../../base/bytes.ts";
import { EngineError, InternalError } from "../../base/errors.ts";
import type { RecordBatch } from "../../volume/records.ts";
import type { Loader, LoaderOptions } from "../engine.ts";
import { takeLastChangelog } from "../sql/last-changelog.ts";
import { unpackNodeRow } from "../sql/node-row.ts";
import { NODE_COLUMNS, SQL_TABLES, type SqlTable, tableName } from "../sql/schema.ts";
import type { CopyWriter } from "./copy-writer.ts";
import type { PostgresAddress } from "./postgres-address.ts";
import { PostgresConnection, type SqlValue, withConnection } from "./postgres-connection.ts";
import { addPrimaryKey, createBareTable, createIndexes, readSettingRow, SERIAL_COLUMN } from "./postgres-schema.ts";
import { readNodes } from "./postgres-snapshot.ts";
import { DERIVED_REFERENCES, GIVEN_REFERENCES, type VolumeRows, volumeRows } from "./record-writers.ts";
import { quote } from "./stored-names.ts";
import { assertEmpty, lockTarget } from "./target-state.ts";

/**
 * Loads a volume in one transaction with the tables themselves: until it ends nobody sees anything of it, and whatever
 * happens before, the server leaves nothing behind (docs/spec/sql.md §16.3, 12.8). Rows go in with COPY, one table at a time
 * and one COPY behind what is being encoded; keys and indexes are made when all rows are there.
 */
export class PostgresLoader implements Loader {
  readonly isResumable = false;
  readonly earlier = undefined;
  readonly #connection: PostgresConnection;
  readonly #options: LoaderOptions;
  readonly #rows: VolumeRows;
  readonly #derives: boolean;
  /** Tables that have their primary key already. */
  readonly #keyed = new Set<string>();
  #sending: Promise<void> = Promise.resolve();
  #lastChangelog = 0n;
  #state: "open" | "failed" | "ended" = "open";

  /** Throws `ConflictError` when the target is not empty, or another load is under way. */
  static async open(address: PostgresAddress, options: LoaderOptions): Promise<PostgresLoader> {
    const connection = await PostgresConnection.open(address, options.signal);
    try {
      await connection.run("BEGIN");
      await lockTarget(connection, options.signal);
      await assertEmpty(connection);
      for (const table of SQL_TABLES) await connection.run(createBareTable(table, address.tablePrefix));
      await connection.readCatalog();
      const derives = options.sliceRefs === "exceptions";
      if (derives) await createReferenceTables(connection);
      return new PostgresLoader(connection, options, derives);
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  private constructor(connection: PostgresConnection, options: LoaderOptions, derives: boolean) {
    this.#connection = connection;
    this.#options = options;
    this.#derives = derives;
    this.#rows = volumeRows(derives);
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
    try {
      await this.#step(async () => {
        for (const rows of this.#rows.writers) await this.#send(rows);
        await this.#sending;
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
    } catch (error) {
      await this.abort();
      throw error;
    }
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

  async skip(): Promise<void> {
    throw new InternalError("DECANT_E_LOADER_STATE", "Nothing is stored that could be skipped");
  }

  async checkpoint(): Promise<void> {
    // Whoever loads again begins again.
  }

  async announce(): Promise<void> {
    // As there are no checkpoints.
  }

  async suspend(): Promise<boolean> {
    await this.abort();
    return false;
  }

  async abort(): Promise<void> {
    if (this.#state === "ended") return;
    this.#state = "ended";
    await this.#sending.catch(() => undefined); // its error was the reason, or does not matter any more
    await this.#connection.rollback();
    await this.#connection.close();
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
    return name === GIVEN_REFERENCES || name === DERIVED_REFERENCES
      ? quote(name)
      : quote(tableName(this.#prefix, name));
  }
}

/**
 * For a source that names only the slices whose count is not 1: those that the chunks name and those that were given wait in
 * tables of this session.
 */
async function createReferenceTables(connection: PostgresConnection): Promise<void> {
  for (const name of [GIVEN_REFERENCES, DERIVED_REFERENCES]) {
    await connection.run(
      `CREATE TEMPORARY TABLE ${quote(name)} (chunkid BIGINT NOT NULL, size INTEGER NOT NULL, refs INTEGER NOT NULL) ON COMMIT DROP`,
    );
  }
}

/** A count that was given beats one that was derived from a chunk. */
async function mergeReferences(connection: PostgresConnection): Promise<void> {
  const [given, derived] = [quote(GIVEN_REFERENCES), quote(DERIVED_REFERENCES)];
  await connection.run(
    `INSERT INTO ${connection.catalog.table("chunk_ref")} (chunkid, size, refs)
       SELECT chunkid, size, refs FROM ${given}
       UNION ALL
       SELECT chunkid, max(size), 1 FROM ${derived} d
        WHERE NOT EXISTS (SELECT 1 FROM ${given} g WHERE g.chunkid = d.chunkid) GROUP BY chunkid`,
  );
}
