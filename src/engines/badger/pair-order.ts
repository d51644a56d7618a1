import { compareKeys } from "./entry.ts";

/** Low bits of a sort key that hold the ordinal of a pair; 38 bits of the pair's key are above them. */
const ORDINAL_BITS = 26;
const ORDINAL_MASK = (1 << ORDINAL_BITS) - 1;
/** Whole bytes of a key that the other bits decide. */
const DECIDED_BYTES = 4;
/** Fewer pairs are sorted by comparison. */
const SHORT = 24;
/** So many bytes behind those that are sorted are looked through for a single key. */
const MAX_UNSORTED_BYTES = 4 * 1024 * 1024;

/**
 * The order of the pairs in a piece of memory (pair-sorter.ts): by key, then rank, then the one that came last. 38 bits of the
 * keys behind what they have in common are sorted natively, which is repeated for those that agree in them.
 */
export class PairOrder {
  readonly #rankBytes: number;
  #sortedBytes = -1;
  #count = 0;
  #starts: Uint32Array = new Uint32Array(0);
  #order: Uint32Array = new Uint32Array(0);
  #piece: Buffer = Buffer.alloc(0);

  constructor(rankBytes: number) {
    this.#rankBytes = rankBytes;
  }

  /** Forgets the piece, which is going to be written again. */
  reset(): void {
    this.#sortedBytes = -1;
  }

