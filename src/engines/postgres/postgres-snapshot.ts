import { EngineError, NotFoundError } from "../../base/errors.ts";
import type { RecordBatch, RecordKind, RecordStream } from "../../volume/records.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote, SnapshotOptions } from "../engine.ts";
import { expectedRecords } from "../sql/estimates.ts";
import { mergeStreams } from "../sql/merge-streams.ts";
import { NoteList } from "../sql/note-list.ts";
import { BatchQueue, decodeInt64s } from "../sql/record-decoders.ts";
import { tableName } from "../sql/schema.ts";
import { readCounterBatch, readCounters } from "../sql/server-status.ts";
import { parentsQuery, readSubtree } from "../sql/subtree.ts";
import { scanQuery, type TableScan, tableScans } from "../sql/table-scans.ts";
import { CopyReader } from "./copy-reader.ts";
import type { PostgresAddress } from "./postgres-address.ts";
import { PostgresConnection } from "./postgres-connection.ts";
import { readSettingRow } from "./postgres-schema.ts";
import { splitScans } from "./scan-tasks.ts";
import { beginReading, joinSnapshot } from "./shared-snapshot.ts";
import { quote } from "./stored-names.ts";

/** Size of the head of a packed `node` record: u64 inode, u16 size. */
const NODE_HEAD_BYTES = 10;

/** Connections that read a large volume side by side. */
const CONNECTIONS = 4;
/** Below so many inodes one connection reads faster than others are opened. */
const MIN_PARALLEL_INODES = 100_000n;

type Scan = Pick<TableScan, "kind" | "table" | "columns" | "newDecoder">;

const PARENTS: Scan = {
  kind: "parent",
  table: "edge",
  columns: ["inode", "parent", "count"],
  newDecoder: () => decodeInt64s(3),
};

function copyRows(query: string): string {
  return `COPY (${query}) TO STDOUT (FORMAT binary)`;
}

/**
 * Read transactions that share one snapshot: the volume at one instant while clients go on writing (docs/spec/sql.md §16.3).
 * Tables are read in bulk with COPY, large ones by several connections, each a range of blocks at a time.
 */
export class PostgresSnapshot implements Snapshot {
  readonly setting: Buffer;
  readonly consistency: Consistency;
  readonly estimates: ReadonlyMap<RecordKind, number>;
  readonly #connection: PostgresConnection;
  readonly #connections: readonly PostgresConnection[];
  readonly #signal: AbortSignal;
  readonly #notes = new NoteList();

  /** Throws `NotFoundError` when the database holds no volume. */
  static async open(
    address: PostgresAddress,
    options: SnapshotOptions,
    minParallelInodes: bigint = MIN_PARALLEL_INODES,
  ): Promise<PostgresSnapshot> {
    const { signal } = options;
    const leader = await PostgresConnection.open(address, signal);
    try {
      await beginReading(leader);
      const setting = await readSettingRow(leader); // the first read fixes the view
      const asOf = new Date();
      if (setting === undefined) throw noVolume(address);
      const inodes = (await readCounters(leader)).get("totalInodes")!;
      const workers = inodes < minParallelInodes ? [] : await joinSnapshot(leader, CONNECTIONS - 1, signal);
      return new PostgresSnapshot(leader, workers, signal, setting, asOf, inodes);
    } catch (error) {
      await leader.close();
      throw error;
    }
  }

  private constructor(
    leader: PostgresConnection,
    workers: Awaited<ReturnType<typeof joinSnapshot>>,
    signal: AbortSignal,
    setting: Buffer,
    asOf: Date,
    inodes: bigint,
  ) {
    this.#connection = leader;
    this.#connections = [leader, ...("reason" in workers ? [] : workers)];
    this.#signal = signal;
    this.setting = setting;
    const count = this.#connections.length;
    const alone = `one REPEATABLE READ transaction${"reason" in workers ? `; more could not be used: ${workers.reason}` : ""}`;
    const method = count === 1 ? alone : `${count} REPEATABLE READ transactions with one snapshot`;
    this.consistency = { pointInTime: true, method, asOf };
    this.estimates = expectedRecords(inodes);
  }

  get notes(): readonly SnapshotNote[] {
    return this.#notes.list();
  }

