import { viewOf } from "../../base/bytes.ts";
import { damagedFile } from "./badger-errors.ts";
import { checkSum } from "./checksum.ts";
import { compareKeys, VERSION_BYTES } from "./entry.ts";
import { readExactly } from "./read-file.ts";

/** Fields of the index, which is a FlatBuffer (docs/spec/kv-stores.md §3.5). */
const FIELD_OFFSETS = 0;
const FIELD_MAX_VERSION = 2;
const FIELD_KEY_COUNT = 3;
const BLOCK_KEY = 0;
const BLOCK_OFFSET = 1;
const BLOCK_LENGTH = 2;

/** A block without compression has no more than an entry of 4 GiB; what is read at once is checked against the file. */
const MAX_CHECKSUM_BYTES = 64;

/** A block of a table that has no index. */
export interface FoundBlock {
  readonly firstKey: Buffer;
  readonly offset: number;
  /** Stored bytes. */
  readonly size: number;
}

/**
 * The index of a table: where its blocks are and with which key each begins. Positions in the bytes are checked when it is
 * opened, so that whoever asks needs not.
 */
export class TableIndex {
  readonly blockCount: number;
  /** The largest ts in the table. */
  readonly maxVersion: bigint;
  /** Entries of the table, all versions counted. */
  readonly keyCount: number;
  readonly #bytes: Buffer;
  /** Per block: start of its first key in the bytes, size without version, offset in the file, stored size. */
  readonly #blocks: Uint32Array;

  private constructor(bytes: Buffer, blocks: Uint32Array, maxVersion: bigint, keyCount: number) {
    this.#bytes = bytes;
    this.#blocks = blocks;
    this.blockCount = blocks.length / 4;
    this.maxVersion = maxVersion;
    this.keyCount = keyCount;
  }

  /** Reads and checks the index of a table file. Throws `DataError`, `FileError`. */
  static read(descriptor: number, path: string, fileSize: number): TableIndex {
    const { start, bytes } = readIndexBytes(descriptor, path, fileSize);
    return TableIndex.decode(bytes, path, start);
  }

  /** Decodes an index that stands at `fileOffset` of its file, behind all blocks. Throws `DataError`. */
  static decode(bytes: Buffer, path: string, fileOffset: number): TableIndex {
    const fail = (at: number, problem: string): never => {
      throw damagedFile(path, fileOffset + at, `the index of the table ${problem}`);
    };
    const flat = new FlatBuffer(bytes, fail);
    const root = flat.follow(0);
    const [list, count] = flat.vector(root, FIELD_OFFSETS, 4);
    if (count === 0) fail(root, "lists no blocks");
    const blocks = new Uint32Array(count * 4);
    for (let i = 0; i < count; i++) {
      const table = flat.follow(list + i * 4);
      const [key, size] = flat.vector(table, BLOCK_KEY, 1);
      const offset = flat.uint32(table, BLOCK_OFFSET);
      const length = flat.uint32(table, BLOCK_LENGTH);
      if (size <= VERSION_BYTES) fail(table, `gives block ${i} a key of ${size} bytes`);
      if (offset + length > fileOffset) fail(table, `gives block ${i} ${length} bytes at ${offset}, behind the blocks`);
      blocks.set([key, size - VERSION_BYTES, offset, length], i * 4);
    }
    return new TableIndex(bytes, blocks, flat.uint64(root, FIELD_MAX_VERSION), flat.uint32(root, FIELD_KEY_COUNT));
  }

  /** The index of blocks that were found without one: their first keys, without versions. Throws nothing. */
  static ofBlocks(blocks: readonly FoundBlock[]): TableIndex {
    const places = new Uint32Array(blocks.length * 4);
    let at = 0;
    for (const [i, { firstKey, offset, size }] of blocks.entries()) {
      places.set([at, firstKey.length, offset, size], i * 4);
      at += firstKey.length;
    }
    return new TableIndex(Buffer.concat(blocks.map(({ firstKey }) => firstKey)), places, 0n, 0);
  }

  /** Memory that it takes. */
  get bytes(): number {
    return this.#bytes.length + this.#blocks.byteLength;
  }

