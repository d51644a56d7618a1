import type { RecordBatch } from "../../../volume/records.ts";
import type { SnapshotLoss } from "../../engine.ts";
import { FieldRow } from "../../sql/field-row.ts";
import type { NoteList } from "../../sql/note-list.ts";
import { BatchQueue, notFetched } from "../../sql/record-decoders.ts";
import type { SalvageScan } from "../../sql/salvage-scan.ts";
import type { RecordReader } from "./cells.ts";
import type { DatabaseImage, PageSet } from "./database-image.ts";
import { shapeOf } from "./row-shape.ts";
import type { StoredSchema, StoredTable } from "./stored-schema.ts";
import { BELOW_ALL, LARGEST, type LostRange, RangeList, TableWalk } from "./table-walk.ts";

/** Rows between two turns of the event loop. */
const ROWS_PER_TURN = 2000;

/** Tables whose rows are like those of no other, so that a page can be known by them. */
const DISTINCT_TABLES: ReadonlySet<string> = new Set(["node", "edge", "chunk", "xattr", "symlink", "acl"]);

export interface SalvageContext {
  readonly image: DatabaseImage;
  readonly schema: StoredSchema;
  readonly notes: NoteList;
  readonly tell: (loss: SnapshotLoss) => void;
  /** Hears of pages. */
  readonly tellDamage: (loss: SnapshotLoss) => void;
  /** Pages that were given up; undefined where nobody knows them. */
  readonly freePages: () => PageSet | undefined;
  /** Lets others run, and throws when it is to end. */
  readonly turn: () => Promise<void>;
}

/**
 * Rows of a table that were found in another way (lost-rows.ts): fills `row`, and gives the number by which the row is known.
 * Gives undefined now and then, where there is no row yet.
 */
export type FindRows = (row: FieldRow, left: RangeList) => Iterable<bigint | undefined>;

/** Reads the records of one table, as much as there is. */
export class TableSalvage {
  readonly #context: SalvageContext;
  readonly #scan: SalvageScan;
  readonly #table: StoredTable;
  /** By field: the column in the stored rows, -1 for the rowid, undefined where there is none. */
  readonly #places: readonly (number | undefined)[];
  readonly #out: BatchQueue;
  readonly #row: FieldRow;
  readonly #walk: TableWalk;
  readonly #isWanted: (record: RecordReader, rowid: bigint) => boolean;

