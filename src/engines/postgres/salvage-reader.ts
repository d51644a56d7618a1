import { DecantError, errorText } from "../../base/errors.ts";
import type { FlatKind, RecordBatch } from "../../volume/records.ts";
import type { SnapshotLoss } from "../engine.ts";
import type { OnLoss } from "../notes.ts";
import { FieldRow } from "../sql/field-row.ts";
import type { NoteList } from "../sql/note-list.ts";
import { BatchQueue, notFetched } from "../sql/record-decoders.ts";
import type { Attempt, SalvageTables } from "../sql/salvage-records.ts";
import type { SalvageScan } from "../sql/salvage-scan.ts";
import { CopyReader } from "./copy-reader.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { sqlState } from "./postgres-errors.ts";
import { quote } from "./stored-names.ts";

/** A row's place: it is the `offset`-th, from 1, of a block. */
interface Place {
  readonly block: number;
  readonly offset: number;
}

/** Rows behind `after` in blocks below `end`. */
interface Part {
  readonly after: Place;
  readonly end: number;
}

/** The first version that reads a range of a table's blocks without reading the others. */
const RANGE_VERSION = 140_000n;

/** Internal error, data corrupted, index corrupted, a file is missing, a file cannot be read. */
const DAMAGE: ReadonlySet<string> = new Set(["XX000", "XX001", "XX002", "58P01", "58030"]);

/** The server's own words when an error is about data that it cannot read, undefined for any other error. */
export function damageText(error: unknown): string | undefined {
  const cause = error instanceof DecantError ? error.cause : error;
  const state = sqlState(cause);
  return state !== undefined && DAMAGE.has(state) ? errorText(cause) : undefined;
}

/** Indexes may be damaged too, so that only tables themselves are read, block by block in their order. */
const SETTINGS = [
  ...["enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan", "synchronize_seqscans"].map(
    (name) => `${name} = off`,
  ),
  "max_parallel_workers_per_gather = 0",
];

/** Reads damaged tables in a transaction that began already; each statement may fail without ending it. */
export class SalvageReader implements SalvageTables {
  readonly #notes: NoteList;
  readonly #connection: PostgresConnection;

  constructor(connection: PostgresConnection, notes: NoteList) {
    this.#connection = connection;
    this.#notes = notes;
  }

  /** To be called once in the transaction. */
  async prepare(): Promise<void> {
    for (const setting of SETTINGS) await this.#connection.run(`SET LOCAL ${setting}`);
  }

  /** What `work` returns, or why the server could not read what it needs. */
  async attempt<T>(work: () => Promise<T>): Promise<Attempt<T>> {
    await this.#connection.run("SAVEPOINT salvage");
    try {
      const result = await work();
      await this.#connection.run("RELEASE SAVEPOINT salvage");
      return { result };
    } catch (error) {
      const damage = damageText(error);
      if (damage === undefined) throw error;
      await this.#connection.run("ROLLBACK TO SAVEPOINT salvage");
      return { damage };
    }
  }

