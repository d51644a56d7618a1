import { copyBytes, viewOf } from "../base/bytes.ts";
import { TRASH_INODE_HIGH, TRASH_INODE_LOW } from "../volume/inode.ts";
import { BatchBuilder, type RecordBatch } from "../volume/records.ts";
import { KEY_BYTES, ORDER_BYTES, OrderKeys, sortByKeys } from "./radix-order.ts";
import { compareRecords, type RecordLayout } from "./record-layout.ts";

/** Sort keys have 38 bits: the lower half for numbers from 0, the upper for those from the trash root. */
const HALF = 2 ** 37;
const BETWEEN = HALF - 1;
const BEYOND = HALF * 2 - 1;

/** Memory that sorting `count` records takes beside the records. */
export function sortingBytes({ second }: RecordLayout, count: number): number {
  return count * (PLACE_BYTES + ORDER_BYTES + KEY_BYTES * (second === undefined ? 1 : 2));
}

const PLACE_BYTES = 8;

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
  /** By ordinal, side by side: which batch, and where in it. A place in no batch follows the last. */
  readonly #places: Uint32Array;
  /** By batch: where its last record ends. */
  readonly #batchEnds: Uint32Array;
  readonly #keys: OrderKeys;
  /** Of the second number, for kinds that have two. */
  readonly #secondKeys: OrderKeys | undefined;
  readonly #order: Uint32Array;

  constructor(layout: RecordLayout, batches: readonly RecordBatch[]) {
    this.#layout = layout;
    this.#batches = batches;
    this.#views = batches.map(({ bytes }) => viewOf(bytes));
    this.count = batches.reduce((sum, batch) => sum + batch.count, 0);
    this.#places = new Uint32Array(this.count * 2 + 2);
    this.#batchEnds = new Uint32Array(batches.length);
    this.#keys = new OrderKeys(this.count);
    this.#secondKeys = layout.second === undefined ? undefined : new OrderKeys(this.count);
    this.#locate();
    this.#order = this.#sort();
    this.#sortTies();
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
  /** Of use to nobody, but a read whose result goes nowhere would be left out. */
  readonly #touched = new Uint8Array(1);

  /** Takes places from the order, and brings the first and the last line of each record near the processor. */
  #lookAhead(from: number): number {
    const size = Math.min(BLOCK, this.count - from);
    const order = this.#order;
    const places = this.#places;
    const batchEnds = this.#batchEnds;
    const views = this.#views;
    const [batches, starts, ends] = [this.#blockBatches, this.#blockStarts, this.#blockEnds];
    for (let i = 0; i < size; i++) {
      const place = order[from + i]! * 2;
      const batch = places[place]!;
      batches[i] = batch;
      starts[i] = places[place + 1]!;
      // The next record begins where this one ends, unless that is in another batch.
      ends[i] = places[place + 2] === batch ? places[place + 3]! : batchEnds[batch]!;
    }
    let touched = 0;
    for (let i = 0; i < size; i++) {
      const view = views[batches[i]!]!;
      touched ^= view.getUint8(starts[i]!) ^ view.getUint8(ends[i]! - 1);
    }
    this.#touched[0] = touched;
    return size;
  }

  /** Fills the places and the keys. */
  #locate(): void {
    const layout = this.#layout;
    let ordinal = 0;
    for (let b = 0; b < this.#batches.length; b++) {
      const view = this.#views[b]!;
      const { count } = this.#batches[b]!;
      let at = 0;
      for (let i = 0; i < count; i++, at += layout.size(view, at)) {
        this.#places[ordinal * 2] = b;
        this.#places[ordinal * 2 + 1] = at;
        this.#keys.set(ordinal, firstKey(layout, view, at));
        this.#secondKeys?.set(ordinal, keyOf(view, at + layout.second!.at));
        ordinal++;
      }
      this.#batchEnds[b] = at;
    }
    this.#places[ordinal * 2] = this.#batches.length;
  }

  /** By the second number first, then by the first, which leaves equal ones as they stand. */
  #sort(): Uint32Array {
    let order = new Uint32Array(this.count);
    for (let i = 0; i < order.length; i++) order[i] = i;
    let spare = new Uint32Array(this.count);
    if (this.#secondKeys !== undefined) {
      const sorted = sortByKeys(this.#secondKeys, order, spare);
      if (sorted === spare) [order, spare] = [spare, order];
    }
    return sortByKeys(this.#keys, order, spare);
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
    const ordinal = this.#order[i]!;
    const before = this.#order[i - 1]!;
    if (!this.#keys.areEqual(ordinal, before)) return false;
    if (this.#secondKeys === undefined || isOfMany(this.#keys.get(ordinal))) return true;
    return this.#secondKeys.areEqual(ordinal, before);
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

function isOfMany(key: number): boolean {
  return key === BETWEEN || key === BEYOND;
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
