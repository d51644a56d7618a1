import {
  CellReader,
  headOffset,
  INDEX_INTERIOR,
  INDEX_LEAF,
  RecordReader,
  TABLE_INTERIOR,
  TABLE_LEAF,
  VarintReader,
} from "./cells.ts";
import { type DatabaseImage, PageSet } from "./database-image.ts";

/** Rows that cannot be read: those with `low` < rowid <= `high`. */
export interface LostRange {
  readonly low: bigint;
  readonly high: bigint;
  /** What is damaged, undefined where nobody knows where the table begins. */
  readonly page: number | undefined;
  readonly why: string;
  /** Cells that could not be read, where the page itself could. */
  readonly cells?: number;
  readonly depth: number;
}

/** Below all rowids, and the largest. */
export const BELOW_ALL: bigint = -(2n ** 63n) - 1n;
export const LARGEST: bigint = 2n ** 63n - 1n;

/** No database has a deeper tree; a damaged one may have a circle. */
const MAX_DEPTH = 30;
/** More are told, but nothing is looked for in them: the list stays in memory. */
export const MAX_RANGES = 100_000;
const PAGES_PER_STEP = 256;

/** Reads the rows of one table page by page, and goes on beside what is damaged. */
export class TableWalk {
  /** Filled while rows are read. */
  readonly lost: LostRange[] = [];
  /** The row read last. */
  readonly cell: CellReader;
  readonly record: RecordReader = new RecordReader();
  readonly #image: DatabaseImage;
  readonly #visited: PageSet;
  readonly #varint = new VarintReader();
  #leafDepth: number | undefined;

  constructor(image: DatabaseImage) {
    this.#image = image;
    this.cell = new CellReader(image);
    this.#visited = new PageSet(image.pages);
  }

  /** Goes to row after row; `cell` and `record` have it. */
  *rows(root: number | undefined): Generator<undefined> {
    if (root === undefined) {
      this.#lose({ low: BELOW_ALL, high: LARGEST, page: undefined, why: "nobody knows where it begins", depth: 0 });
    } else yield* this.#visit(root, BELOW_ALL, LARGEST, 0);
  }

  /** Whether inner pages may be among what is lost, so that there may be leaves to which nothing leads any more. */
  get hasLostInner(): boolean {
    return this.lost.some(
      ({ depth, cells }) => cells === undefined && (this.#leafDepth === undefined || depth < this.#leafDepth),
    );
  }

  /**
   * Rows on leaves to which nothing leads any more: all on such a page must be in one lost range and rows of the table, as
   * `isRow` says, and no page may give rows of a range again: `left` loses what is given. Pages in `free` were given up and have
   * rows that were deleted. Gives false now and then, where there is no row yet.
   */
  *orphans(free: PageSet, left: RangeList, isRow: () => boolean): Generator<boolean> {
    for (let number = 2; number <= this.#image.pages; number++) {
      if (number % PAGES_PER_STEP === 0) yield false;
      if (free.has(number) || this.#visited.has(number)) continue;
      const page = this.#image.readPage(number);
      if (page === undefined || page[0] !== TABLE_LEAF) continue;
      const cells = this.#cellsOf(page, 0, 8);
      if (cells === undefined || cells === 0 || !this.#isWhole(page, cells, isRow, left)) continue;
      this.#visited.add(number);
      for (let i = 0; i < cells; i++) {
        this.#readCell(page, 8 + 2 * i);
        yield true;
      }
    }
  }

  /** True when all rows of a leaf are good and in one of the ranges that are left, which then lacks them. */
  #isWhole(page: Buffer, cells: number, isRow: () => boolean, left: RangeList): boolean {
    let first: bigint | undefined;
    let last = BELOW_ALL;
    for (let i = 0; i < cells; i++) {
      if (this.#readCell(page, 8 + 2 * i) !== undefined || this.cell.rowid <= last || !isRow()) return false;
      last = this.cell.rowid;
      first ??= last;
    }
    return first !== undefined && left.take(first, last);
  }

  *#visit(number: number, low: bigint, high: bigint, depth: number): Generator<undefined> {
    const lose = (why: string): void => this.#lose({ low, high, page: number, why, depth });
    const page = this.#image.readPage(number);
    if (page === undefined) {
      const isBehind = number > this.#image.pages;
      return lose(isBehind ? "it is behind the end of the file" : "the disk does not give it");
    }
    if (depth > MAX_DEPTH || !this.#visited.add(number)) return lose("several places lead to it");
    const head = headOffset(number);
    const type = page[head];
    const cells = this.#cellsOf(page, head, type === TABLE_LEAF ? 8 : 12);
    if (cells === undefined || (type !== TABLE_LEAF && type !== TABLE_INTERIOR))
      return lose("it is no page of a table");
    if (type === TABLE_LEAF) {
      this.#leafDepth ??= depth;
      yield* this.#readLeaf(page, number, head, cells, low, high, depth);
      return;
    }
    const children = this.#childrenOf(page, head, cells, low, high);
    if (children === undefined) return lose("it leads to impossible places");
    let from = low;
    for (const { child, key } of children) {
      yield* this.#visit(child, from, key, depth + 1);
      from = key;
    }
  }

  *#readLeaf(
    page: Buffer,
    number: number,
    head: number,
    cells: number,
    low: bigint,
    high: bigint,
    depth: number,
  ): Generator<undefined> {
    let last = low;
    let bad = 0;
    let why = "";
    const lose = (to: bigint): void => {
      if (bad > 0) this.#lose({ low: last, high: to, page: number, why, cells: bad, depth });
      bad = 0;
    };
    for (let i = 0; i < cells; i++) {
      const wrong = this.#readCell(page, head + 8 + 2 * i);
      const { rowid } = this.cell;
      const isPlaced = this.cell.hasRowid && rowid > last && rowid <= high;
      if (wrong !== undefined || !isPlaced) {
        if (bad === 0) why = wrong ?? "its number is impossible at this place";
        bad++;
        continue;
      }
      lose(rowid - 1n);
      last = rowid;
      yield undefined;
    }
    lose(high);
  }

  /** What is wrong with the cell whose place stands at `at`, undefined for a good one. */
  #readCell(page: Buffer, at: number): string | undefined {
    return (
      this.cell.read(page, page.readUInt16BE(at), true) ??
      (this.record.read(this.cell.payload) ? undefined : "its bytes are no record")
    );
  }

  /** The number of cells of a b-tree page whose places begin at `places`; undefined where there is no room for so many. */
  #cellsOf(page: Buffer, head: number, places: number): number | undefined {
    const cells = page.readUInt16BE(head + 3);
    return head + places + 2 * cells <= this.#image.usableBytes ? cells : undefined;
  }

