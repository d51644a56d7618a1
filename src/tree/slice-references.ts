import { DataError } from "../base/errors.ts";
import { BatchBuilder, packRecord, type RecordBatch } from "../volume/records.ts";
import { SLICE_BYTES } from "../volume/slices.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { compareWhole, keyOfLeadingUint64, RecordSorter } from "./record-sorter.ts";
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
    this.#uses = new RecordSorter({ budget, spill, pieceBytes, writeKey: keyOfLeadingUint64, compare: compareWhole });
  }

  /** Largest slice id used so far, 0 when there is none. */
  get largestId(): bigint {
    const seen = (BigInt(this.#largestHigh) << 32n) | BigInt(this.#largestLow);
    return seen > this.#largestId ? seen : this.#largestId;
  }

  /** Notes the slices `bytes[start..end)` (n × 24 bytes) of the inode at `inodeBytes[inodeAt..)`. */
  add(bytes: Buffer, start: number, end: number, inodeBytes: Buffer, inodeAt: number): void {
    for (let slice = start; slice < end; slice += SLICE_BYTES) {
      const high = bytes.readUInt32BE(slice + 4);
      const low = bytes.readUInt32BE(slice + 8);
      if (high === 0 && low === 0) continue;
      const at = this.#uses.reserve(RECORD_BYTES);
      const page = this.#uses.page;
      page.writeUInt32BE(high, at + 4);
      page.writeUInt32BE(low, at + 8);
      page.writeUInt32BE(bytes.readUInt32BE(slice + 12), at + 12);
      inodeBytes.copy(page, at + 16, inodeAt, inodeAt + 8);
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
    const current = { id: 0n, size: 0, refs: 0n, inode: 0n };
    for (let more = uses.next(); more; more = uses.next()) {
      const id = uses.bytes.readBigUInt64BE(uses.start + 4);
      const size = uses.bytes.readUInt32BE(uses.start + 12);
      if (id === current.id) {
        if (size !== current.size) throw twoSizes(current, size, uses.bytes.readBigUInt64BE(uses.start + 16));
        current.refs++;
        continue;
      }
      if (current.refs > 0n) packRecord("sliceRef", builder.writer, current);
      if (current.refs > 0n && builder.commit()) yield builder.take()!;
      current.id = id;
      current.size = size;
      current.refs = 1n;
      current.inode = uses.bytes.readBigUInt64BE(uses.start + 16);
    }
    if (current.refs > 0n) {
      packRecord("sliceRef", builder.writer, current);
      builder.commit();
    }
    const rest = builder.take();
    if (rest !== undefined) yield rest;
  }
}

function twoSizes(last: { id: bigint; size: number; inode: bigint }, size: number, inode: bigint): DataError {
  return new DataError(
    "DECANT_E_SLICE_SIZE",
    `Slice ${last.id} has two sizes: ${last.size} bytes in the file with inode ${last.inode}, ${size} bytes in that with inode ${inode}`,
    {
      hint: "One of the two files is described wrongly; take its chunks out of the dump, or correct them, and load again",
      location: { key: `slice ${last.id}` },
    },
  );
}
