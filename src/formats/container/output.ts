import { createHash, type Hash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, readlink, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Writable } from "node:stream";
import type { Gzip, ZstdCompress } from "node:zlib";
import { cipherOf } from "../../base/decrypt-object.ts";
import { Encryptor } from "../../base/encrypt-object.ts";
import { FileError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import { createCompressor } from "./compress.ts";
import type { CompressionName } from "./decompress.ts";
import { openNamedPipeForWriting } from "./named-pipe.ts";
import { readPrivateKey } from "./private-key.ts";

export type { CompressionName } from "./decompress.ts";

export type OutputTarget = { readonly file: string } | { readonly stream: Writable };

export interface OutputOptions {
  readonly signal: AbortSignal;
  /** By the suffix of the file unless told: `.gz`, `.zstd`, `.zst`; streams are not compressed. */
  readonly compression?: CompressionName;
  /** Compute `sha256` on the way. */
  readonly hash?: boolean;
  /** Encrypt what was compressed; `env` may hold the passphrase of the key. */
  readonly encryption?: {
    readonly keyFile: string;
    readonly algorithm: string;
    readonly env: Readonly<Record<string, string | undefined>>;
  };
}

/** An output that is being written. End it with `commit` or `abort`. */
export interface Output {
  readonly compression: CompressionName;
  /** Bytes that reached the file or stream so far. */
  readonly writtenBytes: number;
  /** SHA-256 of those bytes in hexadecimal digits, after `commit`; undefined when it was not asked for. */
  readonly sha256: string | undefined;
  /** Takes over `bytes`; resolves when more may be written. */
  write(bytes: Buffer): Promise<void>;
  /** Makes everything durable and, for a file, lets it appear under its name. */
  commit(): Promise<void>;
  /** Removes what was written. Never throws; does nothing after `commit`. */
  abort(): Promise<void>;
}

/** Compression by suffix, case-sensitive (docs/spec/json-dump.md §1); decant takes `.zst` too. */
export function compressionOfName(file: string): CompressionName {
  if (file.endsWith(".gz")) return "gzip";
  return file.endsWith(".zstd") || file.endsWith(".zst") ? "zstd" : "none";
}

/**
 * Opens a file or stream for writing. A file is written under a temporary name in its directory, flushed to the disk and
 * renamed by `commit`, so that what stands under its name is always complete. What is no regular file (a pipe, `/dev/null`)
 * is written as it is; a symbolic link keeps pointing to the file that is replaced.
 *
 * Throws `FileError` with the path, also from `write` and `commit`; its code is `DECANT_E_PIPE_CLOSED` when the reader of a
 * pipe has gone.
 */
export async function openOutput(target: OutputTarget, options: OutputOptions): Promise<Output> {
  options.signal.throwIfAborted();
  const compression = options.compression ?? ("file" in target ? compressionOfName(target.file) : "none");
  const encryptor = options.encryption && (await createEncryptor(options.encryption, options.signal));
  const sink =
    "file" in target
      ? await openFileSink(target.file, options.signal)
      : openStreamSink(target.stream, "the output stream", options.signal);
  return new SinkOutput(sink, compression, options, encryptor);
}

async function createEncryptor(
  { keyFile, algorithm, env }: NonNullable<OutputOptions["encryption"]>,
  signal: AbortSignal,
): Promise<Encryptor> {
  const cipher = cipherOf(algorithm);
  return new Encryptor(await readPrivateKey(keyFile, env, signal), cipher);
}

/** Where compressed or plain bytes end up. */
interface Sink {
  write(bytes: Buffer): Promise<void>;
  commit(): Promise<void>;
  abort(): Promise<void>;
}

class SinkOutput implements Output {
  readonly compression: CompressionName;
  writtenBytes = 0;
  sha256: string | undefined;
  readonly #hash: Hash | undefined;
  readonly #encryptor: Encryptor | undefined;
  readonly #sink: Sink;
  readonly #signal: AbortSignal;
  readonly #compressor: Gzip | ZstdCompress | undefined;
  /** Ends when all compressed bytes are in the sink; never rejects. */
  readonly #pump: Promise<void> | undefined;
  /** Handed to the compressor and not taken yet: what lets it work while the caller makes more. */
  #queuedBytes = 0;
  #wake: (() => void) | undefined;
  #failure: unknown;
  #isEnded = false;

  constructor(sink: Sink, compression: CompressionName, options: OutputOptions, encryptor: Encryptor | undefined) {
    this.#encryptor = encryptor;
    this.#sink = sink;
    this.#signal = options.signal;
    this.#hash = options.hash === true ? createHash("sha256") : undefined;
    this.compression = compression;
    this.#compressor = compression === "none" ? undefined : createCompressor(compression);
    this.#pump = this.#compressor === undefined ? undefined : this.#runPump(this.#compressor);
  }

  async write(bytes: Buffer): Promise<void> {
    this.#signal.throwIfAborted();
    const compressor = this.#compressor;
    if (compressor === undefined) {
      await this.#put(bytes);
      return;
    }
    this.#throwFailure();
    this.#queuedBytes += bytes.length;
    compressor.write(bytes, () => {
      this.#queuedBytes -= bytes.length;
      this.#wake?.();
    });
    while (this.#queuedBytes > MAX_QUEUED_BYTES && !compressor.destroyed) await this.#nextChange();
    this.#signal.throwIfAborted();
    this.#throwFailure();
  }

  /** Waits until the compressor has taken a piece or has failed, or for an abort: it may wait for a pipe nobody reads. */
  async #nextChange(): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        this.#wake = undefined;
        this.#signal.removeEventListener("abort", wake);
        resolve();
      };
      this.#wake = wake;
      this.#signal.addEventListener("abort", wake);
    });
    this.#signal.throwIfAborted();
  }

  async commit(): Promise<void> {
    this.#signal.throwIfAborted();
    this.#throwFailure();
    this.#compressor?.end();
    await this.#pump;
    this.#throwFailure();
    if (this.#encryptor !== undefined) await this.#store(this.#encryptor.end());
    await this.#sink.commit();
    this.sha256 = this.#hash?.digest("hex");
    this.#isEnded = true;
  }

  async abort(): Promise<void> {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#compressor?.destroy();
    // The pump ends by itself: closing a file waits for a write under way, a stream may never take it.
    await this.#sink.abort();
  }

  #put(bytes: Buffer): Promise<void> {
    return this.#store(this.#encryptor === undefined ? bytes : this.#encryptor.update(bytes));
  }

  async #store(bytes: Buffer): Promise<void> {
    await this.#sink.write(bytes);
    this.#hash?.update(bytes);
    this.writtenBytes += bytes.length;
  }

  async #runPump(compressor: Gzip | ZstdCompress): Promise<void> {
    try {
      for await (const chunk of compressor as AsyncIterable<Buffer>) await this.#put(chunk);
    } catch (error) {
      this.#failure ??= error;
      compressor.destroy();
    }
    this.#wake?.();
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

