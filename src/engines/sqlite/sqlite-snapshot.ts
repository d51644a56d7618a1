import { setImmediate as nextTurn } from "node:timers/promises";
import { NotFoundError } from "../../base/errors.ts";
import type { RecordBatch, RecordKind, RecordStream } from "../../volume/records.ts";
import { packBatch } from "../../volume/records.ts";
import { parseSetting } from "../../volume/setting.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote, SnapshotOptions } from "../engine.ts";
import { PackedRowReader } from "../sql/decimal.ts";
import { expectedRecords } from "../sql/estimates.ts";
import { NoteList } from "../sql/note-list.ts";
import { BatchQueue, decodeInt64s, type RowDecoder } from "../sql/record-decoders.ts";
import { tableName } from "../sql/schema.ts";
import { STANDARD_COUNTERS } from "../sql/standard-counters.ts";
import { nodeReader } from "./read-node.ts";
import { type PackedPage, pageQuery, scanParents, scanSubtree, scanSubtreeParents, scanTable } from "./scan-pages.ts";
import { ScanThread } from "./scan-thread.ts";
import type { SqliteAddress } from "./sqlite-address.ts";
import { assertDatabaseFile, type Connection, ReaderConnection, retryWhileBusy } from "./sqlite-connection.ts";
import { toEngineError } from "./sqlite-errors.ts";
import { Catalog, readSettingRow } from "./sqlite-schema.ts";
import { collectSubtree, SUBTREE_TABLE } from "./subtree.ts";
import type { TableScan } from "./table-scan.ts";
import { tableScans } from "./table-scans.ts";

/** The database library works synchronously: the event loop gets a turn at least this often. */
const TURN_MS = 15;

/**
 * One read transaction: the volume at one instant while clients go on writing (docs/spec/sql.md §16.1). The pages of large
 * tables are read by a second connection on another thread, whose transaction sees the same instant.
 */
export class SqliteSnapshot implements Snapshot {
  readonly setting: Buffer;
  readonly consistency: Consistency;
  readonly estimates: ReadonlyMap<RecordKind, number>;
  readonly #address: SqliteAddress;
  readonly #signal: AbortSignal;
  readonly #reader: ReaderConnection;
  readonly #thread: ScanThread | undefined;
  readonly #catalog: Catalog;
  readonly #notes = new NoteList();
  #lastTurn = performance.now();
  #readNode: ((inode: bigint) => Buffer | undefined) | undefined;
  #pages: Generator<PackedPage> | AsyncGenerator<PackedPage> | undefined;
  #closed = false;

  /** Throws `NotFoundError` when the database holds no volume. */
  static async open(address: SqliteAddress, options: SnapshotOptions): Promise<SqliteSnapshot> {
    assertDatabaseFile(address.path);
    const thread = ScanThread.startFor(address.path);
    try {
      const reader = await retryWhileBusy(address, options.signal, "read", () => openVolume(address));
      try {
        const joined = thread !== undefined && (await joinThread(thread, reader, address, options.signal));
        if (!joined) await thread?.close();
        if (reader.db.pragma("journal_mode", { simple: true }) !== "wal") {
          options.logger.warn(`${address.path} is not in WAL mode: clients cannot write to it until it has been read`);
        }
        return new SqliteSnapshot(address, options.signal, reader, joined ? thread : undefined);
      } catch (error) {
        reader.close();
        throw error;
      }
    } catch (error) {
      await thread?.close();
      throw error;
    }
  }

  private constructor(
    address: SqliteAddress,
    signal: AbortSignal,
    reader: ReaderConnection,
    thread: ScanThread | undefined,
  ) {
    this.#address = address;
    this.#signal = signal;
    this.#reader = reader;
    this.#thread = thread;
    this.#catalog = new Catalog(reader.db, address.tablePrefix);
    this.setting = readVolumeSetting(reader.db, address);
    this.consistency = { pointInTime: true, method: "one read transaction", asOf: new Date() };
    const inodes = this.#readCounters().get("totalInodes") ?? 0n;
    this.estimates = expectedRecords(inodes);
  }

  get notes(): readonly SnapshotNote[] {
    return this.#notes.list();
  }

