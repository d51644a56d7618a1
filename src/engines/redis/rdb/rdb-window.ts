import { viewOf } from "../../../base/bytes.ts";
import type { Crc64 } from "./crc64.ts";

/** Where the bytes of an RDB file come from. */
export interface ByteSource {
  /** For messages. */
  readonly name: string;
  /** How many bytes there are, where that is known. */
  readonly totalBytes: number | undefined;
  /** Fills part of `target[start..end)`, from `start` on, and returns the number of bytes; 0 at the end. */
  read(target: Buffer, start: number, end: number): Promise<number>;
}

/** Bytes that are read at one time. */
const WINDOW_BYTES = 1024 * 1024;

/** The part of an RDB file that is at hand: `bytes[at..end)` is not read yet. Both move; what stands before `at` may be overwritten. */
export class RdbWindow {
  bytes: Buffer = Buffer.allocUnsafeSlow(WINDOW_BYTES);
  view: DataView = viewOf(this.bytes);
  at = 0;
  end = 0;
  readonly #source: ByteSource;
  readonly #checksum: Crc64 | undefined;
  /** Offset in the file of `bytes[0]`. */
  #base = 0;
  /** Bytes before this one are in the checksum. */
  #checked = 0;

  constructor(source: ByteSource, checksum: Crc64 | undefined) {
    this.#source = source;
    this.#checksum = checksum;
  }

  /** Offset in the file of `bytes[at]`. */
  offsetOf(at: number): number {
    return this.#base + at;
  }

  /** Makes at least `wanted` unread bytes available, which move to the front; false when the file ends before. */
  async fill(wanted: number): Promise<boolean> {
    if (this.end - this.at >= wanted) return true;
    this.#moveToFront(wanted);
    while (this.end < wanted) {
      const count = await this.#source.read(this.bytes, this.end, this.bytes.length);
      if (count === 0) return false;
      this.end += count;
    }
    return true;
  }

  /** Brings the checksum up to what has been read. */
  updateChecksum(): void {
    this.#checksum?.update(this.bytes, this.view, this.#checked, this.at);
    this.#checked = this.at;
  }

  #moveToFront(wanted: number): void {
    this.updateChecksum();
    let target = this.bytes;
    if (wanted > target.length) {
      let capacity = target.length;
      while (capacity < wanted) capacity *= 2;
      target = Buffer.allocUnsafeSlow(capacity);
    }
    this.bytes.copy(target, 0, this.at, this.end);
    if (target !== this.bytes) {
      this.bytes = target;
      this.view = viewOf(target);
    }
    this.#base += this.at;
    this.end -= this.at;
    this.at = 0;
    this.#checked = 0;
  }
}
