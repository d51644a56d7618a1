import { viewOf } from "../../base/bytes.ts";
import { fourDigits } from "../../base/digits.ts";
import { DataError } from "../../base/errors.ts";
import type { RowReader } from "../sql/row-reader.ts";

const EMPTY = Buffer.alloc(0);
const NULL = 0xfb;
const HEAD_BYTES = 4;

/**
 * Reads the rows of the text protocol in place. A row is a packet (u24 size, little-endian, u8 sequence number) of values;
 * a value is its size and its bytes, integers as decimal digits. A size below 251 is one byte; 0xfb is NULL, 0xfc, 0xfd and
 * 0xfe announce a size of two, three or eight bytes.
 */
export class TextRowReader implements RowReader {
  /** Whatever its size, a value stands in its row. */
  readonly inlineBytes: number = Number.POSITIVE_INFINITY;
  bytes: Buffer = EMPTY;
  view: DataView = viewOf(EMPTY);
  at = 0;
  high = 0;
  low = 0;
  /** For error messages: `jfs_node`. */
  readonly source: string;
  #rowEnd = 0;

  constructor(source: string) {
    this.source = source;
  }

  /** Starts before the first row of `page`, which is borrowed. */
  open(page: Buffer): void {
    this.bytes = page;
    this.view = viewOf(page);
    this.at = 0;
    this.#rowEnd = 0;
  }

  /** Goes to the next row; false after the last. Throws `DataError` unless the row before was read to its end. */
  nextRow(): boolean {
    if (this.at !== this.#rowEnd) this.#fail();
    if (this.at === this.bytes.length) return false;
    const { bytes, at } = this;
    this.at = at + HEAD_BYTES;
    this.#rowEnd = this.at + (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16));
    return true;
  }

  readInt64(): void {
    const { bytes, view } = this;
    const size = bytes[this.at]!;
    let at = this.at + 1;
    if (size === NULL) {
      this.high = 0;
      this.low = 0;
      this.at = at;
      return;
    }
    const end = at + size;
    this.at = end;
    if (size > 20 || end > this.#rowEnd) this.#fail();
    const start = at;
    const negative = bytes[at] === 0x2d;
    if (negative) at++;
    if (at === end) this.#fail();
    let value = 0;
    while (at + 4 <= end) {
      const four = fourDigits(view, at);
      if (four < 0) this.#fail();
      value = value * 10_000 + four;
      at += 4;
    }
    for (; at < end; at++) {
      const digit = bytes[at]! - 0x30;
      if (digit < 0 || digit > 9) this.#fail();
      value = value * 10 + digit;
    }
    if (value > Number.MAX_SAFE_INTEGER) {
      this.#readWide(start, end);
      return;
    }
    this.high = Math.floor(value / 0x1_0000_0000) | 0;
    this.low = value | 0;
    if (negative) {
      this.low = -this.low | 0;
      this.high = (this.low === 0 ? -this.high : ~this.high) | 0;
    }
  }

  readSize(): number {
    const { bytes, at } = this;
    const first = bytes[at]!;
    this.at = at + 1;
    if (first < NULL) return first;
    if (first === NULL) return 0;
    const width = first === 0xfc ? 2 : first === 0xfd ? 3 : 8;
    if (at + 1 + width > this.#rowEnd) this.#fail();
    this.at = at + 1 + width;
    return width === 8 ? Number(this.view.getBigUint64(at + 1, true)) : bytes.readUIntLE(at + 1, width);
  }

  skipBytes(size: number): number {
    const start = this.at;
    if (start + size > this.#rowEnd) this.#fail();
    this.at = start + size;
    return start;
  }

  skipLongName(size: number): void {
    this.skipBytes(size);
  }

  unsigned(): bigint {
    return (BigInt(this.high >>> 0) << 32n) | BigInt(this.low >>> 0);
  }

  /** Beyond 2^53 the digits are read again: they are those of trash inodes and other rare numbers. */
  #readWide(start: number, end: number): void {
    const value = BigInt(this.bytes.toString("latin1", start, end));
    if (BigInt.asIntN(64, value) !== value) this.#fail();
    this.high = Number(value >> 32n) | 0;
    this.low = Number(value & 0xffff_ffffn) | 0;
  }

  #fail(): never {
    throw new DataError(
      "DECANT_E_SQL_VALUE",
      `Cannot read a row of ${this.source}: a value in it is not of the column's type`,
      { location: { key: this.source } },
    );
  }
}