  /** The records of a table, each row that is not damaged. */
  async *read(scan: SalvageScan, tell: OnLoss): AsyncGenerator<RecordBatch> {
    const out = new BatchQueue(scan.scan.kind, this.#notes, notFetched);
    const lose = (what: string): void => tell({ kind: scan.scan.kind, message: `table ${scan.fullTable}${what}` });
    const counted = await this.attempt(() => this.#countBlocks(scan));
    if ("damage" in counted) lose(`: ${counted.damage}`);
    const { blocks, hasRanges } = "result" in counted ? counted.result : { blocks: 0, hasRanges: false };
    const parts: Part[] = "result" in counted ? [{ after: { block: 0, offset: 0 }, end: blocks }] : [];
    for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
      const rows = new RowsRead(scan, out, part.after, tell);
      // Where ranges of blocks cannot be read, all of a table is one.
      const failed = yield* this.#readRows(scan, hasRanges ? inRange(part) : undefined, rows);
      if (failed === undefined) continue;
      const after = rows.last;
      if (!hasRanges) lose(`: its rows from block ${after.block} on: ${failed}`);
      else if (part.end - after.block <= 1) yield* this.#readBlock(scan, after, out, tell);
      else parts.push(...split({ after, end: part.end }, failed));
    }
    out.flush();
    yield* out.ready;
  }

  /** Reads rows until the server fails, and returns why it did. */
  async *#readRows(
    scan: SalvageScan,
    condition: string | undefined,
    rows: RowsRead,
  ): AsyncGenerator<RecordBatch, string | undefined> {
    const connection = this.#connection;
    await connection.run("SAVEPOINT salvage");
    try {
      for await (const chunk of connection.copyOut(
        `COPY (${this.#query(scan, condition)}) TO STDOUT (FORMAT binary)`,
      )) {
        rows.take(chunk);
        if (rows.out.ready.length === 0) continue;
        yield* rows.out.ready;
        rows.out.ready = [];
      }
      await connection.run("RELEASE SAVEPOINT salvage");
      return undefined;
    } catch (error) {
      const damage = damageText(error);
      if (damage === undefined) throw error;
      await connection.run("ROLLBACK TO SAVEPOINT salvage");
      return damage;
    }
  }

  /** The rows behind `after` of the same block, one by one where they have to be. */
  async *#readBlock(scan: SalvageScan, after: Place, out: BatchQueue, tell: OnLoss): AsyncGenerator<RecordBatch> {
    const condition = inRange({ after, end: after.block + 1 });
    const table = this.#connection.catalog.table(scan.scan.table);
    const where = [condition, scan.condition].filter((text) => text !== undefined).join(" AND ");
    const offsets = await this.attempt(() =>
      this.#connection.rows<[bigint]>(`SELECT (ctid::text::point)[1]::int8 FROM ${table} WHERE ${where}`),
    );
    if ("damage" in offsets) {
      tell({ kind: scan.scan.kind, message: `table ${scan.fullTable}, block ${after.block}: ${offsets.damage}` });
      return;
    }
    for (const [offset] of offsets.result) {
      const place = `'(${after.block},${offset})'`;
      const rows = new RowsRead(scan, out, after, tell);
      const failed = yield* this.#readRows(scan, `ctid = ${place}`, rows);
      if (failed !== undefined) tell(await this.#lossOfRow(scan, place, failed));
    }
  }

  /** What is told of a row of which some value cannot be read: usually one that stands outside of it. */
  async #lossOfRow(scan: SalvageScan, place: string, damage: string): Promise<SnapshotLoss> {
    const table = this.#connection.catalog.table(scan.scan.table);
    const names = [scan.key, ...scan.columns.filter((name, i) => name !== undefined && scan.isInteger(i))];
    const row = new FieldRow(scan.columns.length);
    const values = await this.attempt(() =>
      this.#connection.rows<(bigint | null)[]>(
        `SELECT ${names.map((name) => quote(name!)).join(", ")} FROM ${table} WHERE ctid = ${place}`,
      ),
    );
    const found = "result" in values ? (values.result[0] ?? []) : [];
    for (const [i, name] of names.entries()) {
      const field = i === 0 ? -1 : scan.columns.indexOf(name);
      const value = found[i];
      if (field >= 0 && typeof value === "bigint") row.setBigInt(field, value);
    }
    const number = typeof found[0] === "bigint" ? found[0] : undefined;
    return scan.lossOf(row, number, damage);
  }

  /** Place, number, and the columns. */
  #query(scan: SalvageScan, condition: string | undefined): string {
    const columns = scan.columns.map((name) => (name === undefined ? "NULL::int8" : quote(name)));
    const where = [condition, scan.condition].filter((text) => text !== undefined).join(" AND ");
    const table = this.#connection.catalog.table(scan.scan.table);
    const number = scan.asksForNumber ? quote(scan.key) : "NULL::int8";
    return `SELECT ctid, ${number}, ${columns.join(", ")} FROM ${table}${where === "" ? "" : ` WHERE ${where}`}`;
  }

  async #countBlocks(scan: SalvageScan): Promise<{ blocks: number; hasRanges: boolean }> {
    const [row] = await this.#connection.rows<[blocks: bigint, version: bigint, method: string | null]>(
      `SELECT pg_relation_size(c.oid) / current_setting('block_size')::bigint, current_setting('server_version_num')::bigint, a.amname::text
         FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam WHERE c.oid = $1::regclass`,
      [this.#connection.catalog.table(scan.scan.table)],
    );
    const [blocks, version, method] = row!;
    return { blocks: Number(blocks), hasRanges: method === "heap" && version >= RANGE_VERSION };
  }
}

