import { closeSync, fstatSync, fsync, openSync, readSync, writeSync } from "node:fs";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";
import { DataError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import type { RunStore } from "../../tree/run-merger.ts";
import { readExactly } from "./read-file.ts";

const syncFile = promisify(fsync);
/** Bytes that are checked at a time. */
const CHECK_BYTES = 1024 * 1024;

/** What a run file has to be. */
export interface RunFileContent {
  readonly bytes: number;
  /** CRC-32 of them all. */
  readonly crc32: number;
}

/** A file with one sorted run, that another process can go on with. Throws `FileError`. */
export class RunFile implements RunStore {
  readonly path: string;
  readonly #descriptor: number;
  #length = 0;
  #crc32 = 0;
  #isDurable = false;

  private constructor(path: string, descriptor: number) {
    this.path = path;
    this.#descriptor = descriptor;
  }

  /** Creates the file, which must not exist. */
  static create(path: string): RunFile {
    try {
      return new RunFile(path, openSync(path, "wx+", 0o600));
    } catch (error) {
      throw fileError("write", path, error);
    }
  }

  /** Opens a file that an earlier load has written. Throws `DataError` when it is not what that load has stored. */
  static open(path: string, content: RunFileContent): RunFile {
    let descriptor: number;
    try {
      descriptor = openSync(path, "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") throw damagedRun(path, "it is missing");
      throw fileError("read", path, error);
    }
    try {
      const run = new RunFile(path, descriptor);
      run.#verify(content);
      return run;
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }

  get length(): number {
    return this.#length;
  }

  get content(): RunFileContent {
    return { bytes: this.#length, crc32: this.#crc32 };
  }

  append(bytes: Buffer, start: number, end: number): number {
    const offset = this.#length;
    try {
      for (let at = start; at < end; ) {
        at += writeSync(this.#descriptor, bytes, at, end - at, offset + at - start);
      }
    } catch (error) {
      throw fileError("write", this.path, error);
    }
    this.#crc32 = crc32(bytes.subarray(start, end), this.#crc32);
    this.#length += end - start;
    return offset;
  }

  read(offset: number, target: Buffer, start: number, end: number): void {
    readExactly(this.#descriptor, this.path, offset, target, start, end);
  }

  /** Waits until the bytes are on the disk; the name is not, before the directory is. */
  async sync(): Promise<void> {
    if (this.#isDurable) return;
    try {
      await syncFile(this.#descriptor);
    } catch (error) {
      throw fileError("write", this.path, error);
    }
    this.#isDurable = true;
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #verify({ bytes, crc32: expected }: RunFileContent): void {
    const { size } = fstatSync(this.#descriptor);
    if (size !== bytes) throw damagedRun(this.path, `it has ${size} bytes instead of ${bytes}`);
    const window = Buffer.allocUnsafe(CHECK_BYTES);
    let found = 0;
    for (let at = 0; at < bytes; ) {
      const count = this.#readSome(window, at, Math.min(CHECK_BYTES, bytes - at));
      found = crc32(window.subarray(0, count), found);
      at += count;
    }
    if (found !== expected) throw damagedRun(this.path, `its CRC-32 is ${hex(found)} instead of ${hex(expected)}`);
    this.#length = bytes;
    this.#crc32 = expected;
    this.#isDurable = true;
  }

  #readSome(target: Buffer, offset: number, size: number): number {
    try {
      const count = readSync(this.#descriptor, target, 0, size, offset);
      if (count > 0) return count;
    } catch (error) {
      throw fileError("read", this.path, error);
    }
    throw damagedRun(this.path, `it ends at offset ${offset}`);
  }
}

/** What a load that was cut off has left is not as it was. */
export function damagedRun(path: string, problem: string): DataError {
  return new DataError(
    "DECANT_E_LOAD_REMAINS",
    `Cannot go on with the load: ${path} is not as the load that was cut off has left it, ${problem}`,
    { hint: "Load again with --clean, which removes what that load wrote, and begins again" },
  );
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}
