import { randomInt } from "node:crypto";
import type { Dirent } from "node:fs";
import { type FileHandle, mkdir, open, opendir, rename, rm, rmdir, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { abortable } from "../base/abortable.ts";
import { UsageError } from "../base/errors.ts";
import { fileError } from "../base/file-error.ts";
import {
  firstForeignObject,
  type GetStreamOptions,
  type ListedObject,
  type ObjectInfo,
  type ObjectStorage,
  readWhole,
} from "./object-storage.ts";

const READ_BYTES = 256 * 1024;

/** Files that are being written, by the reference or by us, which left the name to it. */
const TEMPORARY = /^\.jfs\..*\.tmp\.\d+$/s;

/** A directory as object storage; an object is a file (docs/spec/object-storage.md §4). */
export class FileStorage implements ObjectStorage {
  readonly displayName: string;
  readonly #root: string;

  /** `bucket` ends with `/`; objects are below `<bucket><volume>/`. */
  constructor(bucket: string, volume: string) {
    this.#root = `${bucket}${volume}/`;
    this.displayName = `file://${this.#root}`;
  }

  /** Directories come to be with the first object in them. */
  async create(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
  }

  async put(key: string, data: Buffer, signal: AbortSignal): Promise<void> {
    await this.putStream(key, onePiece(data), { signal });
  }

  /** Directories that were made for it stay, also when it fails: others may be about to write into them. */
  async putStream(
    key: string,
    pieces: AsyncIterable<Buffer>,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<{ bytes: number }> {
    const file = this.#fileOf(key);
    const name = `.jfs.${basename(file).slice(0, 200)}.tmp.${randomInt(2 ** 47)}`;
    const temporary = join(dirname(file), name);
    signal.throwIfAborted();
    try {
      await makeDirectories(dirname(file));
      const bytes = await writeFile(temporary, abortable(pieces, signal));
      signal.throwIfAborted();
      await rename(temporary, file);
      await syncDirectory(dirname(file));
      return { bytes };
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined); // the first error is the one that matters
      throw isSystemError(error) ? fileError("write", file, error) : error;
    }
  }

  get(key: string, signal: AbortSignal): Promise<Buffer> {
    return readWhole(this, key, signal);
  }

  async *getStream(key: string, { signal }: GetStreamOptions): AsyncGenerator<Buffer> {
    const file = this.#fileOf(key);
    signal.throwIfAborted();
    const failed = (error: unknown): never => {
      throw fileError("read", file, error);
    };
    const handle = await open(file, "r").catch(failed);
    try {
      for (;;) {
        signal.throwIfAborted();
        const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(READ_BYTES)).catch(failed);
        if (bytesRead === 0) return;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await handle.close();
    }
  }

  async head(key: string, signal: AbortSignal): Promise<ObjectInfo | undefined> {
    signal.throwIfAborted();
    return infoOf(this.#fileOf(key));
  }

  list(prefix: string, { signal }: { readonly signal: AbortSignal }): AsyncGenerator<ListedObject> {
    if (prefix !== "") this.#fileOf(prefix);
    return this.#listFolder(prefix.slice(0, prefix.lastIndexOf("/") + 1), prefix, signal);
  }

  async delete(key: string, signal: AbortSignal): Promise<void> {
    const file = this.#fileOf(key);
    signal.throwIfAborted();
    try {
      await (key.endsWith("/") ? rmdir(file) : unlink(file));
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      const isFull = key.endsWith("/") && ["ENOTEMPTY", "EEXIST"].includes(code);
      if (code !== "ENOENT" && !isFull) throw fileError("delete", file, error);
    }
  }

  findForeignObject(signal: AbortSignal): Promise<string | undefined> {
    return firstForeignObject(this, signal);
  }

  async close(): Promise<void> {}

  async *#listFolder(folder: string, prefix: string, signal: AbortSignal): AsyncGenerator<ListedObject> {
    for await (const entry of readFolder(this.#root + folder)) {
      signal.throwIfAborted();
      const key = folder + entry.name;
      if (entry.isDirectory()) {
        if (`${key}/`.startsWith(prefix)) yield* this.#listFolder(`${key}/`, prefix, signal);
      } else if (key.startsWith(prefix) && !TEMPORARY.test(entry.name)) {
        const info = await infoOf(this.#root + key);
        if (info !== undefined) yield { key, ...info };
      }
    }
  }

  /** Throws `UsageError` for a key that would lead out of the volume's directory. */
  #fileOf(key: string): string {
    const parts = key.split("/");
    if (key === "" || key.startsWith("/") || key.includes("\0") || parts.includes("..") || parts.includes(".")) {
      throw new UsageError("DECANT_E_OBJECT_KEY", `${JSON.stringify(key)} is no key of an object`);
    }
    return this.#root + key;
  }
}

async function* onePiece(data: Buffer): AsyncGenerator<Buffer> {
  yield data;
}

/** A new file with these bytes, flushed to the disk. */
async function writeFile(path: string, pieces: AsyncIterable<Buffer>): Promise<number> {
  const handle = await open(path, "wx");
  try {
    let bytes = 0;
    for await (const piece of pieces) {
      await writeAll(handle, piece);
      bytes += piece.length;
    }
    await handle.sync();
    return bytes;
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, piece: Buffer): Promise<void> {
  let at = 0;
  while (at < piece.length) at += (await handle.write(piece, at)).bytesWritten;
}

/** Makes the names of new directories durable too. */
async function makeDirectories(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let at = path; at.length >= first.length; ) {
    at = dirname(at);
    await syncDirectory(at);
  }
}

/** Some file systems cannot flush a directory: the file itself is complete all the same. */
async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

/** Undefined when there is no such file, or another thing of that name. */
async function infoOf(path: string): Promise<ObjectInfo | undefined> {
  try {
    const found = await stat(path);
    return found.isFile() ? { size: found.size, modified: found.mtime } : undefined;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw fileError("read", path, error);
  }
}

/** Entries of a directory, none when there is none. */
async function* readFolder(path: string): AsyncGenerator<Dirent> {
  try {
    for await (const entry of await opendir(path)) yield entry;
  } catch (error) {
    if (!isMissing(error)) throw isSystemError(error) ? fileError("list", path, error) : error;
  }
}

function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
}

function isSystemError(error: unknown): boolean {
  return typeof (error as NodeJS.ErrnoException).syscall === "string";
}
