import { copyBytes } from "../base/bytes.ts";
import { CHUNK_BYTES } from "../volume/inode.ts";
import type { SliceRefRecord } from "../volume/records.ts";
import { SLICE_BYTES } from "../volume/slices.ts";
import type { ProblemList } from "./check-problems.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { RecordSorter } from "./record-sorter.ts";
import type { SpillFile } from "./spill-file.ts";

/** u32 record size, u64 slice id, u8 rank, u32 slice size, u64 inode of a use or s64 number of references. */
const ID = 4;
const RANK = 12;
const SIZE = 13;
const VALUE = 17;
const RECORD_BYTES = 25;

const REFERENCE = 0;
const USE = 1;

/** What is known of one slice while its records are read. */
interface SliceGroup {
  readonly id: bigint;
  readonly size: number;
  references: bigint | undefined;
  uses: bigint;
  inode: bigint | undefined;
}

/**
 * Checks slices one by one, and, by sorting their uses, that each has one size and as many references as it is used, in
 * bounded memory. Holes (id 0) are no slices.
 */
export class SliceChecks {
  readonly #records: RecordSorter;
  readonly #problems: ProblemList;
  #largestHigh = 0;
  #largestLow = 0;

  constructor(budget: MemoryBudget, spill: SpillFile, pieceBytes: number, problems: ProblemList) {
    this.#records = new RecordSorter({
      budget,
      spill,
      pieceBytes,
    });
    this.#problems = problems;
  }

  /** Largest slice id so far, 0 when there is none. */
  get largestId(): bigint {
    return (BigInt(this.#largestHigh) << 32n) | BigInt(this.#largestLow);
  }

  /** Checks and notes the slices `source[start..end)` of the inode at `inode[inodeAt..)`. */
  addUses(source: DataView, start: number, end: number, inode: DataView, inodeAt: number): void {
    if ((end - start) % SLICE_BYTES !== 0) {
      this.#problems.add("damaged-chunk", () => ({ inode: inode.getBigUint64(inodeAt) }));
      return;
    }
    for (let slice = start; slice < end; slice += SLICE_BYTES) {
      const high = source.getUint32(slice + 4);
      const low = source.getUint32(slice + 8);
      const isHole = (high | low) === 0;
      const size = source.getUint32(slice + 12);
      const length = source.getUint32(slice + 20);
      if (
        source.getUint32(slice) + length > CHUNK_BYTES ||
        (!isHole && (source.getUint32(slice + 16) + length > size || size > CHUNK_BYTES))
      ) {
        this.#problems.add("slice-bounds", () => ({
          inode: inode.getBigUint64(inodeAt),
          detail: `slice ${source.getBigUint64(slice + 4)}`,
        }));
      }
      if (isHole) continue;
      const at = this.#records.reserve(RECORD_BYTES);
      const view = this.#records.view;
      copyBytes(source, slice + 4, slice + 12, view, at + ID);
      view.setUint8(at + RANK, USE);
      view.setUint32(at + SIZE, size);
      copyBytes(inode, inodeAt, inodeAt + 8, view, at + VALUE);
      this.#noteId(high, low);
    }
  }

  addReference({ id, size, refs }: SliceRefRecord): void {
    if (id === 0n) return; // left by loads of the reference (docs/spec/sql.md §12)
    const at = this.#records.reserve(RECORD_BYTES);
    const view = this.#records.view;
    view.setBigUint64(at + ID, id);
    view.setUint8(at + RANK, REFERENCE);
    view.setUint32(at + SIZE, size);
    view.setBigInt64(at + VALUE, refs);
    this.#noteId(Number(id >> 32n), Number(id & 0xffff_ffffn));
  }

  #noteId(high: number, low: number): void {
    if (high > this.#largestHigh || (high === this.#largestHigh && low > this.#largestLow)) {
      this.#largestHigh = high;
      this.#largestLow = low;
    }
  }

  /** Compares everything. `hasReferences`: the source has references, those that are 1 left out or not. Call it once. */
  finish(hasReferences: boolean): void {
    const records = this.#records;
    let group: SliceGroup | undefined;
    while (records.next()) {
      const { bytes, start } = records;
      if (group === undefined || bytes.readBigUInt64BE(start + ID) !== group.id) {
        if (group !== undefined && hasReferences) this.#judge(group);
        group = { id: bytes.readBigUInt64BE(start + ID), size: bytes.readUInt32BE(start + SIZE), ...NOTHING };
      }
      this.#take(group, bytes, start);
    }
    if (group !== undefined && hasReferences) this.#judge(group);
  }

  #take(group: SliceGroup, bytes: Buffer, start: number): void {
    const size = bytes.readUInt32BE(start + SIZE);
    if (bytes[start + RANK] === REFERENCE) {
      if (group.references !== undefined) {
        this.#problems.add("duplicate-record", () => ({ detail: `references of slice ${group.id}` }));
      }
      group.references = bytes.readBigInt64BE(start + VALUE);
      return;
    }
    group.uses++;
    const inode = bytes.readBigUInt64BE(start + VALUE);
    group.inode ??= inode;
    if (size !== group.size) {
      const detail = `slice ${group.id} with ${size} bytes, elsewhere ${group.size}`;
      this.#problems.add("slice-size", () => ({ inode, detail }));
    }
  }

  #judge({ id, references = 1n, uses, inode }: SliceGroup): void {
    if (references === uses) return;
    const kind = references < uses ? "slice-references" : "spare-references";
    const detail = `slice ${id} with ${references} for ${uses} uses`;
    if (references > 0n || uses > 0n) {
      this.#problems.add(kind, () => (inode === undefined ? { detail } : { inode, detail }));
    }
  }
}

const NOTHING = { references: undefined, uses: 0n, inode: undefined };
