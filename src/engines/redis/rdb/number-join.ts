import { MemoryBudget } from "../../../tree/memory-budget.ts";
import { RecordSorter } from "../../../tree/record-sorter.ts";
import { SpillFile } from "../../../tree/spill-file.ts";

/** Memory of one sorter; what does not fit goes to a nameless temporary file. */
const MAX_BYTES = 16 * 1024 * 1024;
const PIECE_BYTES = 4 * 1024 * 1024;

/** u32 size, u64 number, u8 topic, u8 part, payload */
const HEAD_BYTES = 14;

/** One part of a record that is kept in several hashes, at hand. */
export interface JoinedPart {
  readonly number: bigint;
  readonly topic: number;
  readonly part: number;
  /** Borrowed. */
  readonly payload: Buffer;
}

/** Brings together what stands under one number in several hashes, which come one after the other and may be large. */
export class NumberJoin {
  readonly #budget = new MemoryBudget(MAX_BYTES);
  readonly #spill: SpillFile;
  readonly #sorter: RecordSorter;

  constructor(tmpDir: string) {
    this.#spill = new SpillFile(tmpDir);
    this.#sorter = new RecordSorter({ budget: this.#budget, spill: this.#spill, pieceBytes: PIECE_BYTES });
  }

  /** `size` bytes at the offset returned in `page` are the payload, which whoever adds writes. */
  add(hi: number, lo: number, topic: number, part: number, size: number): number {
    const at = this.#sorter.reserve(HEAD_BYTES + size);
    const { view } = this.#sorter;
    view.setUint32(at + 4, hi);
    view.setUint32(at + 8, lo);
    view.setUint8(at + 12, topic);
    view.setUint8(at + 13, part);
    return at + HEAD_BYTES;
  }

  get view(): DataView {
    return this.#sorter.view;
  }

  /** All parts by number, topic and part. */
  *parts(): Generator<JoinedPart> {
    const sorter = this.#sorter;
    while (sorter.count > 0 && sorter.next()) {
      const { bytes, start } = sorter;
      yield {
        number: bytes.readBigUInt64BE(start + 4),
        topic: bytes[start + 12]!,
        part: bytes[start + 13]!,
        payload: bytes.subarray(start + HEAD_BYTES, start + bytes.readUInt32BE(start)),
      };
    }
  }

  close(): void {
    this.#budget.close();
    this.#spill.close();
  }
}

/** Sorts the members of a sorted set by score and bytes, as the server gives them: a file has large ones in another order. */
export class ScoreOrder {
  readonly #budget = new MemoryBudget(MAX_BYTES);
  readonly #spill: SpillFile;
  readonly #sorter: RecordSorter;
  readonly #scratch = Buffer.alloc(8);

  constructor(tmpDir: string) {
    this.#spill = new SpillFile(tmpDir);
    this.#sorter = new RecordSorter({ budget: this.#budget, spill: this.#spill, pieceBytes: PIECE_BYTES });
  }

  add(score: number, member: { bytes: Buffer; start: number; end: number }): void {
    const at = this.#sorter.reserve(12 + member.end - member.start);
    this.#scratch.writeDoubleBE(score);
    // the bits of doubles in the order of their values: negative ones backwards, and first
    const mask = this.#scratch[0]! >= 0x80 ? 0xff : 0;
    for (let i = 0; i < 8; i++) this.#scratch[i]! ^= i === 0 ? mask | 0x80 : mask;
    this.#scratch.copy(this.#sorter.page, at + 4);
    member.bytes.copy(this.#sorter.page, at + 12, member.start, member.end);
  }

  /** Buffers are borrowed. */
  *members(): Generator<{ score: number; member: Buffer }> {
    const sorter = this.#sorter;
    while (sorter.count > 0 && sorter.next()) {
      const { bytes, start } = sorter;
      bytes.copy(this.#scratch, 0, start + 4, start + 12);
      const mask = this.#scratch[0]! >= 0x80 ? 0 : 0xff;
      for (let i = 0; i < 8; i++) this.#scratch[i]! ^= i === 0 ? mask | 0x80 : mask;
      yield {
        score: this.#scratch.readDoubleBE(),
        member: bytes.subarray(start + 12, start + bytes.readUInt32BE(start)),
      };
    }
  }

  close(): void {
    this.#budget.close();
    this.#spill.close();
  }
}
