import { InodeKeys } from "./inode-key.ts";

/** Inodes per page, one bit each. */
const PAGE_INODES = 512;
const PAGE_WORDS = PAGE_INODES / 32;

/**
 * A set of inodes: one bit per inode in pages of 64 bytes, so about 0.16 bytes per inode where numbers are dense, as in
 * every real volume (16 MB for 100 million), and 80 bytes per inode where they are scattered.
 */
export class InodeSet {
  readonly #keys: InodeKeys;
  /** Open addressing: page number → position of the page. */
  #numbers: Float64Array = new Float64Array(1024).fill(-1);
  #positions: Uint32Array = new Uint32Array(1024);
  #pages: Uint32Array = new Uint32Array(1024 * PAGE_WORDS);
  #count = 0;
  #lastNumber = -1;
  #lastPosition = 0;

  constructor(keys: InodeKeys = new InodeKeys()) {
    this.#keys = keys;
  }

  /** Adds the inode whose big-endian bytes begin at `at`; true when it was in the set before. */
  add(bytes: Buffer, at: number): boolean {
    const key = this.#keys.read(bytes, at);
    const word = this.#page(Math.floor(key / PAGE_INODES)) + Math.floor((key % PAGE_INODES) / 32);
    const bit = 1 << (key % 32);
    const before = this.#pages[word]!;
    this.#pages[word] = before | bit;
    return (before & bit) !== 0;
  }

  has(bytes: Buffer, at: number): boolean {
    const key = this.#keys.read(bytes, at);
    const slot = this.#slot(Math.floor(key / PAGE_INODES));
    if (this.#numbers[slot] === -1) return false;
    const word = this.#positions[slot]! * PAGE_WORDS + Math.floor((key % PAGE_INODES) / 32);
    return (this.#pages[word]! & (1 << (key % 32))) !== 0;
  }

  /** First word of a page, which is made when it is not there. */
  #page(number: number): number {
    if (number === this.#lastNumber) return this.#lastPosition * PAGE_WORDS;
    let slot = this.#slot(number);
    if (this.#numbers[slot] === -1) {
      if (this.#count * 2 >= this.#numbers.length) {
        this.#grow();
        slot = this.#slot(number);
      }
      this.#numbers[slot] = number;
      this.#positions[slot] = this.#count++;
    }
    this.#lastNumber = number;
    this.#lastPosition = this.#positions[slot]!;
    return this.#lastPosition * PAGE_WORDS;
  }

  #slot(number: number): number {
    const mask = this.#numbers.length - 1;
    // Page numbers are dense or arbitrary up to 2^44: mix both halves.
    const mixed = Math.imul((number / 0x1_0000_0000) | 0, 0x85eb_ca6b) ^ Math.imul(number | 0, 0x9e37_79b1);
    let slot = (mixed ^ (mixed >>> 15)) & mask;
    while (this.#numbers[slot] !== -1 && this.#numbers[slot] !== number) slot = (slot + 1) & mask;
    return slot;
  }

  #grow(): void {
    const numbers = this.#numbers;
    const positions = this.#positions;
    this.#numbers = new Float64Array(numbers.length * 2).fill(-1);
    this.#positions = new Uint32Array(numbers.length * 2);
    const pages = new Uint32Array(numbers.length * PAGE_WORDS * 2);
    pages.set(this.#pages);
    this.#pages = pages;
    for (let i = 0; i < numbers.length; i++) {
      if (numbers[i] === -1) continue;
      const slot = this.#slot(numbers[i]!);
      this.#numbers[slot] = numbers[i]!;
      this.#positions[slot] = positions[i]!;
    }
  }
}
