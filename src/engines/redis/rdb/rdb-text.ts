import { viewOf } from "../../../base/bytes.ts";

/** Enough for any 64-bit number in decimal. */
const SCRATCH_BYTES = 1024;

/**
 * A string of an RDB file: `bytes[start..end)`. It stands in the window of the reader or, where it was compressed or is kept as a
 * number, in a buffer of its own. Borrowed: valid until the next string is read into it.
 */
export class RdbText {
  bytes: Buffer;
  /** The same for numbers. */
  view: DataView;
  start = 0;
  end = 0;
  #scratch: Buffer = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  #scratchView: DataView = viewOf(this.#scratch);

  constructor() {
    this.bytes = this.#scratch;
    this.view = this.#scratchView;
  }

  get length(): number {
    return this.end - this.start;
  }

  /** Points to bytes that stand elsewhere. */
  point(bytes: Buffer, view: DataView, start: number, end: number): void {
    this.bytes = bytes;
    this.view = view;
    this.start = start;
    this.end = end;
  }

  /** Room for `size` bytes, which whoever asks fills. */
  own(size: number): Buffer {
    if (size > this.#scratch.length) {
      this.#scratch = Buffer.allocUnsafeSlow(Math.max(size, this.#scratch.length * 2));
      this.#scratchView = viewOf(this.#scratch);
    }
    this.point(this.#scratch, this.#scratchView, 0, size);
    return this.#scratch;
  }

  /** The decimal text of a number: Redis keeps such strings as numbers. */
  setNumber(value: number | bigint): void {
    const text = value.toString();
    this.own(text.length).write(text, 0, "latin1");
  }

  /** A copy. */
  copy(): Buffer {
    return Buffer.from(this.bytes.subarray(this.start, this.end));
  }

  toString(): string {
    return this.bytes.toString("latin1", this.start, this.end);
  }
}
