import { randomBytes } from "node:crypto";
import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { errorText, FileError } from "../base/errors.ts";
import { PAGE_BYTES } from "./memory-budget.ts";

/**
 * A nameless file for what does not fit below the memory ceiling. It is created when it is first needed and unlinked at
 * once, so that it is gone whatever happens to the process. Pages that were read for the last time are written again: one
 * file serves all stores of an index, and is little larger than what it holds at one time. Calls are synchronous: they end
 * in the page cache, and the sorters around them could not go on without the answer.
 */
export class SpillFile {
  readonly #directory: string;
  #descriptor = -1;
  #length = 0;
  /** Offsets of pages that may be written again. */
  readonly #freePages: number[] = [];

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Where `append` writes next. */
  get length(): number {
    return this.#length;
  }

  /** Appends `bytes[start..end)` and returns the offset at which they stand. Throws `FileError`. */
  append(bytes: Buffer, start: number, end: number): number {
    const offset = this.#length;
    this.#write(bytes, start, end, offset);
    this.#length = offset + end - start;
    return offset;
  }

  /** Writes the first `size` bytes of a page of PAGE_BYTES and returns the offset at which they stand. Throws `FileError`. */
  writePage(page: Buffer, size: number): number {
    const free = this.#freePages.pop();
    const offset = free ?? this.#length;
    this.#write(page, 0, size, offset);
    if (free === undefined) this.#length += PAGE_BYTES;
    return offset;
  }

  /** Gives the place of a page back. */
  freePage(offset: number): void {
    this.#freePages.push(offset);
  }

  #write(bytes: Buffer, start: number, end: number, offset: number): void {
    try {
      if (this.#descriptor < 0) this.#open();
      let at = start;
      while (at < end) at += writeSync(this.#descriptor, bytes, at, end - at, offset + at - start);
    } catch (error) {
      throw new FileError(
        "DECANT_E_SPILL",
        `Cannot write a temporary file in ${this.#directory}: ${errorText(error)}`,
        {
          cause: error,
          hint: "Free some space there, choose another directory with --tmp-dir, or give the index more memory with --max-memory",
        },
      );
    }
  }

  /** Fills `target[start..end)` from `offset`. Throws `FileError`. */
  read(offset: number, target: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end) {
      const count = readSync(this.#descriptor, target, at, end - at, offset + at - start);
      if (count === 0) {
        throw new FileError(
          "DECANT_E_SPILL",
          `A temporary file in ${this.#directory} is shorter than what was written`,
        );
      }
      at += count;
    }
  }

  close(): void {
    if (this.#descriptor >= 0) closeSync(this.#descriptor);
    this.#descriptor = -1;
  }

  #open(): void {
    const path = join(this.#directory, `decant-${process.pid}-${randomBytes(6).toString("hex")}.spill`);
    this.#descriptor = openSync(path, "wx+", 0o600);
    unlinkSync(path);
  }
}
