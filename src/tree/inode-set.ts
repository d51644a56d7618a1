import { InodeKeys } from "./inode-key.ts";
import { InodeTable } from "./inode-table.ts";

/** Inodes per page, one bit each. */
const PAGE_INODES = 512;
const PAGE_WORDS = PAGE_INODES / 32;

/**
 * A set of inodes: one bit per inode in pages of 64 bytes, so about 0.16 bytes per inode where numbers are dense, as in
 * every real volume (16 MB for 100 million), and 80 bytes per inode where they are scattered.
 */
export class InodeSet {
  readonly #keys: InodeKeys;
  /** Positions of the pages of inodes below 2^32. */
  readonly #table = new InodeTable();
  /** Those of the others. Open addressing: page number → position of the page. */
  #numbers: Float64Array = new Float64Array(1024).fill(-1);
  #positions: Uint32Array = new Uint32Array(1024);
  #pages: Uint32Array = new Uint32Array(1024 * PAGE_WORDS);
  #count = 0;
  /** Pages by number. */
  #numbered = 0;

  constructor(keys: InodeKeys = new InodeKeys()) {
    this.#keys = keys;
  }

  /** Adds the inode whose big-endian bytes begin at `at`; true when it was in the set before. */
  add(bytes: Buffer, at: number): boolean {
    return this.addNumber(bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4));
  }

  /** Adds an inode, given in halves of 32 bits; true when it was in the set before. */
  addNumber(high: number, low: number): boolean {
    let position = high === 0 ? this.#table.find(low) : -1;
    let within = low & (PAGE_INODES - 1);
    if (position < 0) {
      const key = this.#keys.ofNumber(high, low);
      within = key % PAGE_INODES;
      position = this.#page(high, low, Math.floor(key / PAGE_INODES));
    }
    const word = position * PAGE_WORDS + (within >> 5);
    const bit = 1 << (within & 31);
    const before = this.#pages[word]!;
    this.#pages[word] = before | bit;
    return (before & bit) !== 0;
  }

  has(bytes: Buffer, at: number): boolean {
    const high = bytes.readUInt32BE(at);
    const low = bytes.readUInt32BE(at + 4);
    let position = -1;
    let within = low & (PAGE_INODES - 1);
    if (high === 0) {
      position = this.#table.find(low);
    } else {
      const key = this.#keys.ofNumber(high, low);
      within = key % PAGE_INODES;
      const slot = this.#slot(Math.floor(key / PAGE_INODES));
      if (this.#numbers[slot] !== -1) position = this.#positions[slot]!;
    }
    return position >= 0 && (this.#pages[position * PAGE_WORDS + (within >> 5)]! & (1 << (within & 31))) !== 0;
  }

  /** Position of a page, which is made when it is not there. */
  #page(high: number, low: number, number: number): number {
    if (high === 0) {
      this.#table.set(low, this.#count);
      return this.#append();
    }
    let slot = this.#slot(number);
    if (this.#numbers[slot] !== -1) return this.#positions[slot]!;
    if (this.#numbered * 2 >= this.#numbers.length) {
      this.#growTable();
      slot = this.#slot(number);
    }
    this.#numbers[slot] = number;
    this.#positions[slot] = this.#count;
    this.#numbered++;
    return this.#append();
  }

  #append(): number {
    if ((this.#count + 1) * PAGE_WORDS > this.#pages.length) {
      const pages = new Uint32Array(this.#pages.length * 2);
      pages.set(this.#pages);
      this.#pages = pages;
    }
    return this.#count++;
  }

  #slot(number: number): number {
    const mask = this.#numbers.length - 1;
    // Page numbers are dense or arbitrary up to 2^44: mix both halves.
    const mixed = Math.imul((number / 0x1_0000_0000) | 0, 0x85eb_ca6b) ^ Math.imul(number | 0, 0x9e37_79b1);
    let slot = (mixed ^ (mixed >>> 15)) & mask;
    while (this.#numbers[slot] !== -1 && this.#numbers[slot] !== number) slot = (slot + 1) & mask;
    return slot;
  }

  #growTable(): void {
    const numbers = this.#numbers;
    const positions = this.#positions;
    this.#numbers = new Float64Array(numbers.length * 2).fill(-1);
    this.#positions = new Uint32Array(numbers.length * 2);
    for (let i = 0; i < numbers.length; i++) {
      if (numbers[i] === -1) continue;
      const slot = this.#slot(numbers[i]!);
      this.#numbers[slot] = numbers[i]!;
      this.#positions[slot] = positions[i]!;
    }
  }
}
