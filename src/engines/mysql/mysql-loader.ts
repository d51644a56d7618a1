import { ConflictError, errorText, InternalError } from "../../base/errors.ts";
import type { RecordBatch, RecordKind } from "../../volume/records.ts";
import type { Loader, LoaderOptions, LoadPosition, LoadProgress } from "../engine.ts";
import { takeLastChangelog } from "../sql/last-changelog.ts";
import { countRows, NO_ROWS, type RowCounts } from "../sql/load-rows.ts";
import { REFERENCE_COLUMNS } from "../sql/record-rows.ts";
import { putNode, type RecordWriter, recordWriters } from "../sql/record-writers.ts";
import { NODE_COLUMNS, SQL_TABLES, type SqlTable, tableName } from "../sql/schema.ts";
import { type EarlierLoad, LoadMarker } from "./load-marker.ts";
import type { MysqlAddress } from "./mysql-address.ts";
import { mysqlErrno } from "./mysql-errors.ts";
import { addIndexes, createTable, quote, readIndexNames, readSettingRow } from "./mysql-schema.ts";
import { MysqlSession, withSession } from "./mysql-session.ts";
import { readNode } from "./mysql-snapshot.ts";
import { choosePath, openRowWriter, type RowPath, removeProbe } from "./open-row-writer.ts";
import { dropTables } from "./remove-remains.ts";
import { RowLane } from "./row-lane.ts";
import type { RowWriter } from "./row-writer.ts";
import { closeAll } from "./shared-snapshot.ts";
import { MYSQL_COLUMNS } from "./value-limits.ts";
import { settingInsert } from "./volume-changes.ts";

/** A count that was given beats one that was derived from a chunk, whatever comes first. */
const KEEP_GIVEN = " ON DUPLICATE KEY UPDATE chunkid = chunkid";
const REPLACE_DERIVED = " ON DUPLICATE KEY UPDATE size = VALUES(size), refs = VALUES(refs)";

/** The tables that get a connection of their own when there is more for them than one portion. */
const OWN_LANES: ReadonlySet<string> = new Set(["edge", "chunk", "chunk_ref"]);
/** How long removing what was written may take. */
const ABORT_TIMEOUT_MS = 60_000;
const TABLE_EXISTS = 1050;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Fills new tables, adds their indexes after the rows, and writes the setting last (docs/spec/sql.md §16.2, 12.8). The
 * server commits with every change of the schema, so a load cannot be one transaction: a marker says what the tables are
 * until the setting replaces it. Large tables are filled side by side, each by a connection of its own.
 *
 * So more rows than those of the last checkpoint may be stored, of some tables more than of others, but none that were not announced.
 * All have a primary key that comes from the records or from the order of their rows: a load that goes on writes them again, and
 * keeps those that it meets.
 */
export class MysqlLoader implements Loader {
  readonly isResumable: boolean;
  readonly #address: MysqlAddress;
  readonly #env: Environment;
  readonly #options: LoaderOptions;
  readonly #session: MysqlSession;
  /** By table; `#leader` serves those that are not here, and nodes, which are read and replaced on the way. */
  readonly #lanes = new Map<string, RowLane>();
  #leader: RowLane | undefined;
  readonly #marker = new LoadMarker();
  #earlier: EarlierLoad | undefined;
  #hasCheckpoint = false;
  /** Rows of batches up to this one may be stored already. */
  #repeatsUntil = 0;
  #batches = 0;
  #writers: RowWriter[] = [];
  #path: RowPath = "insert";
  #byKind: Partial<Record<RecordKind, RecordWriter<RowWriter>>> = {};
  /** Full names of the tables that this load has created. */
  readonly #created: string[] = [];
  #isMarked = false;
  #lastChangelog = 0n;
  #state: "open" | "failed" | "ended" = "open";

  /** The caller has found the target to be empty; `goesOn`: a load that was cut off. */
  static async open(
    address: MysqlAddress,
    env: Environment,
    options: LoaderOptions,
    goesOn: boolean,
  ): Promise<MysqlLoader> {
    const session = await MysqlSession.open(address, env, options.signal, { offersFiles: true });
    const loader = new MysqlLoader(address, env, options, session);
    try {
      if (goesOn) await loader.#takeOver();
      else await loader.#createTables();
      await loader.#begin();
    } catch (error) {
      if (goesOn) await loader.suspend();
      else await loader.abort();
      throw error;
    }
    return loader;
  }

