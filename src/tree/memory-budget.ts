/** Size of the pages that stores are made of. */
export const PAGE_BYTES: number = 64 * 1024;

/**
 * The memory ceiling of one record index, shared by all its stores: pages that one of them gives back serve the next.
 * Taking a page beyond the ceiling is allowed (a store that cannot spill any more must go on); asking first is the duty of
 * the stores.
 */
export class MemoryBudget {
  readonly limit: number;
  #used = 0;
  readonly #free: Buffer[] = [];

  constructor(limit: number) {
    this.limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  /** True when `bytes` more would stay below the ceiling. */
  hasRoom(bytes: number): boolean {
    return this.#used + bytes <= this.limit;
  }

  /** A page of PAGE_BYTES with undefined content. */
  takePage(): Buffer {
    this.#used += PAGE_BYTES;
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(PAGE_BYTES);
  }

  returnPage(page: Buffer): void {
    this.#used -= PAGE_BYTES;
    // Pages are kept for the next taker: returning them to the collector and allocating again is what would let the
    // resident size run away, since external memory is freed late.
    this.#free.push(page);
  }

  /** Counts memory that is no page: directory tables, large records. */
  account(bytes: number): void {
    this.#used += bytes;
  }
}