  offset(block: number): number {
    return this.#blocks[block * 4 + 2]!;
  }

  /** Stored bytes of a block. */
  size(block: number): number {
    return this.#blocks[block * 4 + 3]!;
  }

  /** The first user key of a block; a view. */
  firstKey(block: number): Buffer {
    const start = this.#blocks[block * 4]!;
    return this.#bytes.subarray(start, start + this.#blocks[block * 4 + 1]!);
  }

  /** The last block that begins with a key before `key`; -1 when there is none. */
  lastBefore(key: Uint8Array): number {
    let low = 0;
    let high = this.blockCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = middle * 4;
      const order = compareKeys(this.#bytes, this.#blocks[at]!, this.#blocks[at + 1]!, key, 0, key.length);
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

function readIndexBytes(descriptor: number, path: string, fileSize: number): { start: number; bytes: Buffer } {
  if (fileSize < 12) throw damagedFile(path, fileSize, "it is too short for a table");
  const word = Buffer.alloc(4);
  readExactly(descriptor, path, fileSize - 4, word, 0, 4);
  const checksumSize = word.readUInt32BE(0);
  const checksumAt = fileSize - 4 - checksumSize;
  if (checksumSize > MAX_CHECKSUM_BYTES || checksumAt < 4) {
    throw damagedFile(path, fileSize - 4, `the checksum of its index cannot have ${checksumSize} bytes`);
  }
  readExactly(descriptor, path, checksumAt - 4, word, 0, 4);
  const size = word.readUInt32BE(0);
  const start = checksumAt - 4 - size;
  if (start < 0) throw damagedFile(path, checksumAt - 4, `its index cannot have ${size} bytes`);
  const all = Buffer.allocUnsafeSlow(size + 4 + checksumSize);
  readExactly(descriptor, path, start, all, 0, all.length);
  const bytes = all.subarray(0, size);
  const checked = checkSum(all, viewOf(all), size, size + 4, all.length);
  if (checked === undefined) throw damagedFile(path, checksumAt, "the checksum of its index has an unknown form");
  if (!checked) throw damagedFile(path, start, "the checksum of its index is wrong");
  return { start, bytes };
}

/** The few kinds of reading that the index needs, each checked. Offsets are forward and unsigned, but for that of a vtable. */
class FlatBuffer {
  readonly #bytes: Buffer;
  readonly #fail: (at: number, problem: string) => never;

  constructor(bytes: Buffer, fail: (at: number, problem: string) => never) {
    this.#bytes = bytes;
    this.#fail = fail;
  }

  /** Where the offset at `at` leads. */
  follow(at: number): number {
    return at + this.#word(at);
  }

  uint32(table: number, field: number): number {
    const at = this.#field(table, field);
    return at === 0 ? 0 : this.#word(at);
  }

  uint64(table: number, field: number): bigint {
    const at = this.#field(table, field);
    if (at === 0) return 0n;
    this.#check(at, 8);
    return this.#bytes.readBigUInt64LE(at);
  }

  /** Start and number of elements; an absent vector is empty. */
  vector(table: number, field: number, elementBytes: number): [start: number, count: number] {
    const at = this.#field(table, field);
    if (at === 0) return [0, 0];
    const start = this.follow(at) + 4;
    const count = this.#word(start - 4);
    this.#check(start, count * elementBytes);
    return [start, count];
  }

  /** Position of a field; 0 where it is absent. */
  #field(table: number, field: number): number {
    this.#check(table, 4);
    const vtable = table - this.#bytes.readInt32LE(table);
    this.#check(vtable, 4);
    const entry = 4 + field * 2;
    if (entry + 2 > this.#bytes.readUInt16LE(vtable)) return 0;
    this.#check(vtable + entry, 2);
    const offset = this.#bytes.readUInt16LE(vtable + entry);
    return offset === 0 ? 0 : table + offset;
  }

  #word(at: number): number {
    this.#check(at, 4);
    return this.#bytes.readUInt32LE(at);
  }

  #check(at: number, size: number): void {
    if (at < 0 || at + size > this.#bytes.length) this.#fail(Math.max(0, at), "points outside of itself");
  }
}
