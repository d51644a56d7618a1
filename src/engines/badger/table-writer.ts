import { closeSync, fsync, openSync, writeSync } from "node:fs";
import { promisify } from "node:util";
import { viewOf } from "../../base/bytes.ts";
import { crc32c, crc32cOf } from "../../base/crc32c.ts";
import { fileError } from "../../base/file-error.ts";
import { bloomHash, buildBloomFilter } from "./bloom-filter.ts";
import { VERSION_BYTES, versionOf } from "./entry.ts";
import { IndexWriter } from "./index-writer.ts";
import { writeUvarint } from "./uvarint.ts";

/** A block is closed before it would exceed this, trailer included; a single larger entry is a block of its own. */
const BLOCK_BYTES = 4096;
/** Head of an entry, meta, userMeta, expiresAt; offset of the entry. */
const ENTRY_BYTES = 4 + 3 + 4;
/** Number of entries, checksum of up to six bytes, its size. */
const TRAILER_BYTES = 14;
const BUFFER_BYTES = 1024 * 1024;

const syncFile = promisify(fsync);

/**
 * Writes one table without compression, all keys of one version (docs/spec/kv-stores.md §3.5). Keys have to come in ascending
 * order, each once. Throws `FileError`.
 */
export class TableWriter {
  readonly path: string;
  readonly #descriptor: number;
  readonly #ts: bigint;
  readonly #version: Buffer = Buffer.alloc(VERSION_BYTES);
  readonly #index = new IndexWriter();
  #hashes: Uint32Array = new Uint32Array(65536);
  #keyCount = 0;
  /** What is not in the file yet; the block at hand begins at `#block`. */
  #buffer: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #view: DataView = viewOf(this.#buffer);
  #used = 0;
  #block = 0;
  #fileBytes = 0;
  readonly #offsets: number[] = [];
  #isOpen = true;

  /** Creates the file, which must not exist. */
  constructor(path: string, ts: bigint) {
    this.path = path;
    this.#ts = ts;
    this.#version.writeBigUInt64BE(versionOf(ts));
    try {
      this.#descriptor = openSync(path, "wx", 0o600);
    } catch (error) {
      throw fileError("write", path, error);
    }
  }

  /** Bytes of the table so far, without its index. */
  get length(): number {
    return this.#fileBytes + this.#used;
  }