  async *records(selection: RecordSelection): RecordStream {
    const { kinds, root } = selection;
    try {
      if (root !== undefined) for (const _ of collectSubtree(this.#db, this.#catalog, root)) await this.#turn();
      if (kinds.has("counter")) yield this.#counterBatch();
      const subtree = root === undefined ? undefined : SUBTREE_TABLE;
      for (const scan of tableScans(this.#catalog)) {
        if (kinds.has(scan.kind)) yield* this.#read(scan, this.#scanPages(scan, subtree), scan.newDecoder());
      }
      if (kinds.has("parent") && this.#catalog.has("edge")) {
        const pages =
          subtree === undefined
            ? scanParents(this.#db, this.#catalog)
            : scanSubtreeParents(this.#db, this.#catalog, subtree);
        yield* this.#read({ kind: "parent", table: "edge" }, pages, decodeInt64s(3));
      }
    } catch (error) {
      throw toEngineError(error, this.#address.path, "read");
    }
  }

  async lookup(parent: bigint, name: Buffer): Promise<{ inode: bigint; type: number } | undefined> {
    return this.#run(() => {
      const query = `SELECT inode, type FROM ${this.#catalog.table("edge")} WHERE parent = ? AND name = ?`;
      const row = this.#db.prepare(query).raw().get(BigInt.asIntN(64, parent), name) as [bigint, bigint] | undefined;
      return row === undefined ? undefined : { inode: BigInt.asUintN(64, row[0]), type: Number(row[1]) & 0xff };
    });
  }

  async readNode(inode: bigint): Promise<Buffer | undefined> {
    return this.#run(() => {
      if (!this.#catalog.has("node")) return undefined;
      this.#readNode ??= nodeReader(this.#db, this.#catalog);
      return this.#readNode(inode);
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // First: the last connection to close removes what SQLite keeps beside the database.
    await this.#thread?.close();
    try {
      this.#pages?.return(undefined);
      this.#reader.close();
    } catch {
      // The connection ends with the process at the latest; nothing was written through it.
    }
  }

  get #db(): Connection {
    return this.#reader.db;
  }

  #run<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw toEngineError(error, this.#address.path, "read");
    }
  }

  #scanPages(scan: TableScan, subtree: string | undefined): Generator<PackedPage> | AsyncGenerator<PackedPage> {
    if (subtree !== undefined && scan.inode !== undefined) return scanSubtree(this.#db, this.#catalog, scan, subtree);
    const query = pageQuery(this.#catalog, scan);
    if (this.#thread !== undefined && query !== undefined) return this.#thread.pages(query);
    return scanTable(this.#db, this.#catalog, scan);
  }

  async *#read(
    scan: Pick<TableScan, "kind" | "table" | "large">,
    pages: Generator<PackedPage> | AsyncGenerator<PackedPage>,
    decode: RowDecoder,
  ): AsyncGenerator<RecordBatch> {
    const out = new BatchQueue(scan.kind, this.#notes, this.#largeValueReader(scan));
    const row = new PackedRowReader(tableName(this.#address.tablePrefix, scan.table));
    this.#pages = pages;
    for await (const page of pages) {
      row.open(page.bytes);
      for (let i = 0; i < page.rows; i++) decode(row, out);
      row.expectEnd();
      if (out.ready.length > 0) {
        yield* out.ready;
        out.ready = [];
      }
      await this.#turn();
      if (this.#closed) return;
    }
    this.#pages = undefined;
    out.flush();
    yield* out.ready;
  }

  /** Reads a value by rowid; prepared when the first one is met. */
  #largeValueReader(scan: Pick<TableScan, "table" | "large">): (rowid: bigint) => Buffer {
    return (rowid) => {
      const query = `SELECT CAST(${scan.large} AS BLOB) FROM ${this.#catalog.table(scan.table)} WHERE rowid = ?`;
      return this.#db.prepare(query).pluck().get(BigInt.asIntN(64, rowid)) as Buffer;
    };
  }

  /** Lets timers, signals and the consumer's own work run, when it is time. */
  async #turn(): Promise<void> {
    this.#signal.throwIfAborted();
    if (performance.now() - this.#lastTurn < TURN_MS) return;
    await nextTurn();
    this.#lastTurn = performance.now();
    this.#signal.throwIfAborted();
  }

  #readCounters(): Map<string, bigint> {
    const counters = new Map(STANDARD_COUNTERS.map((name) => [name, 0n]));
    if (this.#catalog.has("counter")) {
      const query = `SELECT CAST(name AS TEXT), CAST(value AS INTEGER) FROM ${this.#catalog.table("counter")}`;
      for (const [name, value] of this.#db.prepare(query).raw().all() as [string, bigint][]) counters.set(name, value);
    }
    return counters;
  }

  /** All counters, with the last version of the change log where there is one (docs/spec/sql.md §10.3). */
  #counterBatch(): RecordBatch {
    const counters = this.#readCounters();
    counters.delete("lastChangelog"); // a row of this name comes from a load of the reference and counts nothing
    if (parseSetting(this.setting).changeLog && this.#catalog.has("change_log")) {
      const query = `SELECT ifnull(max(id), 0) FROM ${this.#catalog.table("change_log")}`;
      const version = this.#db.prepare(query).pluck().get() as bigint;
      if (version !== 0n) counters.set("lastChangelog", version);
    }
    return packBatch(
      "counter",
      [...counters].map(([name, value]) => ({ name, value })),
    );
  }
}

function openVolume(address: SqliteAddress): ReaderConnection {
  const reader = new ReaderConnection(address.path);
  try {
    beginReading(reader, address);
    return reader;
  } catch (error) {
    reader.close();
    throw error;
  }
}

function beginReading(reader: ReaderConnection, address: SqliteAddress): void {
  if (reader.db.inTransaction) reader.db.exec("ROLLBACK");
  reader.db.exec("BEGIN");
  readVolumeSetting(reader.db, address); // the first read fixes the view
}

function readVolumeSetting(db: Connection, address: SqliteAddress): Buffer {
  const setting = readSettingRow(db, address.tablePrefix);
  if (setting !== undefined) return setting;
  throw new NotFoundError("DECANT_E_NO_VOLUME", `There is no volume in ${address.url}`, {
    hint: "The database is not formatted, or the volume has another table_prefix",
  });
}

/** True when the thread reads what `reader` reads. Without it everything is read on this thread, only more slowly. */
async function joinThread(
  thread: ScanThread,
  reader: ReaderConnection,
  address: SqliteAddress,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return await thread.beginWith(address.path, () => beginReading(reader, address));
  } catch {
    // What is wrong with the database shows again here, and is reported then.
    await retryWhileBusy(address, signal, "read", () => beginReading(reader, address));
    return false;
  }
}
