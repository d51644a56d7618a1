/** Compares two packed records, given where they start. Negative, 0 or positive; must be a total order. */
export type CompareRecords = (a: Buffer, aStart: number, b: Buffer, bStart: number) => number;

/**
 * Fills the sort key of one record: `words[at + 1]` is its high, `words[at]` its low half, of which the lowest
 * ORDINAL_BITS must stay 0. Keys must never contradict the comparison; equal keys are told apart by it.
 */
export type WriteKey = (piece: Buffer, start: number, words: Uint32Array, at: number) => void;

/** Larger pieces could hold more records than ordinals can number, however much memory there is. */
export const MAX_PIECE_BYTES: number = 512 * 1024 * 1024;

/** Low bits of a key that hold the ordinal of the record: a piece has at most 2^26 records. */
export const ORDINAL_BITS = 26;
const ORDINAL_MASK = (1 << ORDINAL_BITS) - 1;

/**
 * Sorts the records of a piece of memory. The 64-bit keys are sorted natively; only runs of equal keys pay for a
 * comparison in JavaScript. Arrays are kept between pieces.
 *
 * Records begin with u32 size, big-endian, the size of the whole record.
 */
export class PieceSorter {
  #keys: BigUint64Array = new BigUint64Array(4096);
  #words: Uint32Array = new Uint32Array(this.#keys.buffer);
  #starts: Uint32Array = new Uint32Array(4096);
  #order: Uint32Array = new Uint32Array(4096);

  /** Start offsets of the records in order; borrowed until the next call. */
  sort(piece: Buffer, writeKey: WriteKey, compare: CompareRecords): Uint32Array {
    let count = 0;
    for (let start = 0; start < piece.length; start += piece.readUInt32BE(start)) {
      if (count === this.#starts.length) this.#grow();
      this.#starts[count] = start;
      writeKey(piece, start, this.#words, count * 2);
      this.#words[count * 2]! |= count;
      count++;
    }
    this.#keys.subarray(0, count).sort();
    for (let i = 0; i < count; i++) this.#order[i] = this.#starts[this.#words[i * 2]! & ORDINAL_MASK]!;
    this.#sortTies(piece, count, compare);
    return this.#order.subarray(0, count);
  }

  #sortTies(piece: Buffer, count: number, compare: CompareRecords): void {
    const words = this.#words;
    let run = 0;
    for (let i = 1; i <= count; i++) {
      const tied =
        i < count &&
        words[i * 2 + 1] === words[run * 2 + 1] &&
        ((words[i * 2]! ^ words[run * 2]!) & ~ORDINAL_MASK) === 0;
      if (tied) continue;
      if (i - run > 1) sortRange(this.#order, run, i, piece, compare);
      run = i;
    }
  }

  #grow(): void {
    const size = this.#starts.length * 2;
    const keys = new BigUint64Array(size);
    keys.set(this.#keys);
    this.#keys = keys;
    this.#words = new Uint32Array(keys.buffer);
    const starts = new Uint32Array(size);
    starts.set(this.#starts);
    this.#starts = starts;
    this.#order = new Uint32Array(size);
  }
}

/** Sorts `order[from..to)` by comparison: in place when short, else through the engine's merge sort. */
export function sortRange(order: Uint32Array, from: number, to: number, piece: Buffer, compare: CompareRecords): void {
  if (to - from > 24) {
    order.set(
      Array.from(order.subarray(from, to)).sort((a, b) => compare(piece, a, piece, b)),
      from,
    );
    return;
  }
  for (let i = from + 1; i < to; i++) {
    const start = order[i]!;
    let j = i - 1;
    while (j >= from && compare(piece, order[j]!, piece, start) > 0) {
      order[j + 1] = order[j]!;
      j--;
    }
    order[j + 1] = start;
  }
}