const MAX_QUEUED_BYTES = 4 * 1024 * 1024;

const NEW_FILE_MODE = 0o644;

async function openFileSink(file: string, signal: AbortSignal): Promise<Sink> {
  const path = await existingTarget(file);
  if (path.isPipe) return openPipeSink(file, signal);
  if (path.isSpecial) return specialSink(file, await openOrFail(file, constants.O_WRONLY));
  const temporary = `${path.name}.${randomBytes(6).toString("hex")}.tmp`;
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  // Who has closed a dump to others (it may hold keys) wants the next one closed too.
  const handle = await openOrFail(temporary, flags, file, path.mode);
  const remove = async (): Promise<void> => {
    await handle.close().catch(() => undefined);
    await rm(temporary, { force: true }).catch(() => undefined);
  };
  return {
    write: (bytes) => writeAll(handle, bytes, file),
    commit: async () => {
      try {
        await handle.sync();
        await handle.close();
        await rename(temporary, path.name);
        await syncDirectory(dirname(path.name));
      } catch (error) {
        throw fileError("write", file, error);
      }
    },
    abort: remove,
  };
}

/**
 * The file that a rename must replace, behind symbolic links. Special files cannot be replaced at all; links to them may
 * lead to no name, as /dev/stdout does when it is a pipe.
 */