  private constructor(address: MysqlAddress, env: Environment, options: LoaderOptions, session: MysqlSession) {
    this.isResumable = options.stamp !== undefined;
    this.#address = address;
    this.#env = env;
    this.#options = options;
    this.#session = session;
  }

  get earlier(): LoadProgress | undefined {
    return this.#earlier?.progress;
  }

  async write(batch: RecordBatch): Promise<void> {
    await this.#step(async () => {
      if (this.#batches++ === this.#repeatsUntil && this.#repeatsUntil > 0) await this.#endRepeats();
      const stored = batch.kind === "counter" ? this.#withoutChangelog(batch) : batch;
      const write = this.#byKind[batch.kind]; // parent records are computed from the edges in SQL
      for (const writer of write?.(stored) ?? []) await (await this.#laneOf(writer.table.name)).send(writer);
    });
  }

  async readNodes(inodes: readonly bigint[]): Promise<(Buffer | undefined)[]> {
    return this.#step(async () => {
      await this.#sendAll();
      const nodes: (Buffer | undefined)[] = [];
      for (const inode of inodes) nodes.push(await readNode(this.#session, this.#address.tablePrefix, inode));
      return nodes;
    });
  }

  async replaceNodes(batch: RecordBatch): Promise<void> {
    await this.#step(async () => {
      await this.#sendAll();
      const assignments = NODE_COLUMNS.map((name) => `${quote(name)} = VALUES(${quote(name)})`);
      const tail = ` ON DUPLICATE KEY UPDATE ${assignments.join(", ")}`;
      const writer = openRowWriter(this.#session, "insert", "node", NODE_COLUMNS, { tail });
      const values: unknown[] = [];
      for (let i = 0, at = 0; i < batch.count; i++) {
        at = putNode(writer, MYSQL_COLUMNS.engineName, batch.bytes, at, values);
        if (writer.commit()) await this.#leader!.send(writer);
      }
      await this.#leader!.send(writer);
      await this.#leader!.settle();
    });
  }

  async finish(setting: Buffer): Promise<void> {
    await this.#step(() => this.#complete(setting));
    this.#state = "ended";
    await closeAll(this.#allLanes().map(({ session }) => session));
  }

  async skip(batch: RecordBatch): Promise<void> {
    await this.#step(async () => {
      this.#batches++;
      if (batch.kind === "counter") this.#withoutChangelog(batch);
    });
  }

  /** The position is stored when all lanes have committed what it says. */
  async checkpoint(position: LoadPosition): Promise<void> {
    const { stamp } = this.#options;
    if (stamp === undefined) return;
    await this.#step(async () => {
      await this.#sendAll();
      for (const lane of this.#allLanes()) await lane.commit();
      const progress = { stamp, ...position };
      const rows = countRows(this.#writers, ({ table }) => table.name);
      await this.#leader!.commit(...this.#marker.progressStatements(this.#session, progress, rows));
      this.#hasCheckpoint = position.checkpoint !== undefined;
    });
  }

  async announce(position: LoadPosition): Promise<void> {
    const { stamp } = this.#options;
    if (stamp === undefined) return;
    await this.#step(async () => {
      const progress = { stamp, ...position };
      await this.#leader!.commit(...this.#marker.progressStatements(this.#session, progress));
    });
  }

  async suspend(): Promise<boolean> {
    if (!this.#hasCheckpoint) await this.abort();
    if (this.#state === "ended") return false;
    await this.#disconnect();
    return true;
  }

  async abort(): Promise<void> {
    if (this.#state === "ended") return;
    await this.#disconnect();
    if (this.#created.length === 0) return;
    try {
      await this.#withNewSession((session) => this.#removeTables(session));
    } catch (error) {
      this.#warnOfLeftovers(errorText(error));
    }
  }

  async #disconnect(): Promise<void> {
    this.#state = "ended";
    this.#session.connection.destroy();
    for (const lane of this.#allLanes()) await lane.destroy();
  }

  #withoutChangelog(batch: RecordBatch): RecordBatch {
    const { counters, lastChangelog } = takeLastChangelog(batch);
    this.#lastChangelog = lastChangelog ?? this.#lastChangelog;
    return counters;
  }

  async #takeOver(): Promise<void> {
    this.#hasCheckpoint = true;
    this.#earlier = await this.#marker.takeOver(this.#session, this.#options.stamp);
    this.#isMarked = true;
    this.#created.push(...SQL_TABLES.map(({ name }) => tableName(this.#address.tablePrefix, name)));
    this.#repeatsUntil = this.#earlier.progress.announced.at(-1)?.batches ?? 0;
  }

  async #createTables(): Promise<void> {
    for (const table of SQL_TABLES) {
      await this.#createTable(table);
      if (table.name !== "setting") continue;
      await this.#session.refreshCatalog();
      await this.#marker.set(this.#session, this.#options.stamp);
      this.#isMarked = true;
    }
    await this.#session.refreshCatalog();
  }

  async #createTable(table: SqlTable): Promise<void> {
    try {
      await this.#session.run(createTable(table, this.#address.tablePrefix));
    } catch (error) {
      if (mysqlErrno(error) !== TABLE_EXISTS) throw error;
      throw new ConflictError(
        "DECANT_E_TARGET_CHANGED",
        `${this.#address.url} was filled by another program meanwhile`,
        { cause: error },
      );
    }
    this.#created.push(tableName(this.#address.tablePrefix, table.name));
  }

  async #begin(): Promise<void> {
    this.#path = await this.#tryPath();
    await this.#marker.nameConnection(this.#session, 0);
    this.#leader = this.#newLane(this.#session);
    this.#openWriters(this.#earlier?.rows ?? NO_ROWS, this.#repeatsUntil > 0);
  }

  #newLane(session: MysqlSession): RowLane {
    return new RowLane(session, (user) => this.#marker.claim(user));
  }

  /** With `repeats` rows that are there already stay. */
  #openWriters(rows: RowCounts, repeats: boolean): void {
    this.#writers = [];
    const derives = this.#options.sliceRefs === "exceptions";
    const open = (table: string, columns: readonly string[], ownTail?: string): RowWriter => {
      const tail = ownTail ?? (repeats ? keepStored(table) : undefined);
      const writer = openRowWriter(this.#session, this.#path, table, columns, { tail, rowsBefore: rows.get(table) });
      this.#writers.push(writer);
      return writer;
    };
    const given = open("chunk_ref", REFERENCE_COLUMNS, derives ? REPLACE_DERIVED : undefined);
    const derived = derives ? open("chunk_ref", REFERENCE_COLUMNS, KEEP_GIVEN) : undefined;
    this.#byKind = recordWriters({ open, given, derived }, MYSQL_COLUMNS);
  }

  /** What comes now is stored for the first time. */
  async #endRepeats(): Promise<void> {
    await this.#sendAll();
    this.#openWriters(
      countRows(this.#writers, ({ table }) => table.name),
      false,
    );
  }

  /** A connection of its own tries, because it may be lost by that. */
  async #tryPath(): Promise<RowPath> {
    const { signal, logger } = this.#options;
    let session: MysqlSession | undefined;
    try {
      session = await this.#openSession();
      return await choosePath(session, logger);
    } catch (error) {
      signal.throwIfAborted();
      logger.debug(`Rows are stored by INSERT: ${errorText(error)}`);
      return "insert";
    } finally {
      await session?.close();
      await removeProbe(this.#session);
    }
  }

  /** Nothing may be written after an error: half of a portion may have been stored. */
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

  #allLanes(): RowLane[] {
    return [...new Set([...(this.#leader === undefined ? [] : [this.#leader]), ...this.#lanes.values()])];
  }

  /** The connection that fills a table; opened when there is a whole portion for it, so that small volumes need one. */
  async #laneOf(table: string): Promise<RowLane> {
    if (!OWN_LANES.has(table)) return this.#leader!;
    const lane = this.#lanes.get(table) ?? (await this.#openLane(this.#lanes.size + 1));
    this.#lanes.set(table, lane);
    return lane;
  }

  /** Where no more connections are to be had, the first one does it all. */
  async #openLane(number: number): Promise<RowLane> {
    const { signal } = this.#options;
    try {
      const session = await this.#openSession();
      await this.#marker.nameConnection(session, number);
      return this.#newLane(session);
    } catch (error) {
      signal.throwIfAborted();
      this.#options.logger.debug(`One connection for several tables: ${errorText(error)}`);
      return this.#leader!;
    }
  }

  #openSession(): Promise<MysqlSession> {
    const use = { like: this.#session, offersFiles: true };
    return MysqlSession.open(this.#address, this.#env, this.#options.signal, use);
  }

  async #sendAll(): Promise<void> {
    for (const writer of this.#writers) await (this.#lanes.get(writer.table.name) ?? this.#leader!).send(writer);
    for (const lane of this.#allLanes()) await lane.settle();
  }

  async #addIndexes(): Promise<void> {
    const present = this.#earlier === undefined ? undefined : await readIndexNames(this.#session.connection);
    const work = this.#allLanes().map(async (lane) => {
      for (const table of SQL_TABLES) {
        const sql = addIndexes(table, this.#address.tablePrefix, present);
        if (sql !== undefined && (this.#lanes.get(table.name) ?? this.#leader) === lane) await lane.session.run(sql);
      }
    });
    const results = await Promise.allSettled(work); // none may be at work when the tables are removed
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  async #complete(setting: Buffer): Promise<void> {
    await this.#sendAll();
    for (const lane of this.#allLanes()) await lane.commit();
    await this.#addIndexes();
    if (this.#lastChangelog > 0n) {
      const table = this.#session.catalog.table("change_log");
      await this.#session.run(`ALTER TABLE ${table} AUTO_INCREMENT = ${this.#lastChangelog + 1n}`);
    }
    await this.#session.run("START TRANSACTION");
    await this.#marker.remove(this.#session);
    await this.#session.run(settingInsert(this.#session.catalog, setting));
    try {
      await this.#session.run("COMMIT");
    } catch (error) {
      if (!(await this.#isComplete(setting))) throw error;
    }
  }

  /** When only the answer to the last commit was lost, the volume is there: then the load has succeeded. */
  async #isComplete(setting: Buffer): Promise<boolean> {
    this.#session.connection.destroy();
    const look = (session: MysqlSession): Promise<Buffer | undefined> => readSettingRow(session);
    const stored = await this.#withNewSession(look).catch(() => undefined);
    return stored?.equals(setting) ?? false;
  }

  /** A session that neither the caller's signal nor what happened to the old one touches. */
  async #withNewSession<T>(work: (session: MysqlSession) => Promise<T>): Promise<T> {
    return withSession(this.#address, this.#env, AbortSignal.timeout(ABORT_TIMEOUT_MS), async (session) => {
      // Its connection is closed, but the server may still be busy with its last statement.
      await session.run(`SET lock_wait_timeout = ${ABORT_TIMEOUT_MS / 1000}`);
      const ids = new Set([this.#session, ...this.#allLanes().map((lane) => lane.session)].map(connectionIdOf));
      for (const id of ids) await session.run(`KILL ${id}`).catch(() => undefined);
      return work(session);
    });
  }

  /** The setting table goes last: as long as the marker is there, it is known what the others are. */
  async #removeTables(session: MysqlSession): Promise<void> {
    if (await this.#isTakenOver(session)) {
      this.#warnOfLeftovers("they were taken over by others meanwhile");
      return;
    }
    await dropTables(session, this.#created);
  }

  async #isTakenOver(session: MysqlSession): Promise<boolean> {
    if ((await readSettingRow(session)) !== undefined) return true;
    return this.#isMarked && !(await this.#marker.isOurs(session));
  }

  #warnOfLeftovers(reason: string): void {
    this.#options.logger.warn(`Could not remove the tables of the load from ${this.#address.url}: ${reason}`);
  }
}

/** All other tables have one row for each record, by a key of it or by its number. */
function keepStored(name: string): string {
  const { primaryKey, columns } = SQL_TABLES.find((table) => table.name === name)!;
  const key = quote(primaryKey?.[0] ?? columns.find((column) => column.key !== undefined)!.name);
  return ` ON DUPLICATE KEY UPDATE ${key} = ${key}`;
}

function connectionIdOf({ server }: MysqlSession): bigint {
  return server.connectionId;
}
