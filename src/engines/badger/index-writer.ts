import { ByteWriter } from "../../base/bytes.ts";

/** What the index says of the table as a whole. */
export interface TableTotals {
  readonly bloomFilter: Buffer;
  readonly maxVersion: bigint;
  readonly keyCount: number;
  /** Raw blocks with their trailers. */
  readonly uncompressedBytes: number;
  /** Stored blocks; the index is added. */
  readonly blockBytes: number;
}

/** One vtable for the root, and one that all blocks share; sizes and offsets of the fields, u16 little-endian. */
const ROOT_VTABLE: readonly number[] = [18, 40, 4, 8, 16, 24, 28, 32, 36];
const ROOT_VTABLE_AT = 4;
const ROOT_AT = 24;
const ROOT_END: number = ROOT_AT + 40;
const BLOCK_VTABLE: readonly number[] = [10, 16, 4, 8, 12];
const BLOCK_VTABLE_BYTES = 12;
const BLOCK_BYTES = 16;

/**
 * The index of a table, a FlatBuffer written from front to back (docs/spec/kv-stores.md §3.5): root, list of blocks, vtable of
 * blocks, blocks with their keys, filter. The 64-bit number stands at a multiple of eight.
 */
export class IndexWriter {
  readonly #keys = new ByteWriter(64 * 1024);
  /** Per block: end of its key in `#keys`, offset in the file, stored size. */
  readonly #blocks: number[] = [];

  get blockCount(): number {
    return this.#blocks.length / 3;
  }

  /** `key` is borrowed, with the version. */
  addBlock(key: Buffer, keyStart: number, keyEnd: number, offset: number, size: number): void {
    this.#keys.writeSlice(key, keyStart, keyEnd);
    this.#blocks.push(this.#keys.length, offset, size);
  }

  finish(totals: TableTotals): Buffer {
    const count = this.blockCount;
    const list = ROOT_END + 4;
    const vtable = list + count * 4;
    let at = vtable + BLOCK_VTABLE_BYTES;
    let keyStart = 0;
    let size = at;
    for (let i = 0; i < count; i++) {
      const keyEnd = this.#blocks[i * 3]!;
      size += BLOCK_BYTES + 4 + padded(keyEnd - keyStart);
      keyStart = keyEnd;
    }
    const filterAt = size;
    size += 4 + padded(totals.bloomFilter.length);
    const bytes = Buffer.alloc(size);
    writeRoot(bytes, totals, filterAt);
    bytes.writeUInt32LE(count, ROOT_END);
    writeWords(bytes, vtable, BLOCK_VTABLE);
    keyStart = 0;
    for (let i = 0; i < count; i++) {
      const [keyEnd, offset, stored] = [this.#blocks[i * 3]!, this.#blocks[i * 3 + 1]!, this.#blocks[i * 3 + 2]!];
      bytes.writeUInt32LE(at - (list + i * 4), list + i * 4);
      bytes.writeInt32LE(at - vtable, at);
      bytes.writeUInt32LE(BLOCK_BYTES - 4, at + 4); // the key follows its table
      bytes.writeUInt32LE(offset, at + 8);
      bytes.writeUInt32LE(stored, at + 12);
      bytes.writeUInt32LE(keyEnd - keyStart, at + BLOCK_BYTES);
      this.#keys.buffer.copy(bytes, at + BLOCK_BYTES + 4, keyStart, keyEnd);
      at += BLOCK_BYTES + 4 + padded(keyEnd - keyStart);
      keyStart = keyEnd;
    }
    bytes.writeUInt32LE(totals.bloomFilter.length, filterAt);
    totals.bloomFilter.copy(bytes, filterAt + 4);
    return bytes;
  }
}

function writeRoot(bytes: Buffer, totals: TableTotals, filterAt: number): void {
  bytes.writeUInt32LE(ROOT_AT, 0);
  writeWords(bytes, ROOT_VTABLE_AT, ROOT_VTABLE);
  bytes.writeInt32LE(ROOT_AT - ROOT_VTABLE_AT, ROOT_AT);
  bytes.writeUInt32LE(ROOT_END - (ROOT_AT + 4), ROOT_AT + 4);
  bytes.writeUInt32LE(filterAt - (ROOT_AT + 8), ROOT_AT + 8);
  bytes.writeBigUInt64LE(totals.maxVersion, ROOT_AT + 16);
  bytes.writeUInt32LE(totals.keyCount, ROOT_AT + 24);
  bytes.writeUInt32LE(totals.uncompressedBytes, ROOT_AT + 28);
  bytes.writeUInt32LE(totals.blockBytes + bytes.length, ROOT_AT + 32);
}

function writeWords(bytes: Buffer, at: number, words: readonly number[]): void {
  for (const [i, word] of words.entries()) bytes.writeUInt16LE(word, at + i * 2);
}

function padded(size: number): number {
  return (size + 3) & ~3;
}
