import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { DataError } from "../../../base/errors.ts";

/** `SQLite format 3\0`, then u16 page size (1 = 65536); at 20 u8 bytes that each page leaves free at its end. */
const MAGIC: Buffer = Buffer.from("SQLite format 3\0", "latin1");
const HEADER_BYTES = 100;
const PAGE_SIZE_AT = 16;
const RESERVED_AT = 20;
const PAGE_COUNT_AT = 28;
const FREE_LIST_AT = 32;
const FREE_COUNT_AT = 36;

/**
 * The pages of a database file as they are, numbered from 1; nobody changes the file meanwhile. The format:
 * https://www.sqlite.org/fileformat.html. Close it in any case.
 */
export class DatabaseImage {
  /** For messages: the file of the volume, also where a copy of it is read. */
  readonly path: string;
  readonly pageBytes: number;
  /** Bytes of a page that are used. */
  readonly usableBytes: number;
  /** Whole pages that the file has. */
  readonly pages: number;
  /** Pages that it should have; 0 where it does not say. */
  readonly pagesBySelf: number;
  readonly #file: number;
  readonly #header: Buffer;

  /** Throws `DataError` for a file whose head is not that of a database. */
  static open(file: string, path: string): DatabaseImage {
    const descriptor = openSync(file, "r");
    try {
      return new DatabaseImage(descriptor, path);
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }

  private constructor(file: number, path: string) {
    this.#file = file;
    this.path = path;
    const header = Buffer.alloc(HEADER_BYTES);
    const size = readSync(file, header, 0, HEADER_BYTES, 0);
    const stated = size < HEADER_BYTES ? 0 : header.readUInt16BE(PAGE_SIZE_AT);
    this.pageBytes = stated === 1 ? 65536 : stated;
    this.usableBytes = this.pageBytes - header[RESERVED_AT]!;
    const isPower = (this.pageBytes & (this.pageBytes - 1)) === 0;
    if (!header.subarray(0, MAGIC.length).equals(MAGIC) || !isPower || this.pageBytes < 512 || this.usableBytes < 480) {
      throw new DataError(
        "DECANT_E_NOT_A_DATABASE",
        `Cannot read ${path}: its first bytes are not those of a database`,
        {
          location: { offset: 0 },
          hint: "Check the path. Of a database whose first page is destroyed, sqlite3 FILE .recover may still find something",
        },
      );
    }
    this.#header = header;
    this.pages = Math.floor(fstatSync(file).size / this.pageBytes);
    this.pagesBySelf = header.readUInt32BE(PAGE_COUNT_AT);
  }

  /** A page, undefined where it is not in the file or the disk does not give it. */
  readPage(number: number): Buffer | undefined {
    if (number < 1 || number > this.pages) return undefined;
    const page = Buffer.allocUnsafeSlow(this.pageBytes);
    try {
      const size = readSync(this.#file, page, 0, this.pageBytes, (number - 1) * this.pageBytes);
      return size === this.pageBytes ? page : undefined;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EIO") return undefined;
      throw error;
    }
  }

  /**
   * The pages that belong to nothing. Undefined when their list cannot be followed: then nobody knows whether a page is one that
   * was given up, with rows that were deleted. A trunk page: u32 next one, u32 count, count × u32 page.
   */
  readFreePages(): PageSet | undefined {
    const free = new PageSet(this.pages);
    let count = 0;
    for (let trunk = this.#header.readUInt32BE(FREE_LIST_AT); trunk !== 0; ) {
      const page = this.readPage(trunk);
      if (page === undefined || !free.add(trunk)) return undefined;
      const leaves = page.readUInt32BE(4);
      if (leaves > this.usableBytes / 4 - 2) return undefined;
      for (let i = 0; i < leaves; i++) {
        const leaf = page.readUInt32BE(8 + 4 * i);
        if (leaf < 2 || leaf > this.pages || !free.add(leaf)) return undefined;
      }
      count += leaves + 1;
      trunk = page.readUInt32BE(0);
    }
    return count === this.#header.readUInt32BE(FREE_COUNT_AT) ? free : undefined;
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** A set of page numbers, one bit each. */
export class PageSet {
  readonly #bits: Uint8Array;

  constructor(pages: number) {
    this.#bits = new Uint8Array((pages >>> 3) + 1);
  }

  has(page: number): boolean {
    return (this.#bits[page >>> 3]! & (1 << (page & 7))) !== 0;
  }

  /** False when it was there already. */
  add(page: number): boolean {
    if (this.has(page)) return false;
    this.#bits[page >>> 3]! |= 1 << (page & 7);
    return true;
  }
}
