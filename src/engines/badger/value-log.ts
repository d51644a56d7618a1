import { closeSync, fstatSync, openSync } from "node:fs";
import { join } from "node:path";
import { crc32c } from "../../base/crc32c.ts";
import { fileError } from "../../base/file-error.ts";
import { damagedFile, unsupportedFile } from "./badger-errors.ts";
import { type EntryCursor, VERSION_BYTES } from "./entry.ts";
import { LOG_HEADER_BYTES } from "./log-reader.ts";
import { readExactly } from "./read-file.ts";
import { readUvarint, uvarintSize } from "./uvarint.ts";

/** File id, length and offset, u32 little-endian each (docs/spec/kv-stores.md §3.3). */
const POINTER_BYTES = 12;
const KEPT_FILES = 8;

/** Values of a megabyte and more, which stand in files of their own. */
export class ValueLog {
  readonly #directory: string;
  /** Least recently used first. */
  readonly #files: Map<number, { descriptor: number; size: number; path: string }> = new Map();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The value to which the entry of a cursor points. Throws `DataError` where no record of its key is there. */
  read(entry: EntryCursor): Buffer {
    const { source, valueStart, valueEnd } = entry;
    if (valueEnd - valueStart !== POINTER_BYTES) {
      const { path, offset } = entry.place();
      throw damagedFile(path, offset, `a pointer into the value log has ${valueEnd - valueStart} bytes`);
    }
    const length = source.readUInt32LE(valueStart + 4);
    const offset = source.readUInt32LE(valueStart + 8);
    const { descriptor, size, path } = this.#open(source.readUInt32LE(valueStart));
    if (offset + length > size) {
      throw damagedFile(path, offset, `a record of ${length} bytes should stand there, the file has ${size}`);
    }
    const bytes = Buffer.allocUnsafeSlow(length);
    readExactly(descriptor, path, offset, bytes, 0, length);
    return recordValue(bytes, entry, path, offset);
  }

  close(): void {
    for (const { descriptor } of this.#files.values()) closeSync(descriptor);
    this.#files.clear();
  }

  #open(id: number): { descriptor: number; size: number; path: string } {
    let file = this.#files.get(id);
    if (file === undefined) {
      const path = join(this.#directory, `${String(id).padStart(6, "0")}.vlog`);
      file = openLog(path);
      if (this.#files.size === KEPT_FILES) {
        const [oldest, { descriptor }] = this.#files.entries().next().value!;
        closeSync(descriptor);
        this.#files.delete(oldest);
      }
    } else this.#files.delete(id);
    this.#files.set(id, file);
    return file;
  }
}

function openLog(path: string): { descriptor: number; size: number; path: string } {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      throw damagedFile(path, 0, "a value should stand in this file, but there is no such file");
    }
    throw fileError("read", path, error);
  }
  try {
    const header = Buffer.alloc(LOG_HEADER_BYTES);
    readExactly(descriptor, path, 0, header, 0, header.length);
    if (header.readBigUInt64BE(0) !== 0n) throw unsupportedFile(path, "the value log is encrypted");
    return { descriptor, size: fstatSync(descriptor).size, path };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/** Checks a record, of which a pointer gives place and size, and takes the value out of it. */
function recordValue(record: Buffer, entry: EntryCursor, path: string, offset: number): Buffer {
  const end = record.length - 4;
  if (end < 0 || crc32c(record.subarray(0, end)) !== record.readUInt32BE(end)) {
    throw damagedFile(path, offset, "the checksum of the value there is wrong");
  }
  let at = 2;
  const sizes: number[] = [];
  for (let i = 0; i < 3; i++) {
    const digits = uvarintSize(record, at, end);
    sizes.push(readUvarint(record, at, digits));
    at += digits;
  }
  const keySize = sizes[0]! - VERSION_BYTES;
  const start = at + sizes[0]!;
  const { key, keyStart } = entry;
  const isOurs = keySize === entry.keySize && record.compare(key, keyStart, keyStart + keySize, at, at + keySize) === 0;
  if (!isOurs || start + sizes[1]! !== end) throw damagedFile(path, offset, "the value there is not that of its key");
  return record.subarray(start, end);
}