  /** Adds the pair with the key `bytes[keyStart..valueStart)` and the value `bytes[valueStart..valueEnd)`. */
  add(bytes: Buffer, keyStart: number, valueStart: number, valueEnd: number): void {
    const keySize = valueStart - keyStart;
    const size = ENTRY_BYTES + keySize + VERSION_BYTES + valueEnd - valueStart;
    const blockBytes = this.#used - this.#block + this.#offsets.length * 4 + TRAILER_BYTES;
    if (this.#offsets.length > 0 && blockBytes + size > BLOCK_BYTES) this.#endBlock();
    if (this.#used + size + BLOCK_BYTES > this.#buffer.length) this.#makeRoom(size + BLOCK_BYTES);
    if (this.#keyCount === this.#hashes.length) this.#growHashes();
    this.#hashes[this.#keyCount++] = bloomHash(bytes, keyStart, keySize);
    this.#writeEntry(bytes, keyStart, valueStart, valueEnd);
  }

  /** Completes the file and makes it durable. */
  async finish(): Promise<void> {
    this.#endBlock();
    const index = this.#index.finish({
      bloomFilter: buildBloomFilter(this.#hashes.subarray(0, this.#keyCount)),
      maxVersion: this.#ts,
      keyCount: this.#keyCount,
      uncompressedBytes: this.length,
      blockBytes: this.length,
    });
    this.#flush();
    this.#write(index, index.length);
    const foot = Buffer.alloc(TRAILER_BYTES);
    foot.writeUInt32BE(index.length, 0);
    this.#write(foot, writeChecksum(foot, 4, crc32c(index)));
    try {
      await syncFile(this.#descriptor);
    } catch (error) {
      throw fileError("write", this.path, error);
    } finally {
      this.close();
    }
  }

  /** Closes the file, complete or not. */
  close(): void {
    if (this.#isOpen) closeSync(this.#descriptor);
    this.#isOpen = false;
  }

  /** Entry: overlap with the first key of the block u16 LE, size of the rest u16 LE, rest, version, meta, userMeta, 0, value. */
  #writeEntry(bytes: Buffer, keyStart: number, valueStart: number, valueEnd: number): void {
    const buffer = this.#buffer;
    const start = this.#used;
    const keySize = valueStart - keyStart;
    let overlap = 0;
    if (this.#offsets.length > 0) {
      const base = this.#block + 4;
      const limit = Math.min(keySize, buffer[base - 2]! | (buffer[base - 1]! << 8));
      while (overlap < limit && buffer[base + overlap] === bytes[keyStart + overlap]) overlap++;
    }
    const rest = keySize - overlap + VERSION_BYTES;
    this.#offsets.push(start - this.#block);
    buffer[start] = overlap;
    buffer[start + 1] = overlap >>> 8;
    buffer[start + 2] = rest;
    buffer[start + 3] = rest >>> 8;
    let at = start + 4;
    for (let i = keyStart + overlap; i < valueStart; i++) buffer[at++] = bytes[i]!;
    for (let i = 0; i < VERSION_BYTES; i++) buffer[at++] = this.#version[i]!;
    buffer[at++] = 0;
    buffer[at++] = 0;
    buffer[at++] = 0;
    if (valueEnd - valueStart > 128) {
      bytes.copy(buffer, at, valueStart, valueEnd);
      at += valueEnd - valueStart;
    } else for (let i = valueStart; i < valueEnd; i++) buffer[at++] = bytes[i]!;
    this.#used = at;
  }

  /** Behind the entries: their offsets u32 LE, their number u32 BE, checksum of all that, its size u32 BE. */
  #endBlock(): void {
    const buffer = this.#buffer;
    const start = this.#block;
    let at = this.#used;
    for (const offset of this.#offsets) {
      buffer[at] = offset;
      buffer[at + 1] = offset >>> 8;
      buffer[at + 2] = offset >>> 16;
      buffer[at + 3] = offset >>> 24;
      at += 4;
    }
    at = buffer.writeUInt32BE(this.#offsets.length, at);
    at = writeChecksum(buffer, at, crc32cOf(this.#view, start, at));
    const keySize = buffer.readUInt16LE(start + 2);
    this.#index.addBlock(buffer, start + 4, start + 4 + keySize, this.#fileBytes + start, at - start);
    this.#used = at;
    this.#block = at;
    this.#offsets.length = 0;
  }

  /** Writes out whole blocks, and grows the buffer where one entry needs it. */
  #makeRoom(size: number): void {
    const held = this.#used - this.#block;
    const buffer = this.#buffer;
    this.#write(buffer, this.#block);
    if (held + size > buffer.length) {
      this.#buffer = Buffer.allocUnsafeSlow(held + size);
      this.#view = viewOf(this.#buffer);
    }
    buffer.copy(this.#buffer, 0, this.#block, this.#used);
    this.#used = held;
    this.#block = 0;
  }

  #flush(): void {
    this.#write(this.#buffer, this.#used);
    this.#used = 0;
    this.#block = 0;
  }

  #write(bytes: Buffer, size: number): void {
    try {
      for (let at = 0; at < size; ) at += writeSync(this.#descriptor, bytes, at, size - at);
    } catch (error) {
      throw fileError("write", this.path, error);
    }
    this.#fileBytes += size;
  }

  #growHashes(): void {
    const grown = new Uint32Array(this.#hashes.length * 2);
    grown.set(this.#hashes);
    this.#hashes = grown;
  }
}

/** `10 <uvarint>` and its size, u32 BE; CRC-32C is the algorithm 0, which is left out. Returns the offset behind it. */
function writeChecksum(target: Buffer, at: number, sum: number): number {
  target[at] = 0x10;
  const end = writeUvarint(target, at + 1, sum);
  return target.writeUInt32BE(end - at, end);
}
