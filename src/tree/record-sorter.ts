import { compareUint64 } from "../base/bytes.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { PartitionStore } from "./partition-store.ts";
import { PieceSorter } from "./piece-sorter.ts";
import { RunMerger } from "./run-merger.ts";
import type { SpillFile } from "./spill-file.ts";

export interface RecordSorterOptions {
  readonly budget: MemoryBudget;
  readonly spill: SpillFile;
  readonly pieceBytes: number;
}

/**
 * Sorts records (u32 size, big-endian, and u64 first) of any number by their bytes after the size: in memory, or through runs in
 * the spill file.
 */
export class RecordSorter {
  readonly #options: RecordSorterOptions;
  readonly #store: PartitionStore;
  #count = 0;

  constructor(options: RecordSorterOptions) {
    this.#options = options;
    this.#store = new PartitionStore(1, options.budget, options.spill);
  }

  get count(): number {
    return this.#count;
  }

  /** Room for one record in `page`, whose size is written there; returns its offset. */
  reserve(size: number): number {
    const at = this.#store.reserve(0, size);
    this.#store.view.setUint32(at, size);
    this.#count++;
    return at;
  }

  get page(): Buffer {
    return this.#store.page;
  }

  get view(): DataView {
    return this.#store.view;
  }

  /**
   * Goes on to the next record in order, which then stands at `bytes[start..)` until the next call; false at the end. After
   * the first call nothing may be added.
   */
  next(): boolean {
    if (this.#order === undefined) this.#sort();
    if (this.#merger !== undefined) {
      if (!this.#merger.next()) return false;
      this.bytes = this.#merger.bytes;
      this.start = this.#merger.start;
      return true;
    }
    if (this.#position >= this.#order!.length) return false;
    this.start = this.#order![this.#position++]!;
    return true;
  }

  /** The record at hand. */
  bytes: Buffer = EMPTY;
  start = 0;
  #order: Uint32Array | undefined;
  #position = 0;
  #merger: RunMerger | undefined;

  #sort(): void {
    const { pieceBytes, spill } = this.#options;
    const sorter = new PieceSorter();
    this.#order = new Uint32Array(0);
    if (this.#store.sizeOf(0) <= pieceBytes) {
      for (const piece of this.#store.drain(0, Number.POSITIVE_INFINITY)) {
        this.bytes = piece;
        this.#order = sorter.sort(piece, keyOfLeadingUint64, compareWhole);
      }
      return;
    }
    this.#merger = new RunMerger(spill, compareWhole);
    for (const piece of this.#store.drain(0, pieceBytes)) {
      this.#merger.addRun(piece, sorter.sort(piece, keyOfLeadingUint64, compareWhole));
    }
  }
}

const EMPTY = Buffer.alloc(0);

/** Key of records whose u64 at offset 4 decides first: exact below 2^38, then left to the comparison. */
export function keyOfLeadingUint64(piece: Buffer, start: number, words: Uint32Array, at: number): void {
  const value = piece.readUInt32BE(start + 4) * 0x1_0000_0000 + piece.readUInt32BE(start + 8);
  if (value >= 0x3f_ffff_ffff) {
    words[at + 1] = 0xffff_ffff;
    words[at] = 0xfc00_0000;
  } else {
    words[at + 1] = Math.floor(value / 64);
    words[at] = ((value % 64) << 26) >>> 0;
  }
}

/** Order of the bytes after the size, of which a u64 comes first. */
export function compareWhole(a: Buffer, aStart: number, b: Buffer, bStart: number): number {
  const first = compareUint64(a, aStart + 4, b, bStart + 4);
  if (first !== 0) return first;
  return a.compare(b, bStart + 4, bStart + b.readUInt32BE(bStart), aStart + 4, aStart + a.readUInt32BE(aStart));
}