  constructor(context: SalvageContext, scan: SalvageScan) {
    this.#context = context;
    this.#scan = scan;
    const table = context.schema.table(scan.scan.table)!;
    this.#table = table;
    this.#places = scan.columns.map((name) => {
      const place = name === undefined ? -1 : table.columns.indexOf(name);
      return place < 0 ? undefined : place === table.alias ? -1 : place;
    });
    this.#out = new BatchQueue(scan.scan.kind, context.notes, notFetched);
    this.#row = new FieldRow(scan.columns.length);
    this.#walk = new TableWalk(context.image);
    this.#isWanted = filterOf(scan, table);
  }

  /** `findRows` is asked for what is lost otherwise. */
  async *read(findRows?: FindRows): AsyncGenerator<RecordBatch> {
    const { cell, lost } = this.#walk;
    let count = 0;
    for (const _ of this.#walk.rows(this.#table.root)) {
      this.#takeRow();
      if (this.#out.ready.length > 0) yield* this.#ready();
      if (++count % ROWS_PER_TURN === 0) await this.#context.turn();
    }
    if (lost.length > 0) {
      const left = new RangeList(lost);
      const ranges = new RangeList(lost);
      const found = new Map<number, number>();
      const note = (rowid: bigint): void => {
        const range = ranges.indexOf(rowid);
        if (range !== undefined) found.set(range, (found.get(range) ?? 0) + 1);
      };
      const free = this.#walk.hasLostInner && this.#isDistinct ? this.#context.freePages() : undefined;
      if (free !== undefined) {
        const isRow = shapeOf(this.#table, this.#scan.scan.table, this.#walk.record);
        for (const isFound of this.#walk.orphans(free, left, isRow)) {
          if (isFound) {
            this.#takeRow();
            note(cell.rowid);
          }
          if (this.#out.ready.length > 0) yield* this.#ready();
          if (!isFound || ++count % ROWS_PER_TURN === 0) await this.#context.turn();
        }
      }
      for (const rowid of findRows?.(this.#row, left) ?? []) {
        const loss = rowid === undefined ? undefined : this.#scan.take(this.#row, this.#out, rowid);
        if (loss !== undefined) this.#context.tell(loss);
        else if (rowid !== undefined) note(rowid);
        if (this.#out.ready.length > 0) yield* this.#ready();
        if (++count % ROWS_PER_TURN === 0) await this.#context.turn();
      }
      for (const [i, range] of lost.entries()) this.#tellRange(range, found.get(i) ?? 0);
    }
    this.#out.flush();
    yield* this.#ready();
  }

  get #isDistinct(): boolean {
    return DISTINCT_TABLES.has(this.#scan.scan.table);
  }

  *#ready(): Generator<RecordBatch> {
    yield* this.#out.ready;
    this.#out.ready = [];
  }

  #takeRow(): void {
    const { cell, record } = this.#walk;
    if (!this.#isWanted(record, cell.rowid)) return;
    const row = this.#row;
    row.open(cell.payload);
    for (let field = 0; field < this.#places.length; field++) {
      const place = this.#places[field];
      if (place === undefined) row.setNull(field);
      else if (place < 0) row.setBigInt(field, cell.rowid);
      else record.put(place, row, field);
    }
    const loss = this.#scan.take(row, this.#out, cell.rowid);
    if (loss !== undefined) this.#context.tell(loss);
  }

  #tellRange(range: LostRange, found: number): void {
    const { page, why, cells } = range;
    if (cells !== undefined && found >= cells) return;
    const { kind, inode } = this.#scan.scan;
    const key = this.#table.alias < 0 ? "row" : this.#table.columns[this.#table.alias]!;
    const { damage } = this.#context.schema;
    const rows = cells === undefined ? "" : `, ${cells} ${cells === 1 ? "row" : "rows"} of it`;
    const place =
      page === undefined ? (damage ?? why) : `page ${page} of ${this.#context.image.path} is damaged${rows}: ${why}`;
    const others = found === 0 ? "" : `; ${found} ${found === 1 ? "row was" : "rows were"} found elsewhere`;
    const isOne = inode === key && range.high - range.low === 1n;
    this.#context.tellDamage({
      kind,
      ...(isOne ? { inode: BigInt.asUintN(64, range.high) } : {}),
      message: `table ${this.#scan.fullTable}, ${rangeText(key, range)}: ${place}${others}`,
    });
  }
}

function rangeText(key: string, { low, high }: LostRange): string {
  if (low === BELOW_ALL) return high === LARGEST ? "all rows" : `${key} up to ${high}`;
  if (high === LARGEST) return `${key} from ${low + 1n} on`;
  return high === low + 1n ? `${key} ${high}` : `${key} ${low + 1n} to ${high}`;
}

/** Which rows a scan wants: of those with a condition (table-scans.ts) not all. */
function filterOf({ scan }: SalvageScan, { columns }: StoredTable): (record: RecordReader, rowid: bigint) => boolean {
  const isNumber = (record: RecordReader, column: number, value: bigint): boolean =>
    record.columns > column && record.isInteger(column) && record.integer(column) === value;
  if (scan.kind === "sliceRef") {
    const refs = columns.indexOf("refs");
    return (record, rowid) => rowid !== 0n && !isNumber(record, refs, 1n);
  }
  if (scan.kind !== "userQuota" && scan.kind !== "groupQuota") return () => true;
  const type = columns.indexOf("qtype");
  // A row whose type is neither is told once, with those of users.
  return scan.kind === "groupQuota" ? (record) => isNumber(record, type, 2n) : (record) => !isNumber(record, type, 2n);
}
