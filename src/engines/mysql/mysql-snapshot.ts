import { NotFoundError } from "../../base/errors.ts";
import type { FlatKind, RecordBatch, RecordKind, RecordStream } from "../../volume/records.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote, SnapshotOptions } from "../engine.ts";
import { expectedRecords } from "../sql/estimates.ts";
import { mergeStreams } from "../sql/merge-streams.ts";
import { NoteList } from "../sql/note-list.ts";
import { BatchQueue, decodeInt64s, nodeDecoder, notFetched, type RowDecoder } from "../sql/record-decoders.ts";
import { tableName } from "../sql/schema.ts";
import { readCounterBatch, readCounters } from "../sql/server-status.ts";
import { parentsQuery, readSubtree } from "../sql/subtree.ts";
import { scanQuery, type TableScan, tableScans } from "../sql/table-scans.ts";
import { LoadMarker } from "./load-marker.ts";
import type { MysqlAddress } from "./mysql-address.ts";
import { quote, readSettingRow } from "./mysql-schema.ts";
import { MysqlSession } from "./mysql-session.ts";
import { splitScans } from "./scan-tasks.ts";
import { beginSnapshots, closeAll, consistencyOf, type SharedSnapshot } from "./shared-snapshot.ts";
import { TextRowReader } from "./text-row-reader.ts";

/** Size of the head of a packed `node` record: u64 inode, u16 size. */
const NODE_HEAD_BYTES = 10;

/** Connections that read a large volume side by side. */
const CONNECTIONS = 4;
/** Below so many inodes one connection reads faster than others are opened. */
const MIN_PARALLEL_INODES = 100_000n;

/**
 * Transactions with one consistent snapshot: the volume at one instant while clients go on writing (docs/spec/sql.md §16.2).
 * Large volumes are read by several connections, each a range of keys at a time.
 */
export class MysqlSnapshot implements Snapshot {
  readonly setting: Buffer;
  readonly consistency: Consistency;
  readonly estimates: ReadonlyMap<RecordKind, number>;
  readonly #session: MysqlSession;
  readonly #sessions: readonly MysqlSession[];
  readonly #prefix: string;
  readonly #notes = new NoteList();

  /** Throws `NotFoundError` when the database holds no volume. */
  static async open(
    address: MysqlAddress,
    env: Readonly<Record<string, string | undefined>>,
    options: SnapshotOptions,
    minParallelInodes: bigint = MIN_PARALLEL_INODES,
  ): Promise<MysqlSnapshot> {
    const leader = await MysqlSession.open(address, env, options.signal);
    let opened: readonly MysqlSession[] = [leader];
    try {
      await assertVolume(leader, address);
      const inodes = (await readCounters(leader)).get("totalInodes")!;
      const others = inodes < minParallelInodes ? 0 : CONNECTIONS - 1;
      const shared = await beginSnapshots(leader, others, env, options.signal);
      opened = shared.sessions;
      const setting = await readSettingRow(leader);
      if (setting === undefined) throw await noVolume(leader, address);
      return new MysqlSnapshot(shared, address.tablePrefix, setting, inodes);
    } catch (error) {
      await closeAll(opened);
      throw error;
    }
  }

  private constructor(shared: SharedSnapshot, prefix: string, setting: Buffer, inodes: bigint) {
    const { sessions } = shared;
    this.#session = sessions[0]!;
    this.#sessions = sessions;
    this.#prefix = prefix;
    this.setting = setting;
    this.consistency = consistencyOf(shared);
    this.estimates = expectedRecords(inodes);
  }

  get notes(): readonly SnapshotNote[] {
    return this.#notes.list();
  }

