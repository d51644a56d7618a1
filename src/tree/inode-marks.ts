import { InodeTable } from "./inode-table.ts";

/** Inodes per page, one byte each. */
const PAGE_BITS = 9;
const PAGE_INODES = 1 << PAGE_BITS;
/** Pages are parts of slabs: one by one they would cost more than what they hold. */
const SLAB_BITS = 7;
const SLAB_PAGES = 1 << SLAB_BITS;

/**
 * Eight marks for every inode: about one byte each where numbers are dense, as in every real volume, and half a kilobyte
 * where they are scattered.
 */
export class InodeMarks {
  readonly #table = new InodeTable();
  /** The pages of inodes from 2^32 on, such as the trash: by upper half, then by page number in the lower one. */
  readonly #others: Map<number, Map<number, number>> = new Map();
  readonly #slabs: Uint8Array[] = [];
  #pages = 0;

  /** Sets marks of an inode, given in halves of 32 bits; returns those that it had before. */
  set(high: number, low: number, marks: number): number {
    let page = high === 0 ? this.#table.find(low) : this.#findOther(high, low);
    if (page < 0) page = this.#addPage(high, low);
    // Shifts, because this is done for every record, and a division of unsigned numbers is one of floating point.
    const slab = this.#slabs[page >> SLAB_BITS]!;
    const at = ((page & (SLAB_PAGES - 1)) << PAGE_BITS) | (low & (PAGE_INODES - 1));
    const before = slab[at]!;
    slab[at] = before | marks;
    return before;
  }

  /** Calls `visit` for every inode with a mark, in no particular order. */
  forEach(visit: (marks: number, inode: () => bigint) => void): void {
    this.#table.forEach((page, first) => {
      this.#visitPage(page, BigInt(first), visit);
    });
    for (const [high, pages] of this.#others) {
      for (const [number, page] of pages) {
        this.#visitPage(page, (BigInt(high) << 32n) + BigInt(number * PAGE_INODES), visit);
      }
    }
  }

  #visitPage(page: number, first: bigint, visit: (marks: number, inode: () => bigint) => void): void {
    const slab = this.#slabs[page >> SLAB_BITS]!;
    const start = (page & (SLAB_PAGES - 1)) << PAGE_BITS;
    for (let slot = 0; slot < PAGE_INODES; slot++) {
      const marks = slab[start + slot]!;
      if (marks !== 0) visit(marks, () => first + BigInt(slot));
    }
  }

  #findOther(high: number, low: number): number {
    return this.#others.get(high)?.get(low >>> PAGE_BITS) ?? -1;
  }

  #addPage(high: number, low: number): number {
    const page = this.#pages++;
    if (page % SLAB_PAGES === 0) this.#slabs.push(new Uint8Array(SLAB_PAGES * PAGE_INODES));
    if (high === 0) {
      this.#table.set(low, page);
      return page;
    }
    let pages = this.#others.get(high);
    if (pages === undefined) {
      pages = new Map();
      this.#others.set(high, pages);
    }
    pages.set(low >>> PAGE_BITS, page);
    return page;
  }
}