  /** Where the pairs start, in order; borrowed. Sorts when the piece has grown since the last call. */
  sort(piece: Buffer): Uint32Array {
    if (this.#sortedBytes !== piece.length) this.#sort(piece);
    return this.#order.subarray(0, this.#count);
  }

  /** The value of the last pair of that key; a copy. */
  find(piece: Buffer, key: Uint8Array): Buffer | undefined {
    if (this.#sortedBytes < 0 || piece.length - this.#sortedBytes > MAX_UNSORTED_BYTES) this.#sort(piece);
    let found = -1;
    for (let at = this.#sortedBytes; at < piece.length; ) {
      const [keySize, valueSize] = [piece.readUInt32BE(at), piece.readUInt32BE(at + 4)];
      if (compareKeys(piece, at + 8, keySize, key, 0, key.length) === 0) found = at;
      at += 8 + keySize + valueSize;
    }
    if (found < 0) found = this.#findSorted(piece, key);
    if (found < 0) return undefined;
    const start = found + 8 + piece.readUInt32BE(found);
    return Buffer.from(piece.subarray(start, start + piece.readUInt32BE(found + 4)));
  }

  #findSorted(piece: Buffer, key: Uint8Array): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = this.#order[middle]!;
      if (compareKeys(piece, at + 8, piece.readUInt32BE(at), key, 0, key.length) < 0) low = middle + 1;
      else high = middle;
    }
    const at = this.#order[low];
    if (low === this.#count || at === undefined) return -1;
    return compareKeys(piece, at + 8, piece.readUInt32BE(at), key, 0, key.length) === 0 ? at : -1;
  }

  #sort(piece: Buffer): void {
    this.#piece = piece;
    this.#sortedBytes = piece.length;
    this.#count = countPairs(piece);
    if (this.#order.length < this.#count) {
      this.#starts = new Uint32Array(this.#count);
      this.#order = new Uint32Array(this.#count);
    }
    let i = 0;
    for (let at = 0; at < piece.length; ) {
      this.#starts[i] = at;
      this.#order[i++] = at;
      at += 8 + readUint32(piece, at) + readUint32(piece, at + 4);
    }
    const keys = new BigUint64Array(this.#count);
    this.#sortRange(0, this.#count, 0, keys, new Uint32Array(keys.buffer));
  }

  /** Sorts `#order[from..to)`, whose keys agree in their first `depth` bytes. */
  #sortRange(from: number, to: number, depth: number, keys: BigUint64Array, words: Uint32Array): void {
    if (to - from <= SHORT) {
      this.#insertionSort(from, to);
      return;
    }
    const [common, smallest] = this.#commonPrefix(from, to, depth);
    if (common >= smallest) {
      // a key that the others begin with, or the same key many times: rare
      const sorted = Array.from(this.#order.subarray(from, to)).sort((a, b) => this.#compare(a, b));
      this.#order.set(sorted, from);
      return;
    }
    const piece = this.#piece;
    const starts = this.#starts;
    const count = to - from;
    for (let i = 0; i < count; i++) {
      const at = this.#order[from + i]!;
      const key = at + 8 + common;
      const left = readUint32(piece, at) - common;
      if (left >= 5) {
        words[i * 2 + 1] = readUint32(piece, key);
        words[i * 2] = ((piece[key + 4]! >>> 2) << ORDINAL_BITS) | i;
      } else {
        let high = 0;
        for (let j = 0; j < 4; j++) high = (high << 8) | (j < left ? piece[key + j]! : 0);
        words[i * 2 + 1] = high;
        words[i * 2] = i;
      }
      starts[from + i] = at;
    }
    keys.subarray(0, count).sort();
    for (let i = 0; i < count; i++) this.#order[from + i] = starts[from + (words[i * 2]! & ORDINAL_MASK)]!;
    // the groups that agree, found before the keys are written again
    const groups: number[] = [];
    let begin = 0;
    for (let i = 1; i <= count; i++) {
      const agrees =
        i < count &&
        words[i * 2 + 1] === words[begin * 2 + 1] &&
        ((words[i * 2]! ^ words[begin * 2]!) & ~ORDINAL_MASK) === 0;
      if (agrees) continue;
      if (i - begin > SHORT) groups.push(from + begin, from + i);
      else if (i - begin > 1) this.#insertionSort(from + begin, from + i);
      begin = i;
    }
    for (let i = 0; i < groups.length; i += 2) {
      this.#sortRange(groups[i]!, groups[i + 1]!, common + DECIDED_BYTES, keys, words);
    }
  }

  /** Bytes in which all keys agree, and the size of the smallest. Keys that end within the decided bytes count as padded. */
  #commonPrefix(from: number, to: number, depth: number): [common: number, smallest: number] {
    const piece = this.#piece;
    const first = this.#order[from]! + 8;
    let common = readUint32(piece, first - 8);
    let smallest = common;
    for (let i = from + 1; i < to; i++) {
      const at = this.#order[i]!;
      const size = readUint32(piece, at);
      if (size < smallest) smallest = size;
      if (smallest < common) common = smallest;
      let j = Math.min(depth, common);
      while (j < common && piece[first + j] === piece[at + 8 + j]) j++;
      common = j;
    }
    return [common, smallest];
  }

  #insertionSort(from: number, to: number): void {
    const order = this.#order;
    for (let i = from + 1; i < to; i++) {
      const at = order[i]!;
      let j = i - 1;
      while (j >= from && this.#compare(order[j]!, at) > 0) {
        order[j + 1] = order[j]!;
        j--;
      }
      order[j + 1] = at;
    }
  }

  #compare(a: number, b: number): number {
    const piece = this.#piece;
    const [aSize, bSize] = [readUint32(piece, a), readUint32(piece, b)];
    const order = compareKeys(piece, a + 8, aSize, piece, b + 8, bSize);
    if (order !== 0) return order;
    if (this.#rankBytes > 0) {
      const ranks = compareKeys(piece, a + 8 + aSize, this.#rankBytes, piece, b + 8 + bSize, this.#rankBytes);
      if (ranks !== 0) return ranks;
    }
    return b - a;
  }
}

function countPairs(piece: Buffer): number {
  let count = 0;
  for (let at = 0; at < piece.length; count++) at += 8 + readUint32(piece, at) + readUint32(piece, at + 4);
  return count;
}

/** In hot code several times as fast as the method of Buffer. */
export function readUint32(bytes: Buffer, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
