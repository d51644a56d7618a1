import { copyBytes, viewOf } from "../base/bytes.ts";
import { TRASH_INODE_HIGH, TRASH_INODE_LOW } from "../volume/inode.ts";
import { BatchBuilder, type RecordBatch } from "../volume/records.ts";
import { ORDINAL_BITS } from "./piece-sorter.ts";
import { compareRecords, type RecordLayout } from "./record-layout.ts";

/** Sort keys have 38 bits above the ordinal: the lower half for numbers from 0, the upper for those from the trash root. */
const HALF = 2 ** (63 - ORDINAL_BITS);
const BETWEEN = HALF - 1;
const BEYOND = HALF * 2 - 1;
const ORDINAL_MASK = (1 << ORDINAL_BITS) - 1;

/** True when the records of these batches, one batch after the other, stand in order already. */
export function isOrdered(layout: RecordLayout, batches: readonly RecordBatch[]): boolean {
  const { size } = layout;
  let before = -1;
  let beforeBytes: Buffer = EMPTY;
  let beforeAt = 0;
  let beforeEnd = 0;
  for (const { bytes, count } of batches) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const key = firstKey(layout, view, at);
      const end = at + size(view, at);
      if (key < before) return false;
      if (key === before && compareRecords(layout, beforeBytes, beforeAt, beforeEnd, bytes, at, end) > 0) return false;
      before = key;
      beforeBytes = bytes;
      beforeAt = at;
      beforeEnd = end;
      at = end;
    }
  }
  return true;
}

const EMPTY = Buffer.alloc(0);

/**
 * The records of some batches of one kind in order, where they stand: nothing is copied before they are handed out. Numbers
 * are sorted natively; only records that agree in them pay for a comparison.
 */
export class BatchSorter {
  /** Number of records. */
  readonly count: number;
  readonly #layout: RecordLayout;
  readonly #batches: readonly RecordBatch[];
  readonly #views: readonly DataView[];
  /** By ordinal, side by side: which batch, and where in it. */
  readonly #places: Uint32Array;
  /** By ordinal: the keys of both numbers, for kinds that have two. */
  readonly #firstKeys: Float64Array;
  readonly #secondKeys: Float64Array;
  readonly #order: Uint32Array;
  readonly #keys: BigUint64Array;
  readonly #words: Uint32Array;

  constructor(layout: RecordLayout, batches: readonly RecordBatch[]) {
    this.#layout = layout;
    this.#batches = batches;
    this.#views = batches.map(({ bytes }) => viewOf(bytes));
    this.count = batches.reduce((sum, batch) => sum + batch.count, 0);
    this.#places = new Uint32Array(this.count * 2);
    this.#firstKeys = new Float64Array(layout.second === undefined ? 0 : this.count);
    this.#secondKeys = new Float64Array(this.#firstKeys.length);
    this.#order = new Uint32Array(this.count);
    this.#keys = new BigUint64Array(this.count);
    this.#words = new Uint32Array(this.#keys.buffer);
    this.#locate();
    this.#sort();
  }

  /**
   * Calls `onRecord` for every record in order. Places and sizes are read for many records before the first is handed out:
   * they lie all over the memory, and the processor waits for many of them at once then, not for one after the other.
   */
  visit(onRecord: (batch: number, start: number, end: number) => void): void {
    for (let from = 0; from < this.count; from += BLOCK) {
      const size = this.#lookAhead(from);
      for (let i = 0; i < size; i++) onRecord(this.#blockBatches[i]!, this.#blockStarts[i]!, this.#blockEnds[i]!);
    }
  }

  /** Copies the records in order into batches. */
  *batches(): Generator<RecordBatch> {
    const builder = new BatchBuilder(this.#batches[0]!.kind);
    const { writer } = builder;
    for (let from = 0; from < this.count; from += BLOCK) {
      const size = this.#lookAhead(from);
      for (let i = 0; i < size; i++) {
        const start = this.#blockStarts[i]!;
        const end = this.#blockEnds[i]!;
        const to = writer.reserve(end - start);
        copyBytes(this.#views[this.#blockBatches[i]!]!, start, end, writer.view, to);
        writer.length = to + end - start;
        if (builder.commit()) yield builder.take()!;
      }
    }
    const rest = builder.take();
    if (rest !== undefined) yield rest;
  }

  readonly #blockBatches = new Uint32Array(BLOCK);
  readonly #blockStarts = new Uint32Array(BLOCK);
  readonly #blockEnds = new Uint32Array(BLOCK);

  #lookAhead(from: number): number {
    const size = Math.min(BLOCK, this.count - from);
    const places = this.#places;
    for (let i = 0; i < size; i++) {
      const place = this.#order[from + i]! * 2;
      this.#blockBatches[i] = places[place]!;
      this.#blockStarts[i] = places[place + 1]!;
    }
    for (let i = 0; i < size; i++) {
      const start = this.#blockStarts[i]!;
      this.#blockEnds[i] = start + this.#layout.size(this.#views[this.#blockBatches[i]!]!, start);
    }
    return size;
  }

  /** Fills the places, and the keys by which is sorted first: the second number where there is one. */
  #locate(): void {
    const layout = this.#layout;
    let ordinal = 0;
    for (let b = 0; b < this.#batches.length; b++) {
      const view = this.#views[b]!;
      const { count } = this.#batches[b]!;
      for (let i = 0, at = 0; i < count; i++, at += layout.size(view, at)) {
        this.#places[ordinal * 2] = b;
        this.#places[ordinal * 2 + 1] = at;
        const first = firstKey(layout, view, at);
        if (layout.second === undefined) {
          this.#putKey(ordinal, first);
        } else {
          const second = keyOf(view, at + layout.second.at);
          this.#firstKeys[ordinal] = first;
          this.#secondKeys[ordinal] = second;
          this.#putKey(ordinal, second);
        }
        ordinal++;
      }
    }
  }

  #putKey(at: number, key: number): void {
    this.#words[at * 2 + 1] = Math.floor(key / 64);
    this.#words[at * 2] = (((key % 64) << ORDINAL_BITS) | at) >>> 0;
  }