  async *records({ kinds, root }: RecordSelection): RecordStream {
    const { catalog } = this.#connection;
    if (kinds.has("counter")) yield await readCounterBatch(this.#connection, this.setting);
    const scans = tableScans(catalog, quote);
    const whole = scans.filter(({ kind, inode }) => kinds.has(kind) && (root === undefined || inode === undefined));
    if (this.#connections.length === 1) for (const scan of whole) yield* this.#read(scan, scanQuery(catalog, scan));
    else yield* this.#readTogether(whole);
    if (root !== undefined) {
      yield* readSubtree(
        {
          catalog,
          scans,
          bytesLiteral: (bytes) => `'\\x${bytes.toString("hex")}'::bytea`,
          read: (scan, condition) => this.#read(scan, scanQuery(catalog, scan, condition)),
          readParents: (condition) => this.#read(PARENTS, parentsQuery(catalog, condition)),
        },
        kinds,
        root,
      );
    } else if (kinds.has("parent") && catalog.has("edge")) yield* this.#read(PARENTS, parentsQuery(catalog));
  }

  async lookup(parent: bigint, name: Buffer): Promise<{ inode: bigint; type: number } | undefined> {
    const query = `SELECT inode, type FROM ${this.#connection.catalog.table("edge")} WHERE parent = $1 AND name = $2`;
    const [row] = await this.#connection.rows<[bigint, bigint]>(query, [BigInt.asIntN(64, parent), name]);
    return row === undefined ? undefined : { inode: BigInt.asUintN(64, row[0]), type: Number(row[1]) & 0xff };
  }

  async readNode(inode: bigint): Promise<Buffer | undefined> {
    return (await readNodes(this.#connection, [inode]))[0];
  }

  async close(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }

  /** Every connection takes the next part when it is done with one. */
  async *#readTogether(scans: readonly TableScan[]): AsyncGenerator<RecordBatch> {
    const tasks = await splitScans(this.#connection, scans);
    const read = this.#read.bind(this);
    yield* mergeStreams(this.#connections, async function* (connection) {
      for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) {
        yield* read(task.scan, scanQuery(connection.catalog, task.scan, task.condition), connection);
      }
    });
  }

  async *#read(
    scan: Scan,
    query: string,
    connection: PostgresConnection = this.#connection,
  ): AsyncGenerator<RecordBatch> {
    const { address } = connection;
    const out = new BatchQueue(scan.kind, this.#notes, neverFetch);
    const rows = new CopyReader(tableName(address.tablePrefix, scan.table), scan.columns.length);
    const decode = scan.newDecoder();
    for await (const chunk of connection.copyOut(copyRows(query))) {
      rows.push(chunk);
      while (rows.next()) decode(rows, out);
      if (out.ready.length > 0) {
        yield* out.ready;
        out.ready = [];
      }
      this.#signal.throwIfAborted();
    }
    if (!rows.ended) {
      throw new EngineError("DECANT_E_POSTGRES_LOST", `${address.url} did not send all rows of ${scan.table}`);
    }
    out.flush();
    yield* out.ready;
  }
}

export function noVolume(address: PostgresAddress): NotFoundError {
  return new NotFoundError("DECANT_E_NO_VOLUME", `There is no volume in ${address.url}`, {
    hint: "The database is not formatted, or the volume has another table_prefix or search_path",
  });
}

/** Every value travels in its row. */
function neverFetch(): never {
  throw new EngineError("DECANT_E_POSTGRES", "A value stands outside of its row");
}

/** The attribute records of inodes, undefined for those that are not there. For few inodes. */
export async function readNodes(
  connection: PostgresConnection,
  inodes: readonly bigint[],
): Promise<(Buffer | undefined)[]> {
  const { catalog } = connection;
  if (inodes.length === 0 || !catalog.has("node")) return inodes.map(() => undefined);
  const scan = tableScans(catalog, quote).find(({ kind }) => kind === "node")!;
  const keys = inodes.map((inode) => BigInt.asIntN(64, inode)).join(",");
  const rows = new CopyReader("node", scan.columns.length);
  const out = new BatchQueue("node", new NoteList(), neverFetch);
  const decode = scan.newDecoder();
  const found = new Map<bigint, Buffer>();
  const query = scanQuery(catalog, scan, `inode IN (${keys})`);
  for await (const chunk of connection.copyOut(copyRows(query))) {
    rows.push(chunk);
    while (rows.next()) {
      decode(rows, out);
      const { bytes } = out.builder.take()!;
      found.set(bytes.readBigUInt64BE(0), Buffer.from(bytes.subarray(NODE_HEAD_BYTES)));
    }
  }
  return inodes.map((inode) => found.get(BigInt.asUintN(64, inode)));
}
