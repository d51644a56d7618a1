import { DecantError, errorText } from "../../base/errors.ts";
import type { RecordBatch } from "../../volume/records.ts";
import type { OnLoss } from "../notes.ts";
import { FieldRow } from "../sql/field-row.ts";
import type { NoteList } from "../sql/note-list.ts";
import { BatchQueue, notFetched } from "../sql/record-decoders.ts";
import type { Attempt, SalvageTables } from "../sql/salvage-records.ts";
import type { SalvageScan } from "../sql/salvage-scan.ts";
import { mysqlErrno } from "./mysql-errors.ts";
import { quote } from "./mysql-schema.ts";
import type { MysqlSession } from "./mysql-session.ts";
import { TextRowReader } from "./text-row-reader.ts";

/**
 * Errors of a storage engine about what it has stored: a handler's error, a table or index that is damaged, crashed or marked so, a
 * table or its file that is missing, a page that cannot be decrypted or decompressed.
 */
const DAMAGE: ReadonlySet<number> = new Set([
  ...[1016, 1017, 1023, 1030, 1033, 1034, 1035, 1146, 1194, 1195, 1459, 1712, 1728, 1812, 1815, 1817, 1877, 1932, 1296],
]);

/** The server's own words when an error is about data that it cannot read, undefined for any other error. */
export function damageText(error: unknown): string | undefined {
  const cause = error instanceof DecantError ? error.cause : error;
  return DAMAGE.has(mysqlErrno(cause)) ? errorText(cause) : undefined;
}

/** Keys between `low` and `high`, both not included. */
interface Gap {
  readonly low: bigint;
  readonly high: bigint;
}

/** Reads the rows of a gap until the server fails; the key of the last one and why it did. */
type ReadRows = (
  gap: Gap,
  order: "ASC" | "DESC",
) => AsyncGenerator<RecordBatch, { readonly last: bigint | undefined; readonly damage: string | undefined }>;

const BELOW_ALL = -(2n ** 63n) - 1n;
const ABOVE_ALL = 2n ** 63n;
const ALL: Gap = { low: BELOW_ALL, high: ABOVE_ALL };
/** Below the keys that clients give. */
const LEAST_KEY = -1n;
/** How often it is tried to read something between two damages, for each table. */
const MAX_ATTEMPTS = 10_000;

/** Reads damaged tables in the transaction that has begun: an error of one statement does not end it. */
export class SalvageReader implements SalvageTables {
  readonly #notes: NoteList;
  readonly #session: MysqlSession;

  constructor(session: MysqlSession, notes: NoteList) {
    this.#session = session;
    this.#notes = notes;
  }

  /** What `work` returns, or why the server could not read what it needs. */
  async attempt<T>(work: () => Promise<T>): Promise<Attempt<T>> {
    try {
      return { result: await work() };
    } catch (error) {
      const damage = damageText(error);
      if (damage === undefined) throw error;
      return { damage };
    }
  }

  /**
   * The records of a table. Where reading in the order of the key fails, it goes on from the other end, and then from the next key at
   * which it succeeds.
   */
  async *read(scan: SalvageScan, tell: OnLoss): AsyncGenerator<RecordBatch> {
    const out = new BatchQueue(scan.scan.kind, this.#notes, notFetched);
    const read: ReadRows = (gap, order) => this.#readRows(scan, gap, order, out, tell);
    const { last, damage } = yield* read(ALL, "ASC");
    if (damage !== undefined) {
      const lost = hasNumber(scan) ? yield* readBeyond(last ?? BELOW_ALL, read) : [ALL];
      for (const gap of joined(lost)) {
        tell({ kind: scan.scan.kind, message: `table ${scan.fullTable}, ${gapText(scan, gap)}: ${damage}` });
      }
    }
    out.flush();
    yield* out.ready;
  }

  async *#readRows(
    scan: SalvageScan,
    { low, high }: Gap,
    order: "ASC" | "DESC",
    out: BatchQueue,
    tell: OnLoss,
  ): ReturnType<ReadRows> {
    const rows = new TextRowReader(scan.fullTable);
    const row = new FieldRow(scan.columns.length);
    let last: bigint | undefined;
    try {
      for await (const page of this.#session.connection.pages(this.#query(scan, low, high, order))) {
        rows.open(page);
        row.open(page);
        while (rows.nextRow()) {
          const number = readInteger(rows);
          for (let field = 0; field < scan.columns.length; field++) readField(rows, row, field, scan.isInteger(field));
          const loss = scan.take(row, out, number);
          if (loss !== undefined) tell(loss);
          last = number ?? last;
        }
        yield* out.ready;
        out.ready = [];
      }
      return { last, damage: undefined };
    } catch (error) {
      const damage = damageText(error);
      if (damage === undefined) throw error;
      return { last, damage };
    }
  }