  /** By the second number first, then, by keys that hold the places so found, by the first. */
  #sort(): void {
    const { count } = this;
    if (this.#layout.second !== undefined) {
      this.#keys.sort();
      const bySecond = new Uint32Array(count);
      for (let i = 0; i < count; i++) bySecond[i] = this.#words[i * 2]! & ORDINAL_MASK;
      for (let i = 0; i < count; i++) this.#putKey(i, this.#firstKeys[bySecond[i]!]!);
      this.#keys.sort();
      for (let i = 0; i < count; i++) this.#order[i] = bySecond[this.#words[i * 2]! & ORDINAL_MASK]!;
    } else {
      this.#keys.sort();
      for (let i = 0; i < count; i++) this.#order[i] = this.#words[i * 2]! & ORDINAL_MASK;
    }
    this.#sortTies();
  }

  /** Runs of records that the keys could not tell apart are sorted by comparison. */
  #sortTies(): void {
    const { count } = this;
    let run = 0;
    for (let i = 1; i <= count; i++) {
      if (i < count && this.#isTie(i)) continue;
      if (i - run > 1) this.#sortRange(run, i);
      run = i;
    }
  }

  #isTie(i: number): boolean {
    const words = this.#words;
    if (words[i * 2 + 1] !== words[i * 2 - 1] || (words[i * 2]! ^ words[i * 2 - 2]!) >>> ORDINAL_BITS !== 0)
      return false;
    if (this.#layout.second === undefined) return true;
    const first = words[i * 2 + 1]! * 64 + (words[i * 2]! >>> ORDINAL_BITS);
    if (first === BETWEEN || first === BEYOND) return true;
    return this.#secondKeys[this.#order[i]!] === this.#secondKeys[this.#order[i - 1]!];
  }

  #sortRange(from: number, to: number): void {
    const sorted = Array.from(this.#order.subarray(from, to)).sort((a, b) => this.#compare(a, b));
    this.#order.set(sorted, from);
  }

  #compare(a: number, b: number): number {
    const [aBatch, bBatch] = [this.#places[a * 2]!, this.#places[b * 2]!];
    const [aAt, bAt] = [this.#places[a * 2 + 1]!, this.#places[b * 2 + 1]!];
    return compareRecords(
      this.#layout,
      this.#batches[aBatch]!.bytes,
      aAt,
      aAt + this.#layout.size(this.#views[aBatch]!, aAt),
      this.#batches[bBatch]!.bytes,
      bAt,
      bAt + this.#layout.size(this.#views[bBatch]!, bAt),
    );
  }
}

/** Records that are looked up at once: what they have must fit into the nearest cache. */
const BLOCK = 128;

function firstKey({ first }: RecordLayout, view: DataView, at: number): number {
  if (first === undefined) return 0;
  return first.isNarrow ? view.getUint32(at) : keyOf(view, at);
}

/** A number of 38 bits in the order of the u64 at `at`; BETWEEN and BEYOND stand for many. */
function keyOf(view: DataView, at: number): number {
  const high = view.getUint32(at);
  const low = view.getUint32(at + 4);
  if (high === 0) return low;
  if (high < TRASH_INODE_HIGH || (high === TRASH_INODE_HIGH && low < TRASH_INODE_LOW)) {
    return Math.min(high * 0x1_0000_0000 + low, BETWEEN);
  }
  return high === TRASH_INODE_HIGH ? HALF + low - TRASH_INODE_LOW : BEYOND;
}
