import { viewOf } from "../../base/bytes.ts";
import type { RowReader } from "./row-reader.ts";

/** What stands in a field: the number of `kinds`. */
export const FIELD_NULL = 0;
export const FIELD_INTEGER = 1;
/** A byte string or a text, as bytes. */
export const FIELD_BYTES = 2;
/** A value of any other type. */
export const FIELD_OTHER = 3;

const EMPTY: Buffer = Buffer.alloc(0);

/**
 * One row whose fields are all known before they are decoded, so that they can be looked at first: for reading what is damaged.
 * Fields are numbered from 0; set each of them, then `rewind`.
 */
export class FieldRow implements RowReader {
  /** Every value is here. */
  readonly inlineBytes: number = Number.POSITIVE_INFINITY;
  bytes: Buffer = EMPTY;
  view: DataView = viewOf(EMPTY);
  high = 0;
  low = 0;
  readonly kinds: Uint8Array;
  /** Size of a byte string. */
  readonly sizes: Float64Array;
  readonly #starts: Float64Array;
  readonly #highs: Int32Array;
  readonly #lows: Int32Array;
  #at = 0;

  constructor(fields: number) {
    this.kinds = new Uint8Array(fields);
    this.sizes = new Float64Array(fields);
    this.#starts = new Float64Array(fields);
    this.#highs = new Int32Array(fields);
    this.#lows = new Int32Array(fields);
  }

  /** Where the byte strings of the next row are, borrowed while it is read. */
  open(bytes: Buffer): void {
    if (this.bytes === bytes) return;
    this.bytes = bytes;
    this.view = viewOf(bytes);
  }

  setNull(field: number): void {
    this.#set(field, FIELD_NULL, 0, 0, 0, 0);
  }

  setOther(field: number): void {
    this.#set(field, FIELD_OTHER, 0, 0, 0, 0);
  }

  setBytes(field: number, start: number, size: number): void {
    this.#set(field, FIELD_BYTES, 0, 0, start, size);
  }

  /** Both halves as signed int32. */
  setInteger(field: number, high: number, low: number): void {
    this.#set(field, FIELD_INTEGER, high, low, 0, 0);
  }

  /** A signed 64-bit integer. */
  setBigInt(field: number, value: bigint): void {
    this.setInteger(field, Number(BigInt.asIntN(32, value >> 32n)), Number(BigInt.asIntN(32, value)));
  }

  /** Goes back to the first field. */
  rewind(): void {
    this.#at = 0;
  }

  /** The integer in a field, signed. */
  integer(field: number): bigint {
    return (BigInt(this.#highs[field]!) << 32n) | BigInt(this.#lows[field]! >>> 0);
  }

  /** The bytes in a field, borrowed. */
  bytesOf(field: number): Buffer {
    const start = this.#starts[field]!;
    return this.bytes.subarray(start, start + this.sizes[field]!);
  }

  /** True for an integer that a column of 32 bits holds, signed or unsigned. */
  isInt32(field: number): boolean {
    const high = this.#highs[field]!;
    return high === 0 || (high === -1 && this.#lows[field]! < 0);
  }

  readInt64(): void {
    const field = this.#at++;
    this.high = this.#highs[field]!;
    this.low = this.#lows[field]!;
  }

  readSize(): number {
    return this.sizes[this.#at]!;
  }

  skipBytes(_size: number): number {
    return this.#starts[this.#at++]!;
  }

  skipLongName(_size: number): void {
    this.#at++;
  }

  unsigned(): bigint {
    return (BigInt(this.high >>> 0) << 32n) | BigInt(this.low >>> 0);
  }

  #set(field: number, kind: number, high: number, low: number, start: number, size: number): void {
    this.kinds[field] = kind;
    this.#highs[field] = high;
    this.#lows[field] = low;
    this.#starts[field] = start;
    this.sizes[field] = size;
  }
}