function inRange({ after, end }: Part): string {
  return `ctid > '(${after.block},${after.offset})' AND ctid < '(${end},0)'`;
}

/** The parts of what was not read yet, the last one first: before, at and behind the damage. */
function split({ after, end }: Part, damage: string): Part[] {
  const told = Number(/\bblock (\d+)\b/.exec(damage)?.[1] ?? Number.NaN);
  const bad = told >= after.block && told < end ? told : after.block + ((end - after.block) >>> 1) - 1;
  const parts: Part[] = [];
  if (bad + 1 < end) parts.push({ after: { block: bad + 1, offset: 0 }, end });
  if (bad > after.block) {
    parts.push({ after: { block: bad, offset: 0 }, end: bad + 1 });
    parts.push({ after, end: bad });
  } else parts.push({ after, end: bad + 1 });
  return parts;
}

/** Takes the rows of one COPY, and knows how far they came. */
class RowsRead {
  readonly out: BatchQueue<FlatKind>;
  last: Place;
  readonly #scan: SalvageScan;
  readonly #row: FieldRow;
  readonly #reader: CopyReader;
  readonly #tell: OnLoss;

  constructor(scan: SalvageScan, out: BatchQueue, after: Place, tell: OnLoss) {
    this.out = out;
    this.last = after;
    this.#scan = scan;
    this.#row = new FieldRow(scan.columns.length);
    this.#reader = new CopyReader(scan.fullTable, scan.columns.length + 2);
    this.#tell = tell;
  }

  take(chunk: Buffer): void {
    const reader = this.#reader;
    reader.push(chunk);
    while (reader.next()) {
      reader.nextField(); // u32 block, u16 offset
      const place = {
        block: reader.bytes.readUInt32BE(reader.fieldStart),
        offset: reader.bytes.readUInt16BE(reader.fieldStart + 4),
      };
      const number = this.#readNumber();
      this.#row.open(reader.bytes);
      for (let field = 0; field < this.#scan.columns.length; field++) this.#readField(field);
      const loss = this.#scan.take(this.#row, this.out, number);
      if (loss !== undefined) this.#tell(loss);
      this.last = place;
    }
  }

  #readNumber(): bigint | undefined {
    const size = this.#reader.nextField();
    const { bytes, fieldStart } = this.#reader;
    return size === 8
      ? bytes.readBigInt64BE(fieldStart)
      : size === 4
        ? BigInt(bytes.readInt32BE(fieldStart))
        : undefined;
  }

  #readField(field: number): void {
    const size = this.#reader.nextField();
    const { bytes, fieldStart } = this.#reader;
    const row = this.#row;
    if (size < 0) row.setNull(field);
    else if (!this.#scan.isInteger(field)) row.setBytes(field, fieldStart, size);
    else if (size === 8) row.setInteger(field, bytes.readInt32BE(fieldStart), bytes.readInt32BE(fieldStart + 4));
    else if (size === 4) row.setInteger(field, bytes.readInt32BE(fieldStart) >> 31, bytes.readInt32BE(fieldStart));
    else row.setOther(field);
  }
}