  #query(scan: SalvageScan, low: bigint, high: bigint, order: "ASC" | "DESC"): string {
    const key = quote(scan.key);
    const columns = scan.columns.map((name) => (name === undefined ? "NULL" : quote(name)));
    const conditions = scan.condition === undefined ? [] : [scan.condition];
    if (low !== BELOW_ALL) conditions.push(`${key} > ${low}`);
    if (high !== ABOVE_ALL) conditions.push(`${key} < ${high}`);
    const where = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
    const from = this.#session.catalog.table(scan.scan.table);
    if (!hasNumber(scan)) return `SELECT NULL, ${columns.join(", ")} FROM ${from}${where}`;
    return `SELECT ${key}, ${columns.join(", ")} FROM ${from} FORCE INDEX (PRIMARY)${where} ORDER BY ${key} ${order}`;
  }
}

/** What is behind a damage at the key after `low`; the keys between which nothing could be read. */
async function* readBeyond(low: bigint, read: ReadRows): AsyncGenerator<RecordBatch, Gap[]> {
  const back = yield* read({ low, high: ABOVE_ALL }, "DESC");
  const open: Gap[] = back.damage === undefined ? [] : [{ low, high: back.last ?? ABOVE_ALL }];
  const lost: Gap[] = [];
  let attempts = 0;
  const tryFrom = async function* (from: bigint, high: bigint): AsyncGenerator<RecordBatch, boolean> {
    attempts++;
    const { last, damage } = yield* read({ low: from - 1n, high }, "ASC");
    if (damage !== undefined && last !== undefined) open.push({ low: last, high });
    return damage === undefined || last !== undefined;
  };
  for (let gap = open.shift(); gap !== undefined; gap = open.shift()) {
    // Seeks from the damage on in growing steps, then backwards from where it succeeded.
    let failed = gap.low === BELOW_ALL ? LEAST_KEY : gap.low;
    let good: bigint | undefined;
    for (let step = 1n; good === undefined && failed + step < gap.high && attempts < MAX_ATTEMPTS; step *= 2n) {
      if (yield* tryFrom(failed + step, gap.high)) good = failed + step;
      else failed += step;
    }
    while (good !== undefined && good - failed > 1n && attempts < MAX_ATTEMPTS) {
      const middle: bigint = (failed + good) / 2n;
      if (yield* tryFrom(middle, good)) good = middle;
      else failed = middle;
    }
    lost.push({ low: gap.low, high: good ?? gap.high });
  }
  return lost;
}

/** Whether one integer is the key of the table. */
function hasNumber({ scan }: SalvageScan): boolean {
  return scan.table !== "user_group_quota";
}

function gapText(scan: SalvageScan, { low, high }: Gap): string {
  if (low === BELOW_ALL && high === ABOVE_ALL) return "all rows";
  if (low === BELOW_ALL) return `${scan.key} below ${high}`;
  if (high === ABOVE_ALL) return `${scan.key} from ${low + 1n} on`;
  return high - low === 2n ? `${scan.key} ${low + 1n}` : `${scan.key} ${low + 1n} to ${high - 1n}`;
}

/** Neighbours become one. */
function joined(gaps: readonly Gap[]): Gap[] {
  const sorted = [...gaps].sort((a, b) => (a.low < b.low ? -1 : 1));
  const result: Gap[] = [];
  for (const gap of sorted) {
    const before = result.at(-1);
    if (before !== undefined && gap.low < before.high) {
      if (gap.high > before.high) result[result.length - 1] = { low: before.low, high: gap.high };
    } else result.push(gap);
  }
  return result;
}

function readInteger(rows: TextRowReader): bigint | undefined {
  const size = rows.nextField();
  return size < 0 ? undefined : parseInteger(rows.bytes, rows.fieldStart, size);
}

function parseInteger(bytes: Buffer, start: number, size: number): bigint | undefined {
  const text = bytes.toString("latin1", start, start + Math.min(size, 32));
  return /^-?\d{1,20}$/.test(text) ? BigInt.asIntN(64, BigInt(text)) : undefined;
}

function readField(rows: TextRowReader, row: FieldRow, field: number, isInteger: boolean): void {
  const size = rows.nextField();
  if (size < 0) row.setNull(field);
  else if (!isInteger) row.setBytes(field, rows.fieldStart, size);
  else {
    const value = parseInteger(rows.bytes, rows.fieldStart, size);
    if (value === undefined) row.setOther(field);
    else row.setBigInt(field, value);
  }
}
