import { InternalError } from "../base/errors.ts";
import { FileType } from "../volume/file-type.ts";
import { ENTRY_INODE, ENTRY_TYPE } from "../volume/tree-item.ts";
import type { DirectoryIndex } from "./directory-index.ts";
import type { EntryScanner } from "./entry-scanner.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { ENTRIES_PER_TURN } from "./reach.ts";

export interface CutDirectoriesOptions {
  readonly index: DirectoryIndex;
  readonly scanner: EntryScanner;
  readonly budget: MemoryBudget;
  /** Whether the directory at a position has an entry anywhere. */
  readonly isNamed: (position: number) => boolean;
  readonly locate: (bytes: Buffer, at: number) => number;
}

const NONE = -1;

/**
 * Which of the directories that are not visited stands in which other one: four bytes for each in the index. Where a damaged volume
 * names one in several, the first is taken.
 */
export class CutDirectories {
  readonly #options: CutDirectoriesOptions;
  readonly #parents: Int32Array;

  constructor(options: CutDirectoriesOptions) {
    this.#options = options;
    options.budget.account(options.index.count * 4);
    this.#parents = new Int32Array(options.index.count).fill(NONE);
  }

  end(): void {
    this.#options.budget.account(this.#parents.length * -4);
  }

  /** Reads the entries of the directories. Gives others a chance to run whenever it yields. */
  *build(): Generator<void> {
    const { index, scanner, isNamed, locate } = this.#options;
    let entries = 0;
    for (let parent = 0; parent < index.count; parent++) {
      if (index.isVisited(parent) || !isNamed(parent)) continue;
      scanner.open(index.blockAt(parent));
      while (scanner.next()) {
        if (++entries % ENTRIES_PER_TURN === 0) yield;
        if (scanner.bytes[scanner.at + ENTRY_TYPE] !== FileType.directory) continue;
        const child = locate(scanner.bytes, scanner.at + ENTRY_INODE);
        if (child >= 0 && !index.isVisited(child) && this.#parents[child] === NONE) this.#parents[child] = parent;
      }
    }
  }

  /** Whether the directory stands in none of the others. */
  isTop(position: number): boolean {
    return this.#parents[position] === NONE;
  }

  /** The directory with the lowest inode in the circle above the one at `position`: there is one when all tops are visited. */
  lowestOfCircle(position: number, inodeAt: (position: number) => bigint): number {
    const start = this.#inCircle(position);
    let lowest = start;
    for (let at = this.#parentOf(start); at !== start; at = this.#parentOf(at)) {
      if (inodeAt(at) < inodeAt(lowest)) lowest = at;
    }
    return lowest;
  }

  /** Follows the parents until one comes again (Brent): the steps between two looks double, so no list of them is needed. */
  #inCircle(position: number): number {
    let known = position;
    let at = this.#parentOf(position);
    for (let steps = 1, limit = 2; at !== known; steps++) {
      if (steps === limit) {
        known = at;
        limit *= 2;
        steps = 0;
      }
      at = this.#parentOf(at);
    }
    return at;
  }

  #parentOf(position: number): number {
    const parent = this.#parents[position]!;
    if (parent !== NONE) return parent;
    throw new InternalError("DECANT_E_TREE", "A directory that nothing reaches stands in no other one");
  }

  /** Brings the scanner to the entry of a directory in its parent. */
  findEntry(position: number): void {
    const { index, scanner, locate } = this.#options;
    scanner.open(index.blockAt(this.#parentOf(position)));
    while (scanner.next()) {
      if (scanner.bytes[scanner.at + ENTRY_TYPE] !== FileType.directory) continue;
      if (locate(scanner.bytes, scanner.at + ENTRY_INODE) === position) return;
    }
    throw new InternalError("DECANT_E_TREE", "A directory does not have the entry that was read in it before");
  }
}
