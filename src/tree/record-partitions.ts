import { copyBytes, viewOf } from "../base/bytes.ts";
import { BatchBuilder, type FlatKind, type RecordBatch } from "../volume/records.ts";
import { PARTITION_BITS, Partition } from "./partition.ts";
import { PartitionSorter, SORTING_BYTES } from "./partition-sorter.ts";
import type { RecordLayout } from "./record-layout.ts";
import type { RecordSlab, SlabPool } from "./record-slab.ts";

/** The first extent of a partition has so many bytes, each further one as many as all before it, up to a limit. */
const MIN_EXTENT_BYTES = 256;
const MAX_EXTENT_BYTES = 16_384;
/** What a partition takes beside its records, and an extent. */
const PARTITION_BYTES = 256;
const EXTENT_BYTES = 24;
/** Partitions of lower numbers are found in a table, others in a map. */
const TABLE_SIZE = 65_536;
/** What 1 in the upper half of a number adds to that of its partition. */
const HIGH_STEP = 2 ** (32 - PARTITION_BITS);

/**
 * Holds records of one kind, parted by the number that decides first: each partition is small enough to be sorted within the
 * processor's cache, where to sort all records at once means to wait for the memory several times for each.
 */
export class RecordPartitions {
  /** Memory taken. */
  heldBytes = 0;
  count = 0;
  /** Records of the largest partition. */
  largest = 0;
  readonly slabs: RecordSlab[] = [];
  readonly layout: RecordLayout;
  readonly #pool: SlabPool;
  readonly #partitions: Partition[] = [];
  /** Positions in `#partitions` plus 1 by number; 0 = none. */
  #table = new Uint32Array(1024);
  readonly #map: Map<number, Partition> = new Map();

  constructor(layout: RecordLayout, pool: SlabPool) {
    this.layout = layout;
    this.#pool = pool;
  }

  /** What sorting takes beside the records. */
  get sortingBytes(): number {
    return this.largest * SORTING_BYTES;
  }

  /** Copies the records of a batch. */
  add({ bytes, count }: RecordBatch): void {
    const { size, first } = this.layout;
    const view = viewOf(bytes);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const next = at + size(view, at);
      const partition =
        first === undefined
          ? this.#find(0, 0)
          : first.isNarrow
            ? this.#find(0, view.getUint32(at))
            : this.#find(view.getUint32(at), view.getUint32(at + 4));
      if (partition.end - partition.at < next - at) this.#extend(partition, next - at);
      copyBytes(view, at, next, partition.view, partition.at);
      partition.at += next - at;
      if (++partition.count > this.largest) this.largest = partition.count;
      at = next;
    }
    this.count += count;
  }

  #find(high: number, low: number): Partition {
    const number = high * HIGH_STEP + (low >>> PARTITION_BITS);
    const position = number < this.#table.length ? this.#table[number]! : 0;
    if (position > 0) return this.#partitions[position - 1]!;
    return this.#map.get(number) ?? this.#make(number);
  }

  #make(number: number): Partition {
    const partition = new Partition(number);
    this.#partitions.push(partition);
    this.heldBytes += PARTITION_BYTES;
    if (number >= TABLE_SIZE) {
      this.#map.set(number, partition);
      return partition;
    }
    if (number >= this.#table.length) {
      let size = this.#table.length;
      while (size <= number) size *= 2;
      const grown = new Uint32Array(size);
      grown.set(this.#table);
      this.#table = grown;
    }
    this.#table[number] = this.#partitions.length;
    return partition;
  }

  /** Begins a new extent that has room for `needed` bytes. */
  #extend(partition: Partition, needed: number): void {
    const { extents } = partition;
    let before = 0;
    if (extents.length > 0) {
      extents[extents.length - 1] = partition.at;
      for (let i = 0; i < extents.length && before < MAX_EXTENT_BYTES; i += 3)
        before += extents[i + 2]! - extents[i + 1]!;
    }
    const wanted = Math.max(needed, Math.min(MAX_EXTENT_BYTES, Math.max(MIN_EXTENT_BYTES, before)));
    let slab = this.slabs.at(-1);
    if (slab === undefined || slab.bytes.length - slab.used < needed) {
      this.heldBytes += slab === undefined ? 0 : slab.bytes.length - slab.used;
      slab = this.#pool.take(needed);
      this.slabs.push(slab);
    }
    const size = Math.min(wanted, slab.bytes.length - slab.used);
    extents.push(this.slabs.length - 1, slab.used, slab.used);
    partition.view = slab.view;
    partition.at = slab.used;
    partition.end = slab.used + size;
    slab.used += size;
    this.heldBytes += size + EXTENT_BYTES;
  }

  /** Calls `onRecord` for every record in order. */
  visit(onRecord: (bytes: Buffer, start: number, end: number) => void): void {
    const sorter = new PartitionSorter(this.layout, this.slabs, this.largest);
    for (const partition of this.#inOrder()) {
      sorter.sort(partition);
      for (let i = 0; i < partition.count; i++) {
        const ordinal = sorter.order[i]!;
        onRecord(this.slabs[sorter.slabOf[ordinal]!]!.bytes, sorter.starts[ordinal]!, sorter.ends[ordinal]!);
      }
    }
  }

  /** Copies the records in order into batches. */
  *batches(kind: FlatKind): Generator<RecordBatch> {
    const sorter = new PartitionSorter(this.layout, this.slabs, this.largest);
    const builder = new BatchBuilder(kind);
    for (const partition of this.#inOrder()) {
      sorter.sort(partition);
      for (let from = 0; from < partition.count; ) {
        from = sorter.copy(from, partition.count, builder);
        if (builder.isFull) yield builder.take()!;
      }
    }
    const rest = builder.take();
    if (rest !== undefined) yield rest;
  }

  #inOrder(): Partition[] {
    for (const { extents, at } of this.#partitions) extents[extents.length - 1] = at;
    return this.#partitions.sort((a, b) => a.number - b.number);
  }
}
