import { closeSync, fstatSync, openSync } from "node:fs";
import { viewOf } from "../../base/bytes.ts";
import { crc32cOf } from "../../base/crc32c.ts";
import { DataError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import { unsupportedFile } from "./badger-errors.ts";
import { META_TRANSACTION, META_TRANSACTION_END, TRANSACTION_KEY, VERSION_BYTES, versionOf } from "./entry.ts";
import { readUpTo } from "./read-file.ts";
import { readUvarint, uvarintSize } from "./uvarint.ts";

/** Key id and random bytes at the beginning of each log (docs/spec/kv-stores.md §3.3). */
export const LOG_HEADER_BYTES = 20;

const WINDOW_BYTES = 1024 * 1024;
/** The block in which a log ends, and what a file system needs for itself. */
const SPARE_BYTES = 64 * 1024;
/** meta, userMeta and three numbers of up to ten bytes. */
const MAX_HEAD_BYTES = 32;
/** A longer key ends the log, as it does for the reference. */
const MAX_KEY_BYTES = 65536;

/** A record of a log, in a window that moves on with the next one. */
export interface LogRecord {
  bytes: Buffer;
  meta: number;
  expiresAt: number;
  /** The user key is `bytes[keyStart..keyStart + keySize)`, its version stands behind it. */
  keyStart: number;
  keySize: number;
  /** The value is `bytes[valueStart..valueEnd)`; the checksum behind it is right. */
  valueStart: number;
  valueEnd: number;
}

/** A memtable log that was looked through. */
export interface LogExtent {
  /** Behind the last record that counts. */
  readonly end: number;
  /** The largest ts of them. */
  readonly maxVersion: bigint;
  /** True when there are only zero bytes behind `end`, or nothing: more can be written there. */
  readonly isClean: boolean;
}

/** Reads a log record by record. Close it. */
export class LogReader {
  readonly path: string;
  readonly record: LogRecord = {
    bytes: Buffer.alloc(0),
    meta: 0,
    expiresAt: 0,
    keyStart: 0,
    keySize: 0,
    valueStart: 0,
    valueEnd: 0,
  };
  /** Where the next record begins. */
  offset: number = LOG_HEADER_BYTES;
  readonly #descriptor: number;
  readonly #fileSize: number;
  readonly #allocatedBytes: number;
  #window: Buffer;
  #view: DataView;
  #windowOffset = 0;
  #filled = 0;
  #at = 0;

  private constructor(path: string, descriptor: number) {
    this.path = path;
    this.#descriptor = descriptor;
    const { size, blocks } = fstatSync(descriptor);
    this.#fileSize = size;
    this.#allocatedBytes = blocks * 512;
    this.#window = Buffer.allocUnsafeSlow(Math.max(LOG_HEADER_BYTES, Math.min(WINDOW_BYTES, this.#fileSize)));
    this.#view = viewOf(this.#window);
  }

  /** Throws `FileError`, and `DataError` for an encrypted log. */
  static open(path: string): LogReader {
    let descriptor: number;
    try {
      descriptor = openSync(path, "r");
    } catch (error) {
      throw fileError("read", path, error);
    }
    const reader = new LogReader(path, descriptor);
    try {
      // a log without a whole header was just being made
      if (reader.#fill(0, LOG_HEADER_BYTES) && reader.#window.readBigUInt64BE(0) !== 0n) {
        throw unsupportedFile(path, "the log is encrypted");
      }
      return reader;
    } catch (error) {
      reader.close();
      throw error;
    }
  }

  /** Goes on to the next record; false at the end of the log, and at what is no record. */
  next(): boolean {
    const headBytes = Math.min(MAX_HEAD_BYTES, this.#fileSize - this.offset);
    if (headBytes < 6 || !this.#fill(this.offset, headBytes)) return false;
    const head = this.offset - this.#windowOffset;
    this.#at = head + 2;
    const storedKey = this.#readNumber(head + headBytes);
    if (storedKey <= VERSION_BYTES || storedKey > MAX_KEY_BYTES) return false;
    const valueSize = this.#readNumber(head + headBytes);
    const expiresAt = this.#readNumber(head + headBytes);
    if (valueSize < 0 || expiresAt < 0) return false;
    const headSize = this.#at - head;
    const size = headSize + storedKey + valueSize + 4;
    if (size > this.#fileSize - this.offset || !this.#fill(this.offset, size)) return false;
    const bytes = this.#window;
    const start = this.offset - this.#windowOffset;
    const end = start + size;
    if (crc32cOf(this.#view, start, end - 4) !== this.#view.getUint32(end - 4)) return false;
    const { record } = this;
    record.bytes = bytes;
    record.meta = bytes[start]!;
    record.expiresAt = expiresAt;
    record.keyStart = start + headSize;
    record.keySize = storedKey - VERSION_BYTES;
    record.valueStart = record.keyStart + storedKey;
    record.valueEnd = end - 4;
    this.offset += size;
    return true;
  }

  /** The version behind the key of the record: upper and lower half. */
  get versionHigh(): number {
    return this.#view.getUint32(this.record.keyStart + this.record.keySize);
  }

  get versionLow(): number {
    return this.#view.getUint32(this.record.keyStart + this.record.keySize + 4);
  }

  /** The window as numbers. */
  get view(): DataView {
    return this.#view;
  }

  /**
   * What `look` gives for the bytes from `offset` to the end of the file, in pieces, or as far as a file has blocks; stops with the
   * first that is not undefined.
   */
  scanRest<T>(offset: number, look: (bytes: Buffer, offset: number) => T | undefined): T | undefined {
    const buffer = Buffer.allocUnsafeSlow(WINDOW_BYTES);
    const end = this.#isSparseFrom(offset) ? offset + 2 * SPARE_BYTES : this.#fileSize;
    for (let at = offset; at < end; at += WINDOW_BYTES) {
      const count = readUpTo(this.#descriptor, this.path, at, buffer, 0, Math.min(WINDOW_BYTES, end - at));
      const found = look(buffer.subarray(0, count), at);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /**
   * True when the file has no blocks for what follows `offset`, but for the first few: the reference gives its logs 128 MiB, of which it never writes most,
   * and reading all that takes longer than reading a small volume.
   */
  #isSparseFrom(offset: number): boolean {
    return this.#fileSize - offset > WINDOW_BYTES && this.#allocatedBytes <= offset + SPARE_BYTES;
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  /** The number at `#at`, which goes behind it; -1 when it does not end before `end`. */
  #readNumber(end: number): number {
    const digits = uvarintSize(this.#window, this.#at, end);
    if (digits === 0) return -1;
    const number = readUvarint(this.#window, this.#at, digits);
    this.#at += digits;
    return number;
  }

  /** Makes `size` bytes from `offset` on stand in the window; false when the file ends before. */
  #fill(offset: number, size: number): boolean {
    const held = this.#windowOffset + this.#filled - offset;
    if (held >= size) return true;
    const length = Math.max(WINDOW_BYTES, size);
    const window = this.#window.length >= size ? this.#window : Buffer.allocUnsafeSlow(length);
    const kept = Math.max(0, held);
    if (kept > 0) this.#window.copy(window, 0, offset - this.#windowOffset, this.#filled);
    if (window !== this.#window) this.#view = viewOf(window);
    this.#window = window;
    this.#windowOffset = offset;
    this.#filled = kept + readUpTo(this.#descriptor, this.path, offset + kept, window, kept, window.length);
    return this.#filled >= size;
  }
}

/**
 * Finds what counts in a memtable log: whole transactions, up to the first thing that is none (docs/spec/kv-stores.md §3.3). A
 * transaction that was not finished when its client died is left out, as clients do; when whole ones stand behind the gap, the
 * file is damaged, and clients would drop them too: `DataError`.
 */
export function measureLog(path: string): LogExtent {
  const reader = LogReader.open(path);
  try {
    const { record } = reader;
    let end = reader.offset;
    let newest = versionOf(0n);
    // the transaction that has begun and not ended
    let isOpen = false;
    let openHigh = 0;
    let openLow = 0;
    while (reader.next()) {
      const { versionHigh, versionLow } = reader;
      if (record.meta & META_TRANSACTION) {
        if (isOpen && (versionHigh !== openHigh || versionLow !== openLow)) break;
        isOpen = true;
        openHigh = versionHigh;
        openLow = versionLow;
        continue;
      }
      const isEnd = (record.meta & META_TRANSACTION_END) !== 0;
      if (isOpen !== isEnd) break;
      const version = (BigInt(versionHigh) << 32n) | BigInt(versionLow);
      if (isEnd && !endsTransaction(record, (BigInt(openHigh) << 32n) | BigInt(openLow))) break;
      isOpen = false;
      end = reader.offset;
      if (version < newest) newest = version; // versions count down
    }
    return { end, maxVersion: versionOf(newest), isClean: isUnused(reader, end) };
  } finally {
    reader.close();
  }
}

/** The value of an end record is the ts in decimal. */
function endsTransaction({ bytes, valueStart, valueEnd }: LogRecord, version: bigint): boolean {
  return bytes.toString("latin1", valueStart, valueEnd) === String(versionOf(version));
}

function isUnused(reader: LogReader, end: number): boolean {
  const lost = reader.scanRest(end, (bytes, offset) => {
    if (isZero(bytes)) return undefined;
    const at = bytes.indexOf(TRANSACTION_KEY);
    return at < 0 ? -1 : offset + at;
  });
  if (lost === undefined) return true;
  if (hasTransactionBehind(reader, end)) {
    throw new DataError(
      "DECANT_E_BADGER_DAMAGED",
      `${reader.path} is damaged at offset ${end}: there is no whole transaction, but others stand behind it`,
      {
        location: { offset: end },
        hint: "Clients drop all that stands behind it when they open the directory. To go on without it, copy the directory, then let a client open it once",
      },
    );
  }
  return false;
}

/** A whole end record somewhere behind `end`, with a right checksum. */
function hasTransactionBehind(reader: LogReader, end: number): boolean {
  // the head of an end record: meta, userMeta, key size, value size, expiresAt
  const headBytes = 5;
  let from = end;
  for (;;) {
    const found = reader.scanRest(from, (bytes, offset) => {
      const at = bytes.indexOf(TRANSACTION_KEY);
      return at < 0 ? undefined : offset + at;
    });
    if (found === undefined) return false;
    reader.offset = found - headBytes;
    if (reader.offset > end && reader.next() && reader.record.meta & META_TRANSACTION_END) return true;
    from = found + 1;
  }
}

/** At most as many bytes as `scanRest` gives at one time. */
export function isZero(bytes: Buffer): boolean {
  return ZEROS.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}

const ZEROS = Buffer.alloc(WINDOW_BYTES);
