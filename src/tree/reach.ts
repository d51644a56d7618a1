import { FileType } from "../volume/file-type.ts";
import { ENTRY_INODE, ENTRY_TYPE } from "../volume/tree-item.ts";
import type { DirectoryIndex } from "./directory-index.ts";
import type { EntryScanner } from "./entry-scanner.ts";

/** A growing list of positions in the index: four bytes for each. */
export class PositionList {
  #positions = new Uint32Array(256);
  count = 0;

  push(position: number): void {
    if (this.count === this.#positions.length) {
      const grown = new Uint32Array(this.count * 2);
      grown.set(this.#positions);
      this.#positions = grown;
    }
    this.#positions[this.count++] = position;
  }

  pop(): number {
    return this.#positions[--this.count]!;
  }

  at(i: number): number {
    return this.#positions[i]!;
  }
}

/** So many entries are looked at between two chances for others to run. */
export const ENTRIES_PER_TURN = 65_536;

/** Marks directories as visited that can be reached from one. */
export class Reach {
  readonly #index: DirectoryIndex;
  readonly #scanner: EntryScanner;
  readonly #locate: (bytes: Buffer, at: number) => number;
  readonly #waiting = new PositionList();
  #entries = 0;

  /** `locate`: the position of the directory whose inode stands at `bytes[at..)`, or -1. */
  constructor(index: DirectoryIndex, scanner: EntryScanner, locate: (bytes: Buffer, at: number) => number) {
    this.#index = index;
    this.#scanner = scanner;
    this.#locate = locate;
  }

  /** From the directory at a position, which is marked too. Gives others a chance to run whenever it yields. */
  *from(position: number): Generator<void> {
    this.#visit(position);
    const scanner = this.#scanner;
    while (this.#waiting.count > 0) {
      scanner.open(this.#index.blockAt(this.#waiting.pop()));
      while (scanner.next()) {
        if (scanner.bytes[scanner.at + ENTRY_TYPE] === FileType.directory) {
          this.#visit(this.#locate(scanner.bytes, scanner.at + ENTRY_INODE));
        }
        if (++this.#entries % ENTRIES_PER_TURN === 0) yield;
      }
    }
  }

  #visit(position: number): void {
    if (position >= 0 && this.#index.markVisited(position)) this.#waiting.push(position);
  }
}
