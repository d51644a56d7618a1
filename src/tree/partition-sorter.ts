import { copyBytes } from "../base/bytes.ts";
import { TRASH_INODE_HIGH, TRASH_INODE_LOW } from "../volume/inode.ts";
import type { BatchBuilder } from "../volume/records.ts";
import { PARTITION_BITS, type Partition } from "./partition.ts";
import { KEY_BYTES, ORDER_BYTES, OrderKeys, sortByKeys } from "./radix-order.ts";
import { compareRecords, type RecordLayout } from "./record-layout.ts";
import type { RecordSlab } from "./record-slab.ts";

/** Keys of second numbers have 38 bits: the lower half for numbers from 0, the upper for those from the trash root. */
const HALF = 2 ** 37;
const BETWEEN = HALF - 1;
const BEYOND = HALF * 2 - 1;

const PLACE_BYTES = 12;
/** Memory that sorting takes for each record of the largest partition. */
export const SORTING_BYTES: number = PLACE_BYTES + ORDER_BYTES + KEY_BYTES * 2;

const FIRST_MASK = (1 << PARTITION_BITS) - 1;

/**
 * Puts the records of one partition after the other in order, where they stand. Numbers are sorted natively; only records
 * that agree in them pay for a comparison.
 */
export class PartitionSorter {
  /** Of the partition sorted last: ordinals of its records in order. */
  order: Uint32Array;
  /** By ordinal: which slab a record stands in, and where in it. */
  readonly slabOf: Uint32Array;
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
  #spare: Uint32Array;
  readonly #layout: RecordLayout;
  readonly #slabs: readonly RecordSlab[];
  readonly #keys: OrderKeys;
  /** Of the second number, for kinds that have two. */
  readonly #secondKeys: OrderKeys | undefined;

  /** For partitions of at most `count` records. */
  constructor(layout: RecordLayout, slabs: readonly RecordSlab[], count: number) {
    this.#layout = layout;
    this.#slabs = slabs;
    this.order = new Uint32Array(count);
    this.#spare = new Uint32Array(count);
    this.slabOf = new Uint32Array(count);
    this.starts = new Uint32Array(count);
    this.ends = new Uint32Array(count);
    this.#keys = new OrderKeys(count);
    this.#secondKeys = layout.second === undefined ? undefined : new OrderKeys(count);
  }

  sort(partition: Partition): void {
    const { count } = partition;
    this.#locate(partition);
    for (let i = 0; i < count; i++) this.order[i] = i;
    // By the second number first, then by the first, which leaves equal ones as they stand.
    if (this.#secondKeys !== undefined) this.#sortBy(this.#secondKeys, count);
    this.#sortBy(this.#keys, count);
    this.#sortTies(count);
  }

  /** Copies records in order, from the one at `from` on, until all `count` are done or `builder` is full. */
  copy(from: number, count: number, builder: BatchBuilder): number {
    const { order, slabOf, starts, ends } = this;
    const { writer } = builder;
    let i = from;
    for (let isFull = false; i < count && !isFull; i++) {
      const ordinal = order[i]!;
      const start = starts[ordinal]!;
      const end = ends[ordinal]!;
      const to = writer.reserve(end - start);
      copyBytes(this.#slabs[slabOf[ordinal]!]!.view, start, end, writer.view, to);
      writer.length = to + end - start;
      isFull = builder.commit();
    }
    return i;
  }

  #locate({ extents }: Partition): void {
    const { slabOf, starts, ends } = this;
    const { size, first, second } = this.#layout;
    const keys = this.#keys.low;
    const lowAt = first === undefined || first.isNarrow ? 0 : 4;
    let ordinal = 0;
    for (let e = 0; e < extents.length; e += 3) {
      const slab = extents[e]!;
      const { view } = this.#slabs[slab]!;
      const end = extents[e + 2]!;
      for (let at = extents[e + 1]!; at < end; ordinal++) {
        const next = at + size(view, at);
        slabOf[ordinal] = slab;
        starts[ordinal] = at;
        ends[ordinal] = next;
        keys[ordinal] = first === undefined ? 0 : view.getUint32(at + lowAt) & FIRST_MASK;
        if (second !== undefined) this.#secondKeys!.set(ordinal, keyOf(view, at + second.at));
        at = next;
      }
    }
  }

  #sortBy(keys: OrderKeys, count: number): void {
    if (sortByKeys(keys, count, this.order, this.#spare) === this.order) return;
    [this.order, this.#spare] = [this.#spare, this.order];
  }

  /** Runs of records that the keys could not tell apart are sorted by comparison. */
  #sortTies(count: number): void {
    let run = 0;
    for (let i = 1; i <= count; i++) {
      if (i < count && this.#isTie(this.order[i]!, this.order[i - 1]!)) continue;
      if (i - run > 1) this.#sortRange(run, i);
      run = i;
    }
  }

  #isTie(a: number, b: number): boolean {
    const { low } = this.#keys;
    return low[a] === low[b] && (this.#secondKeys === undefined || this.#secondKeys.areEqual(a, b));
  }

  #sortRange(from: number, to: number): void {
    const sorted = Array.from(this.order.subarray(from, to)).sort((a, b) => this.#compare(a, b));
    this.order.set(sorted, from);
  }

  #compare(a: number, b: number): number {
    const { slabOf, starts, ends } = this;
    const aBytes = this.#slabs[slabOf[a]!]!.bytes;
    const bBytes = this.#slabs[slabOf[b]!]!.bytes;
    return compareRecords(this.#layout, aBytes, starts[a]!, ends[a]!, bBytes, starts[b]!, ends[b]!);
  }
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
