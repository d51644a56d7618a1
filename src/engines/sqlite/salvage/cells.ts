import type { FieldRow } from "../../sql/field-row.ts";
import type { DatabaseImage } from "./database-image.ts";

/** Kinds of b-tree pages by their first byte; those of indexes have keys in their inner pages too. */
export const INDEX_INTERIOR = 0x02;
export const TABLE_INTERIOR = 0x05;
export const INDEX_LEAF = 0x0a;
export const TABLE_LEAF = 0x0d;

/** Where the head of the b-tree page begins: on page 1 behind the head of the database. */
export function headOffset(page: number): number {
  return page === 1 ? 100 : 0;
}

/** Reads numbers of SQLite's variable length, one after the other: 7 bits in each of up to 8 bytes, 8 in the ninth. */
export class VarintReader {
  at = 0;
  /** The number read last: exact up to 2^53, and as halves. */
  value = 0;
  high = 0;
  low = 0;

  /** False when the number goes beyond the bytes. */
  read(bytes: Buffer, at: number, end: number): boolean {
    let high = 0;
    let low = 0;
    for (let i = 0; i < 9; i++) {
      if (at >= end) return false;
      const byte = bytes[at++]!;
      const bits = i === 8 ? 8 : 7;
      high = (high << bits) | (low >>> (32 - bits)) | 0;
      low = (low << bits) | (i === 8 ? byte : byte & 0x7f) | 0;
      if (i === 8 || byte < 0x80) break;
    }
    this.at = at;
    this.high = high;
    this.low = low;
    this.value = (high >>> 0) * 0x1_0000_0000 + (low >>> 0);
    return true;
  }

  /** The number read last, signed. */
  signed(): bigint {
    return (BigInt(this.high) << 32n) | BigInt(this.low >>> 0);
  }
}

/** One cell of a leaf or of an inner page of an index, as it was read last. */
export class CellReader {
  /** The whole record, borrowed until the next call. */
  payload: Buffer = Buffer.alloc(0);
  rowid = 0n;
  /** Whether `rowid` is known, also where the rest is not. */
  hasRowid = false;
  readonly #image: DatabaseImage;
  readonly #varint = new VarintReader();

  constructor(image: DatabaseImage) {
    this.#image = image;
  }

  /** Reads the cell at `at` of a page; what is wrong with it, else undefined. */
  read(page: Buffer, at: number, isTable: boolean): string | undefined {
    const { usableBytes, pages, pageBytes } = this.#image;
    const varint = this.#varint;
    this.hasRowid = false;
    if (!varint.read(page, at, usableBytes)) return "it goes beyond its page";
    const size = varint.value;
    if (isTable) {
      if (!varint.read(page, varint.at, usableBytes)) return "it goes beyond its page";
      this.rowid = varint.signed();
      this.hasRowid = true;
    }
    if (size < 1 || size > pages * pageBytes) return "its size is impossible";
    const local = localBytes(size, usableBytes, isTable);
    const start = varint.at;
    if (start + local + (local < size ? 4 : 0) > usableBytes) return "it goes beyond its page";
    if (local === size) {
      this.payload = page.subarray(start, start + size);
      return undefined;
    }
    return this.#readOverflow(page, start, local, size);
  }

  /** Overflow pages: u32 next one, 0 at the end, then the bytes. */
  #readOverflow(page: Buffer, start: number, local: number, size: number): string | undefined {
    const room = this.#image.usableBytes - 4;
    // Grows with the pages that are found: a damaged size takes no memory.
    const pieces = [page.subarray(start, start + local)];
    let next = page.readUInt32BE(start + local);
    for (let rest = size - local; rest > 0; rest -= room) {
      const overflow = next < 2 ? undefined : this.#image.readPage(next);
      if (overflow === undefined) return `its page ${next} cannot be read`;
      pieces.push(overflow.subarray(4, 4 + Math.min(rest, room)));
      next = overflow.readUInt32BE(0);
    }
    if (next !== 0) return "its last page is not one";
    this.payload = Buffer.concat(pieces, size);
    return undefined;
  }
}

