import { viewOf } from "../../base/bytes.ts";
import { DataError } from "../../base/errors.ts";
import type { RowReader } from "../sql/row-reader.ts";

/** `PGCOPY\n\xff\r\n\0`, u32 flags, u32 length of an extension (docs/spec/sql.md §16.3). */
const SIGNATURE: Buffer = Buffer.from("PGCOPY\n\xff\r\n\0", "latin1");
const HEADER_BYTES: number = SIGNATURE.length + 8;

const EMPTY: Buffer = Buffer.alloc(0);

/**
 * Reads the binary form of `COPY ... TO STDOUT`: per row u16 number of fields, per field s32 size (-1 = NULL) and the bytes;
 * at the end s16 -1. Give it what arrives with `push`, then take rows with `next` until that is false.
 */
export class CopyReader implements RowReader {
  /** Every value travels in its row. */
  readonly inlineBytes: number = Number.POSITIVE_INFINITY;
  bytes: Buffer = EMPTY;
  view: DataView = viewOf(EMPTY);
  high = 0;
  low = 0;
  fieldStart = 0;
  /** True when the end of the rows was read. */
  ended = false;
  readonly #source: string;
  readonly #fields: number;
  /** Where the next value of the row begins. */
  #at = 0;
  /** Where the next row begins. */
  #next = 0;
  #headerSeen = false;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** How many bytes are needed, at least, to go on. */
  #needed: number = HEADER_BYTES;

  /** `source` is for error messages: `jfs_node`. */
  constructor(source: string, fields: number) {
    this.#source = source;
    this.#fields = fields;
  }

  /** Adds what arrived; the bytes are borrowed until the next call. */
  push(chunk: Buffer): void {
    this.#expectRowEnd();
    const rest = this.bytes.length - this.#next;
    if (rest > 0) this.#wait(this.bytes.subarray(this.#next));
    this.#wait(chunk);
    this.#next = 0;
    this.#at = 0;
    if (this.#waitingBytes < this.#needed) {
      this.#open(EMPTY);
      return;
    }
    this.#open(this.#waiting.length === 1 ? chunk : Buffer.concat(this.#waiting));
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  /** Goes to the next row; false when it is not all there yet, or the rows have ended. */
  next(): boolean {
    if (this.#waitingBytes > 0) return false;
    this.#expectRowEnd();
    if (!this.#headerSeen && !this.#readHeader()) return false;
    const { view } = this;
    const size = view.byteLength;
    const start = this.#next;
    if (this.ended || start + 2 > size) return this.#needMore(start + 2);
    const fields = view.getInt16(start);
    if (fields === -1) {
      this.ended = true;
      return false;
    }
    if (fields !== this.#fields) this.#fail(`it has ${fields} values`);
    let at = start + 2;
    for (let i = 0; i < fields; i++) {
      if (at + 4 > size) return this.#needMore(at + 4);
      const length = view.getInt32(at);
      at += length > 0 ? length + 4 : 4;
    }
    if (at > size) return this.#needMore(at);
    this.#at = start + 2;
    this.#next = at;
    return true;
  }

  /** Goes over the next value, whatever it is: returns its size, -1 for NULL, and leaves in `fieldStart` where it begins. */
  nextField(): number {
    const size = this.view.getInt32(this.#at);
    this.fieldStart = this.#at + 4;
    this.#at = this.fieldStart + Math.max(size, 0);
    return size;
  }

  readInt64(): void {
    const { view } = this;
    const at = this.#at;
    const size = view.getInt32(at);
    if (size === 8) {
      this.high = view.getInt32(at + 4);
      this.low = view.getInt32(at + 8);
      this.#at = at + 12;
    } else if (size === 4) {
      const value = view.getInt32(at + 4);
      this.high = value >> 31;
      this.low = value;
      this.#at = at + 8;
    } else if (size === -1) {
      this.high = 0;
      this.low = 0;
      this.#at = at + 4;
    } else this.#fail("a value in it is no integer");
  }

  readSize(): number {
    const size = this.view.getInt32(this.#at);
    this.#at += 4;
    return Math.max(size, 0);
  }

  skipBytes(size: number): number {
    const start = this.#at;
    this.#at = start + size;
    return start;
  }

  skipLongName(size: number): void {
    this.skipBytes(size);
  }

  unsigned(): bigint {
    return (BigInt(this.high >>> 0) << 32n) | BigInt(this.low >>> 0);
  }

  #wait(chunk: Buffer): void {
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.length;
  }

  #open(bytes: Buffer): void {
    this.bytes = bytes;
    this.view = viewOf(bytes);
  }

  /** A misread value cannot go unnoticed: every row is read to its end. */
  #expectRowEnd(): void {
    if (this.#at !== this.#next && this.#at !== 0) this.#fail("its values are not those that were asked for");
  }

  #needMore(end: number): false {
    this.#needed = end - this.#next;
    this.#at = 0;
    return false;
  }

  #readHeader(): boolean {
    if (this.bytes.length < HEADER_BYTES) return this.#needMore(HEADER_BYTES);
    if (!this.bytes.subarray(0, SIGNATURE.length).equals(SIGNATURE)) this.#fail("it is not in COPY's binary format");
    const end = HEADER_BYTES + this.bytes.readUInt32BE(HEADER_BYTES - 4);
    if (this.bytes.length < end) return this.#needMore(end);
    this.#headerSeen = true;
    this.#next = end;
    this.#at = 0;
    return true;
  }

  #fail(why: string): never {
    throw new DataError("DECANT_E_SQL_VALUE", `Cannot read a row of ${this.#source}: ${why}`, {
      location: { key: this.#source },
    });
  }
}
