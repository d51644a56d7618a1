import type { KeyObject } from "node:crypto";
import { type FileHandle, open, stat } from "node:fs/promises";
import { addAbortSignal, type Readable } from "node:stream";
import { type Cipher, cipherOf, decryptObject } from "../../base/decrypt-object.ts";
import { DataError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import { type CompressionName, compressionOf, decompress, MAGIC_BYTES } from "./decompress.ts";
import { openNamedPipe } from "./named-pipe.ts";
import { readPrivateKey } from "./private-key.ts";

export type InputSource = { readonly file: string } | { readonly stream: Readable };

export interface InputOptions {
  readonly signal: AbortSignal;
  /** Where the passphrase of the key may be found. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Decrypt first, decompress then. */
  readonly decryption?: { readonly keyFile: string; readonly algorithm: string };
  /**
   * Give what there is of a document that is damaged, and tell what is wrong with it at the end. Of one whose compression is
   * cut off the reader must see by itself that it is not whole.
   */
  readonly onDamage?: (error: DataError) => void;
  /** Is shown every byte as it is stored, once and in order; it borrows the piece. */
  readonly onRead?: (piece: Buffer) => void;
}

/** An opened input. Close it in any case. */
export interface Input {
  /** The document, decrypted and decompressed. To be iterated once; a piece is valid until the next is asked for. */
  readonly bytes: AsyncIterable<Buffer>;
  /** Bytes taken from the file or stream so far. */
  readBytes(): number;
  /** Size of the file; undefined for streams. */
  readonly totalBytes: number | undefined;
  readonly description: "plain" | "gzip" | "zstd" | "encrypted" | "encrypted gzip" | "encrypted zstd";
  /** Never throws. */
  close(): Promise<void>;
}

const READ_BYTES = 1024 * 1024;

/**
 * Opens a file or stream for reading and finds out by its content whether it is compressed.
 *
 * An encrypted file is read twice: its authentication tag stands at the end, and nothing of it is handed out before the
 * tag has been checked, unless `onDamage` is there. A stream can be read only once: its plain text is handed out unchecked, and the iteration ends
 * with a `DataError` when the tag does not fit.
 *
 * Throws `NotFoundError` for a missing file, `FileError` for one that cannot be read, `DataError` for content that cannot
 * be decrypted or decompressed, `UsageError` for a key, passphrase or algorithm that does not work.
 */
export async function openInput(source: InputSource, options: InputOptions): Promise<Input> {
  const { signal, decryption, onDamage } = options;
  const raw =
    "file" in source ? await openFile(source.file, signal) : openStream(source.stream, "the input stream", signal);
  try {
    let content = await peek(options.onRead === undefined ? raw.read() : shown(raw.read(), options.onRead));
    // Large automatic backups of encrypted volumes are stored in clear (docs/spec/auto-backup.md §7).
    const isEncrypted = decryption !== undefined && compressionOf(content.head) !== "gzip";
    if (isEncrypted) {
      const cipher = cipherOf(decryption.algorithm);
      const key = await readPrivateKey(decryption.keyFile, options.env, signal);
      content = await peek(
        onDamage === undefined
          ? await decrypted(raw, content.whole, key, cipher)
          : asFarAsItGoes(decryptObject(content.whole, key, cipher), onDamage),
      );
    }
    const compression = compressionOf(content.head);
    return {
      bytes: compression === "none" ? content.whole : decompressed(content.whole, compression, raw.name, onDamage),
      readBytes: raw.readBytes,
      totalBytes: raw.totalBytes,
      description: describe(isEncrypted, compression),
      close: raw.close,
    };
  } catch (error) {
    await raw.close();
    throw error;
  }
}

async function* shown(content: AsyncGenerator<Buffer>, onRead: (piece: Buffer) => void): AsyncGenerator<Buffer> {
  for await (const piece of content) {
    onRead(piece);
    yield piece;
  }
}

function describe(isEncrypted: boolean, compression: CompressionName): Input["description"] {
  if (!isEncrypted) return compression === "none" ? "plain" : compression;
  return compression === "none" ? "encrypted" : `encrypted ${compression}`;
}

/** What is read, before decryption. */
interface RawInput {
  /** For messages. */
  readonly name: string;
  readonly totalBytes: number | undefined;
  /** True when `read` may be called again. */
  readonly isRepeatable: boolean;
  /** Reads from the beginning. A piece is valid until the next is asked for. */
  read(): AsyncGenerator<Buffer>;
  readBytes(): number;
  close(): Promise<void>;
}

async function openFile(path: string, signal: AbortSignal): Promise<RawInput> {
  let handle: FileHandle;
  let size: number;
  let isRegular: boolean;
  try {
    signal.throwIfAborted();
    if ((await stat(path)).isFIFO()) return openStream(openNamedPipe(path), path, signal);
    handle = await open(path, "r");
  } catch (error) {
    throw fileError("read", path, error);
  }
  const close = (): Promise<void> => handle.close().catch(() => undefined);
  try {
    const found = await handle.stat();
    size = found.size;
    isRegular = found.isFile();
    if (found.isDirectory()) throw Object.assign(new Error("is a directory"), { code: "EISDIR", errno: -21 });
  } catch (error) {
    await close();
    throw fileError("read", path, error);
  }
  let position = 0;
  const readAt = async (buffer: Buffer, at: number | null): Promise<Buffer> => {
    const { bytesRead } = await handle.read(buffer, 0, READ_BYTES, at).catch((error: unknown) => {
      throw fileError("read", path, error);
    });
    return buffer.subarray(0, bytesRead);
  };
  /** Asked for a piece too early, a device that stands still could not be closed. */
  async function* readDevice(): AsyncGenerator<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    for (;;) {
      signal.throwIfAborted();
      const piece = await readAt(buffer, null);
      if (piece.length === 0) return;
      position += piece.length;
      yield piece;
    }
  }
  /** Reads the next piece while one is being used. */
  async function* readRegular(): AsyncGenerator<Buffer> {
    position = 0;
    let [used, free] = [Buffer.allocUnsafeSlow(READ_BYTES), Buffer.allocUnsafeSlow(READ_BYTES)];
    for (let pending = readAt(free, 0); ; ) {
      signal.throwIfAborted();
      const piece = await pending;
      if (piece.length === 0) return;
      position += piece.length;
      [used, free] = [free, used];
      pending = readAt(free, position);
      // Whoever stops here does not hear of it.
      pending.catch(() => undefined);
      yield piece;
    }
  }
  return {
    name: path,
    totalBytes: isRegular ? size : undefined,
    isRepeatable: isRegular,
    read: isRegular ? readRegular : readDevice,
    readBytes: () => position,
    close,
  };
}

