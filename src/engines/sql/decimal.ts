import { viewOf } from "../../base/bytes.ts";
import { DataError } from "../../base/errors.ts";
import type { RowReader } from "./row-reader.ts";

const EMPTY = Buffer.alloc(0);

/** Values above this size do not travel in packed rows: the row carries a number in their place. */
export const INLINE_BYTES: number = 16 * 1024;

/**
 * What readers of decimal text share: 64-bit integers come as two 32-bit halves, `high` and `low` (both as signed int32), so
 * that no BigInt is made per value; see measured figures in docs/performance.md.
 */
export abstract class DecimalRowReader {
  bytes: Buffer = EMPTY;
  view: DataView = viewOf(EMPTY);
  at = 0;
  high = 0;
  low = 0;
  /** For error messages: `jfs_node`. */
  readonly source: string;

  constructor(source: string) {
    this.source = source;
  }

  /** Starts at the beginning of `bytes`, which are borrowed. */
  open(bytes: Buffer): void {
    this.bytes = bytes;
    this.view = viewOf(bytes);
    this.at = 0;
  }

  /** `high` and `low` as an unsigned number. */
  unsigned(): bigint {
    return (BigInt(this.high >>> 0) << 32n) | BigInt(this.low >>> 0);
  }

  /**
   * Sets the halves from the digits `bytes[start..end)` and their value, read step by step: exact up to 2^53; beyond it the
   * digits are read again.
   */
  protected setInteger(value: number, isNegative: boolean, start: number, end: number): void {
    if (value > Number.MAX_SAFE_INTEGER) this.#readWide(isNegative, start, end);
    else {
      this.high = Math.floor(value / 0x1_0000_0000) | 0;
      this.low = value | 0;
    }
    if (isNegative) {
      this.low = -this.low | 0;
      this.high = (this.low === 0 ? -this.high : ~this.high) | 0;
    }
  }

  /** The 16 to 19 digits of `bytes[start..end)`: value = a × 10^9 + b, multiplied in 16-bit steps below 2^53. */
  #readWide(isNegative: boolean, start: number, end: number): void {
    if (end - start > 19) this.fail();
    let a = 0;
    let b = 0;
    for (let i = start; i < end - 9; i++) a = a * 10 + this.bytes[i]! - 0x30;
    for (let i = end - 9; i < end; i++) b = b * 10 + this.bytes[i]! - 0x30;
    const upper = Math.floor(a / 0x1_0000) * 1e9;
    const lower = (upper % 0x1_0000) * 0x1_0000 + (a % 0x1_0000) * 1e9 + b;
    this.high = (Math.floor(upper / 0x1_0000) + Math.floor(lower / 0x1_0000_0000)) | 0;
    this.low = (lower % 0x1_0000_0000) | 0;
    // Only the smallest number of all has this pattern.
    if (this.high < 0 && !(isNegative && this.high === -0x8000_0000 && this.low === 0)) this.fail();
  }

  protected fail(): never {
    throw new DataError(
      "DECANT_E_SQL_VALUE",
      `Cannot read a row of ${this.source}: a value in it is not of the column's type`,
      { location: { key: this.source } },
    );
  }
}

const TENS = [1, 10, 100, 1000, 10_000];

/** The number whose four decimal digits are the bytes of `four`: pairs first, both pairs at once. */
function digitsOf(four: number): number {
  const pairs = (Math.imul(four >>> 8, 10) + four) & 0x00ff_00ff;
  return (pairs >>> 16) * 100 + (pairs & 0xff);
}

/**
 * Reads what a SQL query packed into one byte string: decimal integers and byte strings, each followed by one separator
 * byte (the last may end with the bytes).
 */
export class PackedRowReader extends DecimalRowReader implements RowReader {
  readonly inlineBytes: number = INLINE_BYTES;

  /** Throws `DataError` unless everything was read: a misread value cannot go unnoticed. */
  expectEnd(): void {
    if (this.at !== this.bytes.length + 1) this.fail();
  }

  /** Reads an integer of any size into `high` and `low`. Throws `DataError` for anything but an integer of 64 bits. */
  readInt64(): void {
    const { bytes, view } = this;
    let at = this.at;
    const negative = bytes[at] === 0x2d;
    if (negative) at++;
    const start = at;
    let value = 0;
    let digits = 4;
    while (digits === 4 && at + 4 <= bytes.length) {
      const four = view.getUint32(at) ^ 0x3030_3030;
      // The highest bit of each byte that is no digit. A carry can mark a digit too, but not where a separator follows it.
      const others = (four | (four + 0x7676_7676)) & 0x8080_8080;
      digits = others === 0 ? 4 : Math.clz32(others) >>> 3;
      if (digits === 0) break;
      value = value * TENS[digits]! + digitsOf(four >>> (32 - 8 * digits));
      at += digits;
    }
    if (digits === 4) {
      for (let digit = bytes[at]! - 0x30; digit >= 0 && digit <= 9; digit = bytes[at]! - 0x30) {
        value = value * 10 + digit;
        at++;
      }
    }
    if (at === start || (at < bytes.length && bytes[at] !== 0x20)) this.fail();
    this.at = at + 1;
    this.setInteger(value, negative, start, at);
  }

  /** Reads an integer that must be from 0 to 2^53. */
  readSize(): number {
    this.readInt64();
    if (this.high < 0 || this.high > 0x1f_ffff) this.fail();
    return this.high * 0x1_0000_0000 + (this.low >>> 0);
  }

  /** Reads `size` bytes and the separator; returns the offset of the first one. */
  skipBytes(size: number): number {
    const start = this.at;
    if (start + size > this.bytes.length) this.fail();
    this.at = start + size + 1;
    return start;
  }

  skipLongName(): void {
    this.readInt64();
  }
}