  /** The pages below an inner page, each with the largest rowid below it; undefined unless all are possible. */
  #childrenOf(
    page: Buffer,
    head: number,
    cells: number,
    low: bigint,
    high: bigint,
  ): { child: number; key: bigint }[] | undefined {
    const children: { child: number; key: bigint }[] = [];
    let last = low;
    for (let i = 0; i < cells; i++) {
      const at = page.readUInt16BE(head + 12 + 2 * i);
      if (at + 5 > this.#image.usableBytes) return undefined;
      if (!this.#varint.read(page, at + 4, this.#image.usableBytes)) return undefined;
      const key = this.#varint.signed();
      if (key <= last || key > high) return undefined;
      children.push({ child: page.readUInt32BE(at), key });
      last = key;
    }
    children.push({ child: page.readUInt32BE(head + 8), key: high });
    return children.every(({ child }) => child >= 2) ? children : undefined;
  }

  #lose(range: LostRange): void {
    const last = this.lost[MAX_RANGES];
    if (last === undefined) this.lost.push(range);
    else this.lost[MAX_RANGES] = { ...last, high: range.high, why: "so are many others" };
  }
}

/** Goes through the entries of an index as far as they can be read; what cannot is passed over. */
export function* indexEntries(image: DatabaseImage, root: number): Generator<RecordReader> {
  const visited = new PageSet(image.pages);
  const cell = new CellReader(image);
  const record = new RecordReader();
  const visit = function* (number: number, depth: number): Generator<RecordReader> {
    const page = depth > MAX_DEPTH || number < 2 ? undefined : image.readPage(number);
    if (page === undefined || !visited.add(number)) return;
    const isInner = page[0] === INDEX_INTERIOR;
    if (!isInner && page[0] !== INDEX_LEAF) return;
    const places = isInner ? 12 : 8;
    const cells = page.readUInt16BE(3);
    if (places + 2 * cells > image.usableBytes) return;
    for (let i = 0; i < cells; i++) {
      const at = page.readUInt16BE(places + 2 * i);
      if (isInner && at + 4 <= image.usableBytes) yield* visit(page.readUInt32BE(at), depth + 1);
      const wrong = cell.read(page, isInner ? at + 4 : at, false);
      if (wrong === undefined && record.read(cell.payload)) yield record;
    }
    if (isInner) yield* visit(page.readUInt32BE(8), depth + 1);
  };
  yield* visit(root, 0);
}

/** Disjoint ranges, from which parts are taken. */
export class RangeList {
  readonly #ranges: { low: bigint; high: bigint }[];

  constructor(ranges: readonly LostRange[]) {
    this.#ranges = ranges
      .slice(0, MAX_RANGES)
      .map(({ low, high }) => ({ low, high }))
      .sort((a, b) => (a.low < b.low ? -1 : 1));
  }

  has(rowid: bigint): boolean {
    return this.indexOf(rowid) !== undefined;
  }

  /** True when all from `first` to `last` is in one range; then it is not any more. */
  take(first: bigint, last: bigint): boolean {
    const index = this.indexOf(first);
    if (index === undefined) return false;
    const { low, high } = this.#ranges[index]!;
    if (last > high) return false;
    const rest = [
      { low, high: first - 1n },
      { low: last, high },
    ].filter((range) => range.low < range.high);
    this.#ranges.splice(index, 1, ...rest);
    return true;
  }

  /** Which of the ranges, in ascending order, has a number. */
  indexOf(rowid: bigint): number | undefined {
    let from = 0;
    let to = this.#ranges.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      const { low, high } = this.#ranges[middle]!;
      if (rowid <= low) to = middle;
      else if (rowid > high) from = middle + 1;
      else return middle;
    }
    return undefined;
  }
}