function openStream(stream: Readable, name: string, signal: AbortSignal): RawInput {
  addAbortSignal(signal, stream);
  let position = 0;
  async function* read(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        position += chunk.length;
        yield chunk;
      }
    } catch (error) {
      throw fileError("read", name, error);
    }
  }
  return {
    name,
    totalBytes: undefined,
    isRepeatable: false,
    read,
    readBytes: () => position,
    close: async () => {
      stream.destroy();
    },
  };
}

async function decrypted(
  raw: RawInput,
  whole: AsyncGenerator<Buffer>,
  key: KeyObject,
  cipher: Cipher,
): Promise<AsyncGenerator<Buffer>> {
  if (!raw.isRepeatable) return decryptObject(whole, key, cipher);
  for await (const _ of decryptObject(whole, key, cipher)) {
    // Read to the end for its tag.
  }
  return decryptObject(raw.read(), key, cipher);
}

function decompressed(
  content: AsyncGenerator<Buffer>,
  compression: "gzip" | "zstd",
  name: string,
  onDamage: InputOptions["onDamage"],
): AsyncGenerator<Buffer> {
  if (onDamage === undefined) return decompress(content, compression, name);
  return asFarAsItGoes(decompress(content, compression, name, "accept"), onDamage);
}

/** Ends where the content is damaged. Where nothing at all can be read, the error stays one. */
async function* asFarAsItGoes(
  content: AsyncGenerator<Buffer>,
  onDamage: (error: DataError) => void,
): AsyncGenerator<Buffer> {
  let hasContent = false;
  try {
    for await (const piece of content) {
      hasContent = true;
      yield piece;
    }
  } catch (error) {
    if (!hasContent || !(error instanceof DataError)) throw error;
    onDamage(error);
  }
}

/** Takes the first bytes without taking them away from `whole`. */
async function peek(content: AsyncGenerator<Buffer>): Promise<{ head: Buffer; whole: AsyncGenerator<Buffer> }> {
  const chunks: Buffer[] = [];
  let size = 0;
  while (size < MAGIC_BYTES) {
    const next = await content.next();
    if (next.done) break;
    chunks.push(Buffer.from(next.value));
    size += next.value.length;
  }
  async function* whole(): AsyncGenerator<Buffer> {
    yield* chunks;
    yield* content;
  }
  return { head: Buffer.concat(chunks), whole: whole() };
}
