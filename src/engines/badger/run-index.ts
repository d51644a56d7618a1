import { ByteWriter } from "../../base/bytes.ts";
import type { RunStore } from "../../tree/run-merger.ts";
import { compareKeys } from "./entry.ts";

/** A key is noted after about so many bytes of the run. */
const STEP_BYTES = 64 * 1024;

/** A sorted run of a file, and some of its keys, so that single ones are found. Records as in pair-sorter.ts. */
export class RunIndex {
  readonly begin: number;
  end: number;
  readonly #keys = new ByteWriter(1024);
  /** Per key: where it begins in `#keys`, its size, where its record stands in the file. */
  readonly #marks: number[] = [];
  #next = 0;
  #size = 0;

  constructor(begin: number) {
    this.begin = begin;
    this.end = begin;
  }

  /** Counts a record of `size` bytes, of which the key is `bytes[start..start + keySize)`. */
  add(bytes: Buffer, start: number, keySize: number, size: number): void {
    if (this.#size >= this.#next) {
      this.#marks.push(this.#keys.length, keySize, this.begin + this.#size);
      this.#keys.writeSlice(bytes, start, start + keySize);
      this.#next = this.#size + STEP_BYTES;
    }
    this.#size += size;
  }

  /** The value of the first record of that key. */
  find(store: RunStore, key: Uint8Array): Buffer | undefined {
    let low = 0;
    let high = this.#marks.length / 3;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const [at, size] = [this.#marks[middle * 3]!, this.#marks[middle * 3 + 1]!];
      if (compareKeys(this.#keys.buffer, at, size, key, 0, key.length) < 0) low = middle + 1;
      else high = middle;
    }
    // the records from the last mark before the key to the one after it: equal keys may stand on both sides of a mark
    const from = this.#marks[Math.max(0, low - 1) * 3 + 2] ?? this.end;
    const to = this.#marks[(low + 1) * 3 + 2] ?? this.end;
    const bytes = Buffer.allocUnsafe(to - from);
    store.read(from, bytes, 0, bytes.length);
    for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
      const keySize = bytes.readUInt32BE(at + 4);
      const order = compareKeys(bytes, at + 12, keySize, key, 0, key.length);
      if (order > 0) return undefined;
      if (order === 0) return Buffer.from(bytes.subarray(at + 12 + keySize, at + bytes.readUInt32BE(at)));
    }
    return undefined;
  }
}