async function existingTarget(
  file: string,
): Promise<{ name: string; isPipe: boolean; isSpecial: boolean; mode: number }> {
  try {
    const found = await stat(file);
    if (found.isDirectory()) throw Object.assign(new Error("is a directory"), { code: "EISDIR", errno: -21 });
    const isSpecial = !found.isFile();
    const isPipe = found.isFIFO();
    return { name: isSpecial ? file : await realpath(file), isPipe, isSpecial, mode: found.mode & 0o777 };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw fileError("write", file, error);
    return { name: await linkTarget(file), isPipe: false, isSpecial: false, mode: NEW_FILE_MODE };
  }
}

/** Where a new file of that name comes to be: a symbolic link to nothing stays, and its target is made. */
async function linkTarget(file: string): Promise<string> {
  const target = await readlink(file).catch(() => undefined);
  return target === undefined ? file : linkTarget(resolve(dirname(file), target));
}

async function openOrFail(
  path: string,
  flags: number,
  shownPath: string = path,
  mode: number = NEW_FILE_MODE,
): Promise<FileHandle> {
  try {
    return await open(path, flags, mode);
  } catch (error) {
    throw fileError("write", shownPath, error);
  }
}

function specialSink(file: string, handle: FileHandle): Sink {
  const close = (): Promise<void> => handle.close().catch(() => undefined);
  return { write: (bytes) => writeAll(handle, bytes, file), commit: close, abort: close };
}

async function openPipeSink(file: string, signal: AbortSignal): Promise<Sink> {
  const pipe = await openNamedPipeForWriting(file, signal).catch((error: unknown) => {
    throw signal.aborted ? error : fileError("write", file, error);
  });
  const sink = openStreamSink(pipe, file, signal);
  return {
    write: sink.write,
    commit: async () => {
      await sink.commit();
      await new Promise<void>((resolve) => pipe.end(resolve));
    },
    abort: async () => {
      pipe.destroy();
    },
  };
}

async function writeAll(handle: FileHandle, bytes: Buffer, file: string): Promise<void> {
  let at = 0;
  while (at < bytes.length) {
    try {
      const { bytesWritten } = await handle.write(bytes, at, bytes.length - at);
      at += bytesWritten;
    } catch (error) {
      throw closedPipe(error) ?? fileError("write", file, error);
    }
  }
}

/** Makes the rename durable. Some file systems cannot flush a directory: the file itself is complete all the same. */
async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

/** `name` is for messages. */
function openStreamSink(stream: Writable, name: string, signal: AbortSignal): Sink {
  let failure: Error | undefined;
  // Stays for good: a stream may fail after the last write, and an error that nobody listens to ends the process.
  stream.on("error", (error: Error) => {
    failure ??= error;
  });
  const failed = (error: Error): Error => closedPipe(error) ?? fileError("write", name, error);
  const write = (bytes: Buffer): Promise<void> =>
    new Promise((resolve, reject) => {
      if (failure !== undefined) {
        reject(failed(failure));
        return;
      }
      const onAbort = (): void => reject(signal.reason as Error);
      signal.addEventListener("abort", onAbort);
      // The callback comes when the stream has let go of the bytes: that is also what keeps memory bounded.
      stream.write(bytes, (error) => {
        signal.removeEventListener("abort", onAbort);
        if (error == null) resolve();
        else reject(failed(failure ?? error));
      });
    });
  return {
    write,
    commit: async () => {
      if (failure !== undefined) throw failed(failure);
    },
    abort: async () => undefined,
  };
}

function closedPipe(error: unknown): FileError | undefined {
  if ((error as NodeJS.ErrnoException).code !== "EPIPE") return undefined;
  return new FileError("DECANT_E_PIPE_CLOSED", "Cannot write to the output: its reader has gone", {
    cause: error,
    hint: "The program that reads the output ended before it was complete",
  });
}
