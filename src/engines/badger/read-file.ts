import { readSync } from "node:fs";
import { fileError } from "../../base/file-error.ts";
import { damagedFile } from "./badger-errors.ts";

/** Fills `target[start..end)` from `offset` on. Throws `DataError` where the file ends before, `FileError` for a failing disk. */
export function readExactly(
  descriptor: number,
  path: string,
  offset: number,
  target: Buffer,
  start: number,
  end: number,
): void {
  const count = readUpTo(descriptor, path, offset, target, start, end);
  if (count < end - start)
    throw damagedFile(path, offset + count, `the file ends, ${end - start} bytes from ${offset} on are needed`);
}

/** The same, but gives the number of bytes read, which is smaller only at the end of the file. */
export function readUpTo(
  descriptor: number,
  path: string,
  offset: number,
  target: Buffer,
  start: number,
  end: number,
): number {
  let at = start;
  try {
    while (at < end) {
      const count = readSync(descriptor, target, at, end - at, offset + at - start);
      if (count === 0) break;
      at += count;
    }
  } catch (error) {
    throw fileError("read", path, error);
  }
  return at - start;
}
