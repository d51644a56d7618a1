import { copyBytes } from "../base/bytes.ts";
import { DataError } from "../base/errors.ts";
import { BatchBuilder, type RecordBatch } from "../volume/records.ts";
import { SLICE_BYTES } from "../volume/slices.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { RecordSorter } from "./record-sorter.ts";
import type { SpillFile } from "./spill-file.ts";

/** u32 record size, u64 slice id, u32 slice size, u64 inode. */
const RECORD_BYTES = 24;

/**
 * Counts how often each slice is used, exactly and in bounded memory: every use is noted and sorted at the end. Holes (slice
 * id 0) are no slices and are not counted: the reference counts them and so spoils the counts of all others
 * (docs/spec/json-dump.md §13.4).
 */
export class SliceReferences {
  readonly #uses: RecordSorter;
  #largestId = 0n;
  #largestHigh = 0;
  #largestLow = 0;

  constructor(budget: MemoryBudget, spill: SpillFile, pieceBytes: number) {
    this.#uses = new RecordSorter({ budget, spill, pieceBytes });
  }

  /** Largest slice id used so far, 0 when there is none. */
  get largestId(): bigint {
    const seen = (BigInt(this.#largestHigh) << 32n) | BigInt(this.#largestLow);
    return seen > this.#largestId ? seen : this.#largestId;
  }

  /** Notes the slices `source[start..end)` (n × 24 bytes) of the inode at `inode[inodeAt..)`. */
  add(source: DataView, start: number, end: number, inode: DataView, inodeAt: number): void {
    for (let slice = start; slice < end; slice += SLICE_BYTES) {
      const high = source.getUint32(slice + 4);
      const low = source.getUint32(slice + 8);
      if (high === 0 && low === 0) continue;
      const at = this.#uses.reserve(RECORD_BYTES);
      const view = this.#uses.view;
      // Id and size stand side by side in a slice as well.
      copyBytes(source, slice + 4, slice + 16, view, at + 4);
      copyBytes(inode, inodeAt, inodeAt + 8, view, at + 16);
      if (high > this.#largestHigh || (high === this.#largestHigh && low > this.#largestLow)) {
        this.#largestHigh = high;
        this.#largestLow = low;
      }
    }
  }

  /**
   * One sliceRef record for every slice, ascending by id. Throws `DataError` when a slice is used with two sizes: one of
   * the two files does not say the truth about its data.
   */
  *drain(): Generator<RecordBatch> {
    const builder = new BatchBuilder("sliceRef");
    const uses = this.#uses;
    const current: CurrentSlice = { high: 0, low: 0, size: 0, refs: 0, inodeHigh: 0, inodeLow: 0 };
    for (let more = uses.next(); more; more = uses.next()) {
      const { bytes, start } = uses;
      const high = bytes.readUInt32BE(start + 4);
      const low = bytes.readUInt32BE(start + 8);
      const size = bytes.readUInt32BE(start + 12);
      if (low === current.low && high === current.high) {
        if (size !== current.size) throw twoSizes(current, size, bytes.readBigUInt64BE(start + 16));
        current.refs++;
        continue;
      }
      if (current.refs > 0 && writeReference(builder, current)) yield builder.take()!;
      current.high = high;
      current.low = low;
      current.size = size;
      current.refs = 1;
      current.inodeHigh = bytes.readUInt32BE(start + 16);
      current.inodeLow = bytes.readUInt32BE(start + 20);
    }
    if (current.refs > 0) writeReference(builder, current);
    const rest = builder.take();
    if (rest !== undefined) yield rest;
  }
}

/** The slice whose uses are being counted: id in halves, inode of the first use. */
interface CurrentSlice {
  high: number;
  low: number;
  size: number;
  refs: number;
  inodeHigh: number;
  inodeLow: number;
}

/** A sliceRef record as in volume/records.ts: u64 id, u32 size, s64 refs. */
function writeReference(builder: BatchBuilder, slice: CurrentSlice): boolean {
  const { writer } = builder;
  const to = writer.reserve(20);
  const { view } = writer;
  view.setUint32(to, slice.high);
  view.setUint32(to + 4, slice.low);
  view.setUint32(to + 8, slice.size);
  view.setUint32(to + 12, Math.floor(slice.refs / 0x1_0000_0000));
  view.setUint32(to + 16, slice.refs % 0x1_0000_0000);
  writer.length = to + 20;
  return builder.commit();
}

function twoSizes(last: CurrentSlice, size: number, inode: bigint): DataError {
  const id = (BigInt(last.high) << 32n) | BigInt(last.low);
  const before = (BigInt(last.inodeHigh) << 32n) | BigInt(last.inodeLow);
  return new DataError(
    "DECANT_E_SLICE_SIZE",
    `Slice ${id} has two sizes: ${last.size} bytes in the file with inode ${before}, ${size} bytes in that with inode ${inode}`,
    {
      hint: "One of the two files is described wrongly; take its chunks out of the dump, or correct them, and load again",
      location: { key: `slice ${id}` },
    },
  );
}
