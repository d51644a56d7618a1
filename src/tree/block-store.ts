import { type MemoryBudget, PAGE_BYTES } from "./memory-budget.ts";
import type { SpillFile } from "./spill-file.ts";

/**
 * An append-only byte space with random reading: what comes first stays in memory as long as the budget has room, the rest
 * goes to the spill file. Addresses are offsets from 0.
 */
export class BlockStore {
  readonly #budget: MemoryBudget;
  readonly #spill: SpillFile;
  /** Pages 0..n-1 in memory. */
  readonly #pages: Buffer[] = [];
  #length = 0;
  /** The first page that is in the file, or in `#tail`; Infinity while all are in memory. */
  #firstFilePage = Number.POSITIVE_INFINITY;
  /** Where the pages from there on stand in the file. */
  readonly #filePages: number[] = [];
  /** The last page, which goes to the file when it is full. */
  #tail: Buffer = Buffer.alloc(0);
  /** The share of the budget that memory pages may take: sorting still needs the rest. */
  readonly #memoryLimit: number;

  constructor(budget: MemoryBudget, spill: SpillFile, memoryLimit: number) {
    this.#budget = budget;
    this.#spill = spill;
    this.#memoryLimit = memoryLimit;
  }

  get length(): number {
    return this.#length;
  }

  /** Appends `bytes[start..end)`; returns its address. */
  append(bytes: Buffer, start: number, end: number): number {
    const address = this.#length;
    let at = start;
    while (at < end) {
      const used = this.#length % PAGE_BYTES;
      const page = used === 0 ? this.#startPage() : this.#lastPage();
      const size = Math.min(end - at, PAGE_BYTES - used);
      bytes.copy(page, used, at, at + size);
      at += size;
      this.#length += size;
    }
    return address;
  }

  /** Copies `size` bytes from `address` to the beginning of `target`. */
  read(address: number, target: Buffer, size: number): void {
    for (let done = 0; done < size; ) {
      const number = Math.floor((address + done) / PAGE_BYTES);
      const offset = (address + done) % PAGE_BYTES;
      const count = Math.min(size - done, PAGE_BYTES - offset);
      const filePage = this.#filePages[number - this.#firstFilePage];
      if (filePage !== undefined) this.#spill.read(filePage + offset, target, done, done + count);
      else (this.#pages[number] ?? this.#tail).copy(target, done, offset, offset + count);
      done += count;
    }
  }

  #lastPage(): Buffer {
    return this.#firstFilePage === Number.POSITIVE_INFINITY ? this.#pages[this.#pages.length - 1]! : this.#tail;
  }

  #startPage(): Buffer {
    if (this.#firstFilePage !== Number.POSITIVE_INFINITY) {
      this.#filePages.push(this.#spill.writePage(this.#tail, PAGE_BYTES));
      return this.#tail;
    }
    if (this.#pages.length * PAGE_BYTES + PAGE_BYTES > this.#memoryLimit || !this.#budget.hasRoom(PAGE_BYTES)) {
      this.#firstFilePage = this.#pages.length;
      this.#tail = Buffer.allocUnsafeSlow(PAGE_BYTES);
      return this.#tail;
    }
    const page = this.#budget.takePage();
    this.#pages.push(page);
    return page;
  }
}
