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
  /** All buffers that are not freed yet. */
  readonly #buffers: Set<Buffer> = new Set();

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
    return this.#free.pop() ?? this.#allocate(PAGE_BYTES);
  }

  returnPage(page: Buffer): void {
    this.#used -= PAGE_BYTES;
    // Pages are kept for the next taker: returning them to the collector and allocating again is what would let the
    // resident size run away, since external memory is freed late.
    this.#free.push(page);
  }

  /** A buffer of another size, which counts until it is given to `free`. */
  takeBuffer(bytes: number): Buffer {
    this.#used += bytes;
    return this.#allocate(bytes);
  }

  /** Ends a buffer of `takeBuffer`: nobody may use it any more. */
  free(buffer: Buffer): void {
    this.#used -= buffer.length;
    this.#buffers.delete(buffer);
    detach(buffer);
  }

  /** Counts memory that is no page: directory tables. */
  account(bytes: number): void {
    this.#used += bytes;
  }

  /** Frees all memory at once: what comes next, such as building the indexes of a database, needs it. */
  close(): void {
    for (const buffer of this.#buffers) detach(buffer);
    this.#buffers.clear();
    this.#free.length = 0;
  }

  #allocate(bytes: number): Buffer {
    const buffer = Buffer.allocUnsafeSlow(bytes);
    this.#buffers.add(buffer);
    return buffer;
  }
}

/** Gives the memory back now: the collector, which does not see how much hangs on a buffer, would take its time. */
function detach(buffer: Buffer): void {
  (buffer.buffer as unknown as { transfer(bytes: number): unknown }).transfer(0);
}
