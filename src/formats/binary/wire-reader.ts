import { viewOf } from "../../base/bytes.ts";
import { DataError } from "../../base/errors.ts";

/** Wire types of protobuf that occur in a dump. */
export const WIRE_VARINT = 0;
export const WIRE_BYTES = 2;

/**
 * Reads protobuf fields from a piece of a dump. 64-bit numbers come in halves, so that no inode ever is a JavaScript number;
 * what a call has read stands in the members until the next one.
 */
export class WireReader {
  bytes: Buffer = Buffer.alloc(0);
  view: DataView = viewOf(this.bytes);
  /** Next byte to read, and the end of the message at hand. */
  at = 0;
  end = 0;
  /** The varint read last. */
  hi = 0;
  lo = 0;
  /** Field number and wire type of the field at hand. */
  field = 0;
  wireType = 0;
  /** The bytes field at hand is `bytes[start..at)`. */
  start = 0;
  /** Document offset of `bytes[0]`, and the name of the segment at hand, for messages. */
  offset = 0;
  segment = "";

  open(bytes: Buffer, offset: number): void {
    this.bytes = bytes;
    this.view = viewOf(bytes);
    this.offset = offset;
  }

  /** Reads a varint of up to 64 bits into `hi` and `lo`. It may end behind `end`: `next` and the caller look at that. */
  readVarint(): void {
    const { bytes } = this;
    let { at } = this;
    let byte = bytes[at++]!;
    let lo = byte & 0x7f;
    this.hi = 0;
    if (byte >= 0x80) {
      byte = bytes[at++]!;
      lo |= (byte & 0x7f) << 7;
      if (byte >= 0x80) {
        byte = bytes[at++]!;
        lo |= (byte & 0x7f) << 14;
        if (byte >= 0x80) {
          byte = bytes[at++]!;
          lo |= (byte & 0x7f) << 21;
          if (byte >= 0x80) {
            this.#readLong(at, lo);
            return;
          }
        }
      }
    }
    this.lo = lo;
    this.at = at;
  }

  /** The rest of a varint of five bytes and more, whose first 28 bits are `low`. */
  #readLong(from: number, low: number): void {
    const { bytes } = this;
    let at = from;
    let byte = bytes[at++]!;
    const lo = low | ((byte & 0x0f) << 28);
    let hi = (byte & 0x70) >> 4;
    for (let shift = 3; byte >= 0x80; shift += 7) {
      byte = bytes[at++]!;
      if (shift === 31 && byte > 1) this.fail("a number has more than 64 bits");
      hi |= (byte & 0x7f) << shift;
    }
    this.hi = hi >>> 0;
    this.lo = lo >>> 0;
    this.at = at;
  }

  /**
   * Goes on to the next field of the message: sets `field` and `wireType` and reads its value into `hi` and `lo`, or sets
   * `start` to the beginning of its bytes and `at` to their end. False at the end of the message.
   */
  next(): boolean {
    if (this.at >= this.end) return false;
    const tag = this.bytes[this.at++]!;
    // All fields of records have numbers below 16: their tags are one byte.
    if (tag >= 0x80) this.#failTag(this.at - 1);
    this.field = tag >> 3;
    this.wireType = tag & 7;
    this.readVarint();
    if (this.wireType === WIRE_BYTES) {
      this.start = this.at;
      this.at += this.hi === 0 ? this.lo : Number.POSITIVE_INFINITY;
    } else if (this.wireType !== WIRE_VARINT) {
      this.failField();
    }
    if (this.at > this.end) this.fail("a field ends behind the end of its record");
    return true;
  }

  #failTag(at: number): never {
    this.at = at;
    this.readVarint();
    this.field = Math.floor((this.hi * 0x1_0000_0000 + this.lo) / 8);
    this.wireType = this.lo & 7;
    this.failField();
  }

  /** The value as an unsigned 32-bit number. */
  uint32(): number {
    if (this.hi !== 0) this.fail(`field ${this.field} has more than 32 bits`);
    return this.lo;
  }

  /** For a field that the message does not have, or not of this type: leaving it out would lose data silently. */
  failField(): never {
    throw this.error(
      `field ${this.field} of wire type ${this.wireType} is not known`,
      "The dump is damaged, or of a newer version of the format: load it with a newer decant",
    );
  }

  fail(problem: string): never {
    throw this.error(problem, "The dump is damaged; copy it again or take an earlier backup");
  }

  error(problem: string, hint: string): DataError {
    const offset = this.offset + Math.min(this.at, this.end);
    return new DataError(
      "DECANT_E_BINARY_RECORD",
      `Cannot read a record of the ${this.segment} segment before offset ${offset} of the dump: ${problem}`,
      { hint, location: { offset } },
    );
  }
}