/** How much of a record stands on its leaf (https://www.sqlite.org/fileformat.html, section 1.6). */
function localBytes(size: number, usable: number, isTable: boolean): number {
  const most = isTable ? usable - 35 : Math.floor(((usable - 12) * 64) / 255) - 23;
  if (size <= most) return size;
  const least = Math.floor(((usable - 12) * 32) / 255) - 23;
  const wanted = least + ((size - least) % (usable - 4));
  return wanted <= most ? wanted : least;
}

const MAX_COLUMNS = 64;
/** Bytes of the values of types 0 to 9; 10 and 11 are never stored. */
const TYPE_BYTES: readonly number[] = [0, 1, 2, 3, 4, 6, 8, 8, 0, 0];
const REAL = 7;
const ONE = 9;

/** Takes records apart: the size of their head, a type for each value, the values. */
export class RecordReader {
  /** Values of the record read last. */
  columns = 0;
  readonly #types = new Float64Array(MAX_COLUMNS);
  readonly #offsets = new Float64Array(MAX_COLUMNS);
  readonly #varint = new VarintReader();
  #record: Buffer = Buffer.alloc(0);

  /** False for bytes that are no record. */
  read(record: Buffer): boolean {
    const varint = this.#varint;
    if (!varint.read(record, 0, record.length)) return false;
    const head = varint.value;
    if (head > record.length || head < varint.at) return false;
    let columns = 0;
    let offset = head;
    let at = varint.at;
    while (at < head) {
      if (columns === MAX_COLUMNS || !varint.read(record, at, head)) return false;
      at = varint.at;
      const type = varint.value;
      if (type === 10 || type === 11) return false;
      this.#types[columns] = type;
      this.#offsets[columns] = offset;
      columns++;
      offset += type < 10 ? TYPE_BYTES[type]! : Math.floor((type - 12) / 2);
      if (offset > record.length) return false;
    }
    this.columns = columns;
    this.#record = record;
    return offset === record.length;
  }

  isNull(column: number): boolean {
    return this.#types[column] === 0;
  }

  isInteger(column: number): boolean {
    const type = this.#types[column]!;
    return type > 0 && type < 10 && type !== REAL;
  }

  isBytes(column: number): boolean {
    return this.#types[column]! >= 12;
  }

  /** True for a text; other byte strings are blobs. */
  isText(column: number): boolean {
    return this.isBytes(column) && this.#types[column]! % 2 === 1;
  }

  /** The bytes of a value that `isBytes`, borrowed. */
  bytes(column: number): Buffer {
    const start = this.#offsets[column]!;
    return this.#record.subarray(start, start + Math.floor((this.#types[column]! - 12) / 2));
  }

  /** A value that `isInteger`. */
  integer(column: number): bigint {
    const type = this.#types[column]!;
    const size = TYPE_BYTES[type]!;
    if (size === 0) return type === ONE ? 1n : 0n;
    const start = this.#offsets[column]!;
    return size === 8 ? this.#record.readBigInt64BE(start) : BigInt(this.#record.readIntBE(start, size));
  }

  /** Sets a field to a value; those behind the last one are NULL (columns that came later). */
  put(column: number, row: FieldRow, field: number): void {
    const type = column < this.columns ? this.#types[column]! : 0;
    if (type === 0) row.setNull(field);
    else if (type >= 12) row.setBytes(field, this.#offsets[column]!, Math.floor((type - 12) / 2));
    else if (type === REAL) row.setOther(field);
    else this.#putInteger(type, this.#offsets[column]!, row, field);
  }

  #putInteger(type: number, start: number, row: FieldRow, field: number): void {
    const record = this.#record;
    const size = TYPE_BYTES[type]!;
    if (size === 0) row.setInteger(field, 0, type === ONE ? 1 : 0);
    else if (size <= 4) {
      const value = record.readIntBE(start, size);
      row.setInteger(field, value >> 31, value);
    } else if (size === 6) row.setInteger(field, record.readInt16BE(start), record.readInt32BE(start + 2));
    else row.setInteger(field, record.readInt32BE(start), record.readInt32BE(start + 4));
  }
}