  async *records(selection: RecordSelection): RecordStream {
    const { kinds, root } = selection;
    const { catalog } = this.#session;
    const scans = tableScans(catalog, quote);
    if (kinds.has("counter")) yield await readCounterBatch(this.#session, this.setting);
    const whole = scans.filter(({ kind, inode }) => kinds.has(kind) && (root === undefined || inode === undefined));
    if (this.#sessions.length === 1) for (const scan of whole) yield* this.#scan(scan);
    else yield* this.#scanTogether(whole);
    if (root !== undefined) {
      const source = {
        catalog,
        scans,
        bytesLiteral: (bytes: Buffer) => `x'${bytes.toString("hex")}'`,
        read: (scan: TableScan, condition: string) => this.#scan(scan, condition),
        readParents: (condition: string) => this.#parents(condition),
      };
      yield* readSubtree(source, kinds, root);
    } else if (kinds.has("parent") && catalog.has("edge")) {
      yield* this.#parents();
    }
  }

  async lookup(parent: bigint, name: Buffer): Promise<{ inode: bigint; type: number } | undefined> {
    const { catalog } = this.#session;
    if (!catalog.has("edge")) return undefined;
    const key = `parent = ${BigInt.asIntN(64, parent)} AND name = x'${name.toString("hex")}'`;
    const query = `SELECT inode, type FROM ${catalog.table("edge")} WHERE ${key}`;
    const [row] = await this.#session.rows<[inode: bigint, type: bigint]>(query);
    return row === undefined ? undefined : { inode: BigInt.asUintN(64, row[0]), type: Number(row[1]) & 0xff };
  }

  async readNode(inode: bigint): Promise<Buffer | undefined> {
    return readNode(this.#session, this.#prefix, inode);
  }

  close(): Promise<void> {
    return closeAll(this.#sessions);
  }

  /** Every connection takes the next part when it is done with one. */
  async *#scanTogether(scans: readonly TableScan[]): AsyncGenerator<RecordBatch> {
    const tasks = await splitScans(this.#session, scans);
    const scan = this.#scan.bind(this);
    yield* mergeStreams(this.#sessions, async function* (session) {
      for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) {
        yield* scan(task.scan, task.condition, session);
      }
    });
  }

  #scan(scan: TableScan, condition?: string, session: MysqlSession = this.#session): AsyncGenerator<RecordBatch> {
    const query = scanQuery(session.catalog, scan, condition);
    return this.#read(scan.kind, scan.table, query, scan.newDecoder(), session);
  }

  #parents(condition?: string): AsyncGenerator<RecordBatch> {
    return this.#read("parent", "edge", parentsQuery(this.#session.catalog, condition), decodeInt64s(3));
  }

  #read(
    kind: FlatKind,
    table: string,
    query: string,
    decode: RowDecoder,
    session: MysqlSession = this.#session,
  ): AsyncGenerator<RecordBatch> {
    const out = new BatchQueue(kind, this.#notes, notFetched);
    return readRecords(session, tableName(this.#prefix, table), query, out, decode);
  }
}

async function assertVolume(session: MysqlSession, address: MysqlAddress): Promise<void> {
  if ((await readSettingRow(session)) === undefined) throw await noVolume(session, address);
}

export async function noVolume(session: MysqlSession, address: MysqlAddress): Promise<NotFoundError> {
  const hint = await LoadMarker.hint(session);
  return new NotFoundError("DECANT_E_NO_VOLUME", `There is no volume in ${address.url}`, {
    hint: hint ?? "The database is not formatted, or the volume has another table_prefix",
  });
}

/** The records of a query's rows. */
async function* readRecords(
  session: MysqlSession,
  source: string,
  query: string,
  out: BatchQueue,
  decode: RowDecoder,
): AsyncGenerator<RecordBatch> {
  const row = new TextRowReader(source);
  for await (const page of session.connection.pages(query)) {
    row.open(page);
    while (row.nextRow()) decode(row, out);
    if (out.ready.length > 0) {
      yield* out.ready;
      out.ready = [];
    }
  }
  out.flush();
  yield* out.ready;
}

/** The attribute record of an inode, undefined when there is none. */
export async function readNode(session: MysqlSession, prefix: string, inode: bigint): Promise<Buffer | undefined> {
  const scan = tableScans(session.catalog, quote).find(({ kind }) => kind === "node");
  if (scan === undefined) return undefined;
  const query = scanQuery(session.catalog, scan, `inode = ${BigInt.asIntN(64, inode)}`);
  const out = new BatchQueue("node", new NoteList(), notFetched);
  for await (const { bytes } of readRecords(session, tableName(prefix, "node"), query, out, nodeDecoder())) {
    return Buffer.from(bytes.subarray(NODE_HEAD_BYTES));
  }
  return undefined;
}
