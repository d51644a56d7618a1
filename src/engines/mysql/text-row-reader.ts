import { fourDigits } from "../../base/digits.ts";
import { DecimalRowReader } from "../sql/decimal.ts";
import type { RowReader } from "../sql/row-reader.ts";

const NULL = 0xfb;
const HEAD_BYTES = 4;

/**
 * Reads the rows of the text protocol in place. A row is a packet (u24 size, little-endian, u8 sequence number) of values;
 * a value is its size and its bytes, integers as decimal digits. A size below 251 is one byte; 0xfb is NULL, 0xfc, 0xfd and
 * 0xfe announce a size of two, three or eight bytes.
 */
export class TextRowReader extends DecimalRowReader implements RowReader {
  /** Whatever its size, a value stands in its row. */
  readonly inlineBytes: number = Number.POSITIVE_INFINITY;
  fieldStart = 0;
  #rowEnd = 0;

  /** Starts before the first row of `page`, which is borrowed. */
  override open(page: Buffer): void {
    super.open(page);
    this.#rowEnd = 0;
  }

  /** Goes to the next row; false after the last. Throws `DataError` unless the row before was read to its end. */
  nextRow(): boolean {
    if (this.at !== this.#rowEnd) this.fail();
    if (this.at === this.bytes.length) return false;
    const { bytes, at } = this;
    this.at = at + HEAD_BYTES;
    this.#rowEnd = this.at + (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16));
    return true;
  }

  /** Goes over the next value, whatever it is: returns its size, -1 for NULL, and leaves in `fieldStart` where it begins. */
  nextField(): number {
    if (this.bytes[this.at] === NULL) {
      this.at++;
      return -1;
    }
    const size = this.readSize();
    this.fieldStart = this.skipBytes(size);
    return size;
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
    if (size > 20 || end > this.#rowEnd) this.fail();
    const start = at;
    const negative = bytes[at] === 0x2d;
    if (negative) at++;
    if (at === end) this.fail();
    let value = 0;
    while (at + 4 <= end) {
      const four = fourDigits(view, at);
      if (four < 0) this.fail();
      value = value * 10_000 + four;
      at += 4;
    }
    for (; at < end; at++) {
      const digit = bytes[at]! - 0x30;
      if (digit < 0 || digit > 9) this.fail();
      value = value * 10 + digit;
    }
    this.setInteger(value, negative, negative ? start + 1 : start, end);
  }

  readSize(): number {
    const { bytes, at } = this;
    const first = bytes[at]!;
    this.at = at + 1;
    if (first < NULL) return first;
    if (first === NULL) return 0;
    const width = first === 0xfc ? 2 : first === 0xfd ? 3 : 8;
    if (at + 1 + width > this.#rowEnd) this.fail();
    this.at = at + 1 + width;
    return width === 8 ? Number(this.view.getBigUint64(at + 1, true)) : bytes.readUIntLE(at + 1, width);
  }

  skipBytes(size: number): number {
    const start = this.at;
    if (start + size > this.#rowEnd) this.fail();
    this.at = start + size;
    return start;
  }

  skipLongName(size: number): void {
    this.skipBytes(size);
  }
}
