/** Pages of small numbers, those of the first 67 million inodes, are found in a table, others by hash. */
const TABLE_PAGES = 131_072;

/**
 * Which numbers were met already, exactly, in little memory: SCAN and HSCAN may return a key or field more than once
 * while a table is resized (docs/spec/redis.md §12.2). Bits live in pages of 64 bytes that are made when they are first
 * needed; inodes are handed out in blocks, so a page is mostly full and a set of n inodes takes about n / 8 bytes.
 */
export class SeenSet {
  /** Page + 1 by its number, 0 = none. */
  #table: Uint32Array<ArrayBuffer>;
  /** The same by hash, 0 = free. */
  #slots: Int32Array<ArrayBuffer>;
  /** Three words of page key per page. */
  #keys: Uint32Array<ArrayBuffer>;
  #bits: Uint32Array<ArrayBuffer>;
  #pages = 0;
  #hashed = 0;

  /** `pages`: room to begin with, a power of two. */
  constructor(pages: number = 512) {
    this.#table = new Uint32Array(2 * pages);
    this.#slots = new Int32Array(2 * pages);
    this.#keys = new Uint32Array(3 * pages);
    this.#bits = new Uint32Array(16 * pages);
  }

  /** Number of pages, for `visitPage` and `visitChunkPage`. */
  get pages(): number {
    return this.#pages;
  }

  /** Bytes that it takes. */
  get bytes(): number {
    return (this.#table.length + this.#slots.length + this.#keys.length + this.#bits.length) * 4;
  }

  /** Calls `visit` with each inode of a page, of a set that was filled by `add`. */
  visitPage(page: number, visit: (hi: number, lo: number) => void): void {
    const [a, b] = [this.#keys[page * 3]!, this.#keys[page * 3 + 1]!];
    this.#visitBits(page, (bit) => visit(a, ((b << 9) | bit) >>> 0));
  }

  /** The same for a set that was filled by `addChunk`. */
  visitChunkPage(page: number, visit: (hi: number, lo: number, index: number) => void): void {
    const [a, b, c] = [this.#keys[page * 3]!, this.#keys[page * 3 + 1]!, this.#keys[page * 3 + 2]!];
    this.#visitBits(page, (bit) => visit(a, ((b << 4) | (bit >>> 5)) >>> 0, ((c << 5) | (bit & 31)) >>> 0));
  }

  #visitBits(page: number, visit: (bit: number) => void): void {
    for (let word = 0; word < 16; word++) {
      for (let rest = this.#bits[page * 16 + word]!; rest !== 0; rest &= rest - 1) {
        visit(word * 32 + 31 - Math.clz32(rest & -rest));
      }
    }
  }

  /** Adds an inode; false when it was there. */
  add(hi: number, lo: number): boolean {
    return this.#set(hi, lo >>> 9, 0, lo & 511);
  }

  has(hi: number, lo: number): boolean {
    const page = this.#find(hi, lo >>> 9, 0);
    return page >= 0 && (this.#bits[page * 16 + ((lo & 511) >>> 5)]! & (1 << (lo & 31))) !== 0;
  }

  hasChunk(hi: number, lo: number, index: number): boolean {
    const page = this.#find(hi, lo >>> 4, index >>> 5);
    const bit = ((lo & 15) << 5) | (index & 31);
    return page >= 0 && (this.#bits[page * 16 + (bit >>> 5)]! & (1 << (bit & 31))) !== 0;
  }

  /**
   * Adds a chunk. A page holds 32 indexes of 16 neighbouring inodes, which suits one huge file as well as many of a few
   * chunks each. Do not mix with `add` in one set.
   */
  addChunk(hi: number, lo: number, index: number): boolean {
    return this.#set(hi, lo >>> 4, index >>> 5, ((lo & 15) << 5) | (index & 31));
  }

  #set(a: number, b: number, c: number, bit: number): boolean {
    let page = this.#find(a, b, c);
    if (page < 0) page = this.#append(a, b, c);
    const word = page * 16 + (bit >>> 5);
    const mask = 1 << (bit & 31);
    const old = this.#bits[word]!;
    if ((old & mask) !== 0) return false;
    this.#bits[word] = old | mask;
    return true;
  }

  #find(a: number, b: number, c: number): number {
    if (isInTable(a, b, c)) return b < this.#table.length ? this.#table[b]! - 1 : -1;
    const keys = this.#keys;
    const mask = this.#slots.length - 1;
    let slot = hash(a, b, c) & mask;
    for (;;) {
      const page = this.#slots[slot]! - 1;
      if (page < 0) return -1;
      if (keys[page * 3 + 1] === b && keys[page * 3] === a && keys[page * 3 + 2] === c) return page;
      slot = (slot + 1) & mask;
    }
  }

  #append(a: number, b: number, c: number): number {
    const page = this.#pages++;
    if (page * 3 === this.#keys.length) {
      this.#keys = grow(this.#keys);
      this.#bits = grow(this.#bits);
    }
    this.#keys.set([a, b, c], page * 3);
    if (isInTable(a, b, c)) {
      while (b >= this.#table.length) this.#table = grow(this.#table);
      this.#table[b] = page + 1;
      return page;
    }
    this.#hashed++;
    if (this.#hashed * 2 > this.#slots.length) {
      this.#slots = new Int32Array(this.#slots.length * 2);
      for (let i = 0; i < page; i++) this.#link(i);
    }
    this.#link(page);
    return page;
  }

  #link(page: number): void {
    const [a, b, c] = [this.#keys[page * 3]!, this.#keys[page * 3 + 1]!, this.#keys[page * 3 + 2]!];
    if (isInTable(a, b, c)) return;
    const mask = this.#slots.length - 1;
    let slot = hash(a, b, c) & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = page + 1;
  }
}

function isInTable(a: number, b: number, c: number): boolean {
  return a === 0 && c === 0 && b < TABLE_PAGES;
}

function hash(a: number, b: number, c: number): number {
  let h = Math.imul(b ^ Math.imul(a, 0x9e3779b1), 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return h ^ (h >>> 13);
}

function grow(array: Uint32Array): Uint32Array<ArrayBuffer> {
  const grown = new Uint32Array(array.length * 2);
  grown.set(array);
  return grown;
}
