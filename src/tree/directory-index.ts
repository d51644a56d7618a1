import type { MemoryBudget } from "./memory-budget.ts";

/** Where the entries of a directory stand in the block store. */
export interface DirectoryBlock {
  readonly address: number;
  readonly end: number;
  /** Position in the index, for `markVisited`. */
  readonly position: number;
}

/**
 * Directory inode → block of entries: 25 bytes per directory that has entries. Filled partition by partition, in any order
 * within one; looked up by binary search in the partition of the key.
 */
export class DirectoryIndex {
  readonly #budget: MemoryBudget;
  readonly #starts: number[] = [0];
  #keys: Float64Array = new Float64Array(1024);
  #addresses: Float64Array = new Float64Array(1024);
  #ends: Float64Array = new Float64Array(1024);
  #visited: Uint8Array = new Uint8Array(1024);
  #count = 0;
  #partition = 0;

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  /** Adds a directory of the current partition; `address` must grow from call to call. */
  add(key: number, address: number): void {
    if (this.#count === this.#keys.length) this.#grow();
    this.#keys[this.#count] = key;
    this.#addresses[this.#count] = address;
    this.#count++;
  }

  /** Ends the current partition; its last block ends at `address`. */
  endPartition(address: number): void {
    this.#sortPartition(this.#starts[this.#partition]!, address);
    this.#partition++;
    this.#starts.push(this.#count);
  }

  /** Looks a directory up by its key and partition. */
  find(key: number, partition: number): DirectoryBlock | undefined {
    const position = this.locate(key, partition);
    return position < 0 ? undefined : this.blockAt(position);
  }

  /** The position of a directory by its key and partition; -1 = it has no entries. */
  locate(key: number, partition: number): number {
    let low = this.#starts[partition]!;
    let high = this.#starts[partition + 1]! - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const found = this.#keys[middle]!;
      if (found === key) return middle;
      if (found < key) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** Directories that have entries: positions 0 to `count` - 1. */
  get count(): number {
    return this.#count;
  }

  blockAt(position: number): DirectoryBlock {
    return { address: this.#addresses[position]!, end: this.#ends[position]!, position };
  }

  keyAt(position: number): number {
    return this.#keys[position]!;
  }

  isVisited(position: number): boolean {
    return (this.#visited[position]! & VISITED) !== 0;
  }

  /** Whether the directory had been visited when `keepVisits` was called. */
  wasVisitedBefore(position: number): boolean {
    return (this.#visited[position]! & VISITED_BEFORE) !== 0;
  }

  /** Remembers what has been visited so far: `forgetVisits` leaves that as it is. */
  keepVisits(): void {
    for (let i = 0; i < this.#count; i++) if (this.isVisited(i)) this.#visited[i]! |= VISITED_BEFORE;
  }

  /** True when the directory had not been visited before. */
  markVisited(position: number): boolean {
    const before = this.#visited[position]!;
    this.#visited[position] = before | VISITED;
    return (before & VISITED) === 0;
  }

  forgetVisits(): void {
    for (let i = 0; i < this.#count; i++) this.#visited[i]! &= ~VISITED;
  }

  /** Blocks that were never visited. */
  *unvisited(): Generator<{ key: number; address: number; end: number }> {
    for (let i = 0; i < this.#count; i++) {
      if (!this.isVisited(i)) yield { key: this.#keys[i]!, address: this.#addresses[i]!, end: this.#ends[i]! };
    }
  }

  #sortPartition(from: number, end: number): void {
    const count = this.#count - from;
    for (let i = from; i < this.#count; i++) this.#ends[i] = i + 1 < this.#count ? this.#addresses[i + 1]! : end;
    const order = Uint32Array.from({ length: count }, (_, i) => i);
    const keys = this.#keys.slice(from, this.#count);
    let sorted = true;
    for (let i = 1; i < count && sorted; i++) sorted = keys[i - 1]! <= keys[i]!;
    if (sorted) return;
    order.sort((a, b) => keys[a]! - keys[b]!);
    const addresses = this.#addresses.slice(from, this.#count);
    const ends = this.#ends.slice(from, this.#count);
    for (let i = 0; i < count; i++) {
      this.#keys[from + i] = keys[order[i]!]!;
      this.#addresses[from + i] = addresses[order[i]!]!;
      this.#ends[from + i] = ends[order[i]!]!;
    }
  }

  #grow(): void {
    const size = this.#keys.length * 2;
    this.#budget.account((size - this.#keys.length) * 25);
    const grow = (old: Float64Array): Float64Array => {
      const grown = new Float64Array(size);
      grown.set(old);
      return grown;
    };
    this.#keys = grow(this.#keys);
    this.#addresses = grow(this.#addresses);
    this.#ends = grow(this.#ends);
    const visited = new Uint8Array(size);
    visited.set(this.#visited);
    this.#visited = visited;
  }
}

/** Marks of a directory. */
const VISITED = 1;
const VISITED_BEFORE = 2;
