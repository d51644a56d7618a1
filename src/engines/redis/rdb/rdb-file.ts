import { type FileHandle, open } from "node:fs/promises";
import { EngineError, FileError, fileReason, NotFoundError } from "../../../base/errors.ts";
import type { ByteSource } from "./rdb-window.ts";

/** An RDB file on disk, which is read in passes. It stays the same file when another one takes its name meanwhile. */
export class RdbFile {
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #size: number;
  readonly #modifiedMs: number;

  private constructor(path: string, handle: FileHandle, size: number, modifiedMs: number) {
    this.path = path;
    this.#handle = handle;
    this.#size = size;
    this.#modifiedMs = modifiedMs;
  }

  get modifiedAt(): Date {
    return new Date(this.#modifiedMs);
  }

  /** Throws `NotFoundError`, or `FileError` for what cannot be read. */
  static async open(path: string): Promise<RdbFile> {
    const handle = await openFile(path);
    try {
      const found = await handle.stat();
      if (!found.isFile()) {
        throw new EngineError("DECANT_E_OPEN_DATABASE", `${path} is no file`, {
          hint: "rdb:// takes the file that Redis writes, usually dump.rdb; a stream has to be stored first",
        });
      }
      return new RdbFile(path, handle, found.size, found.mtimeMs);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Begins to read the file from its beginning, or from `from` on. Throws `EngineError` when it is not what it was when it was opened. */
  async beginPass(signal: AbortSignal, from: number = 0): Promise<ByteSource> {
    await this.#assertSame();
    let offset = from;
    return {
      name: this.path,
      totalBytes: this.#size,
      read: async (target, start, end) => {
        signal.throwIfAborted();
        const count = await this.#read(target, start, end, offset);
        offset += count;
        if (count === 0) await this.#assertSame();
        return count;
      },
    };
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #read(target: Buffer, start: number, end: number, offset: number): Promise<number> {
    try {
      const { bytesRead } = await this.#handle.read(target, start, end - start, offset);
      return bytesRead;
    } catch (cause) {
      throw new FileError("DECANT_E_FILE", `Cannot read ${this.path} at byte ${offset}: ${fileReason(cause)}`, {
        cause,
      });
    }
  }

  async #assertSame(): Promise<void> {
    const { size, mtimeMs } = await this.#handle.stat();
    if (size === this.#size && mtimeMs === this.#modifiedMs) return;
    throw new EngineError("DECANT_E_RDB_CHANGED", `${this.path} changed while it was read`, {
      retryable: true,
      hint: "Try again when nobody writes it, or copy it first",
    });
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") {
      throw new NotFoundError("DECANT_E_NO_DATABASE", `There is no file ${path}`, { cause, hint: "Check the path" });
    }
    throw new FileError("DECANT_E_FILE", `Cannot open ${path}: ${fileReason(cause)}`, { cause });
  }
}
