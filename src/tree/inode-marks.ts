import { InodeKeys } from "./inode-key.ts";

/** Inodes per page, one byte each. */
const PAGE_INODES = 512;

/**
 * Eight marks for every inode: about one byte each where numbers are dense, as in every real volume, and half a kilobyte
 * where they are scattered.
 */
export class InodeMarks {
  readonly #keys = new InodeKeys();
  readonly #pages: Map<number, Uint8Array> = new Map();
  #lastNumber = -1;
  #lastPage: Uint8Array = new Uint8Array(0);

  /** Sets marks of the inode whose big-endian bytes begin at `at`; returns those that it had before. */
  set(bytes: Buffer, at: number, marks: number): number {
    const key = this.#keys.read(bytes, at);
    const number = Math.floor(key / PAGE_INODES);
    if (number !== this.#lastNumber) this.#turnTo(number);
    const slot = key % PAGE_INODES;
    const before = this.#lastPage[slot]!;
    this.#lastPage[slot] = before | marks;
    return before;
  }

  /** Calls `visit` for every inode with a mark, in no particular order. */
  forEach(visit: (marks: number, inode: () => bigint) => void): void {
    for (const [number, page] of this.#pages) {
      for (let slot = 0; slot < PAGE_INODES; slot++) {
        const marks = page[slot]!;
        if (marks !== 0) visit(marks, () => this.#keys.inodeOf(number * PAGE_INODES + slot));
      }
    }
  }

  #turnTo(number: number): void {
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = new Uint8Array(PAGE_INODES);
      this.#pages.set(number, page);
    }
    this.#lastNumber = number;
    this.#lastPage = page;
  }
}
