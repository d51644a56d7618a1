/** Pages per part of the table. */
const PART_PAGES = 65_536;

/**
 * Which page belongs to 512 neighbouring inodes below 2^32, in two look-ups: inodes come in random order in what a client
 * dumps from Redis, so this is asked for every record. Parts of the table, 256 KB for 33 million inodes, are made when needed.
 */
export class InodeTable {
  /** Page + 1, 0 = none. */
  readonly #parts: (Uint32Array | undefined)[] = [];

  /** The page of the inode, -1 = none. */
  find(low: number): number {
    const part = this.#parts[low >>> 25];
    return part === undefined ? -1 : part[(low >>> 9) & (PART_PAGES - 1)]! - 1;
  }

  set(low: number, page: number): void {
    const at = low >>> 25;
    while (at >= this.#parts.length) this.#parts.push(undefined);
    let part = this.#parts[at];
    if (part === undefined) {
      part = new Uint32Array(PART_PAGES);
      this.#parts[at] = part;
    }
    part[(low >>> 9) & (PART_PAGES - 1)] = page + 1;
  }

  /** Calls `visit` for every page, with the first of its inodes, in ascending order. */
  forEach(visit: (page: number, firstInode: number) => void): void {
    this.#parts.forEach((part, at) => {
      if (part === undefined) return;
      for (let i = 0; i < PART_PAGES; i++) if (part[i] !== 0) visit(part[i]! - 1, (at * PART_PAGES + i) * 512);
    });
  }
}
