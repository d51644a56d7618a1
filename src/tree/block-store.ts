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
  /** Where the part in the file begins; Infinity while all is in memory. */
  #fileStart = Number.POSITIVE_INFINITY;
  #fileBase = 0;
  #tail: Buffer = Buffer.alloc(0);
  #tailUsed = 0;
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
    while (at < end && this.#fileStart === Number.POSITIVE_INFINITY) {
      const used = this.#length % PAGE_BYTES;
      if (used === 0 && !this.#addPage()) break;
      const page = this.#pages[this.#pages.length - 1]!;
      const size = Math.min(end - at, PAGE_BYTES - used);
      bytes.copy(page, used, at, at + size);
      at += size;
      this.#length += size;
    }
    if (at < end) this.#appendToTail(bytes, at, end);
    return address;
  }

  /** Copies `size` bytes from `address` to the beginning of `target`. */
  read(address: number, target: Buffer, size: number): void {
    let done = 0;
    while (done < size && address + done < this.#fileStart) {
      const from = address + done;
      const page = this.#pages[Math.floor(from / PAGE_BYTES)]!;
      const offset = from % PAGE_BYTES;
      const count = Math.min(size - done, PAGE_BYTES - offset, this.#fileStart - from);
      page.copy(target, done, offset, offset + count);
      done += count;
    }
    if (done === size) return;
    const flushed = this.#fileStart + this.#spilled;
    if (address + done < flushed) {
      const count = Math.min(size - done, flushed - address - done);
      this.#spill.read(this.#fileBase + address + done - this.#fileStart, target, done, done + count);
      done += count;
    }
    if (done < size) this.#tail.copy(target, done, address + done - flushed, address + size - flushed);
  }

  /** Bytes of the file part that are in the file; the rest of it is in `#tail`. */
  #spilled = 0;

  #addPage(): boolean {
    if (this.#pages.length * PAGE_BYTES + PAGE_BYTES > this.#memoryLimit || !this.#budget.hasRoom(PAGE_BYTES)) {
      this.#fileStart = this.#length;
      this.#fileBase = this.#spill.length;
      this.#tail = Buffer.allocUnsafeSlow(TAIL_BYTES);
      return false;
    }
    this.#pages.push(this.#budget.takePage());
    return true;
  }

  #appendToTail(bytes: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end) {
      const size = Math.min(end - at, TAIL_BYTES - this.#tailUsed);
      bytes.copy(this.#tail, this.#tailUsed, at, at + size);
      this.#tailUsed += size;
      at += size;
      if (this.#tailUsed === TAIL_BYTES) {
        this.#spill.append(this.#tail, 0, TAIL_BYTES);
        this.#spilled += TAIL_BYTES;
        this.#tailUsed = 0;
      }
    }
    this.#length += end - start;
  }
}

const TAIL_BYTES = 256 * 1024;
