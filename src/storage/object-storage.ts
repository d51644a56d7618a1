import { StorageError } from "../base/errors.ts";

/**
 * The object storage of a volume. Keys are below the volume's prefix, `meta/dump-....json.gz`; they are UTF-8 texts without a
 * leading slash.
 *
 * Calls may overlap. Every one ends with the reason of its signal soon after that was aborted. A missing object is a
 * `NotFoundError`, a failure a `StorageError` (a server) or `FileError` (a directory) that names the object and the first
 * real cause; bytes that are not what was stored are a `DataError`. `retryable` of an error tells whether the same call may
 * succeed later: what is worth repeating at once was repeated.
 */
export interface ObjectStorage {
  /** For people, as the reference names it: `file:///data/evol/` (docs/spec/object-storage.md §4). Without secrets. */
  readonly displayName: string;

  /** Creates the bucket where there is none. */
  create(signal: AbortSignal): Promise<void>;

  /** Writes a small object, or replaces it. It appears only when whole and durable. `data` is borrowed. */
  put(key: string, data: Buffer, signal: AbortSignal): Promise<void>;

  /**
   * Writes an object of any size, or replaces it. It appears under its key only when it is whole and durable; after an error,
   * also one of `pieces`, or an abort nothing of it stays behind and what was there before is untouched; only when the answer to the very last request is lost, the
   * whole object may be there all the same. A piece is borrowed
   * until the next one is asked for; of an S3 object a few parts of 8 MiB and more are held in memory, of others one piece.
   * `bytes` is the size as stored, which `head` then tells too: that of the encrypted object where the volume is encrypted.
   */
  putStream(
    key: string,
    pieces: AsyncIterable<Buffer>,
    options: { readonly signal: AbortSignal },
  ): Promise<{ bytes: number }>;

  /** A whole object of at most `MAX_GET_BYTES`; `StorageError` for a larger one. */
  get(key: string, signal: AbortSignal): Promise<Buffer>;

  /**
   * The bytes of an object, in pieces that belong to the caller. Nothing is asked for before the first `next`; ending the
   * iteration early frees connection or file. What is wrong with an object may be seen at its end only (checksum, tag of an
   * encryption, a size that is not reached): bytes are to be trusted when the iteration has ended without an error.
   */
  getStream(key: string, options: GetStreamOptions): AsyncIterable<Buffer>;

  /** What is known about an object without reading it; undefined when there is none. */
  head(key: string, signal: AbortSignal): Promise<ObjectInfo | undefined>;

  /**
   * All objects whose key begins with `prefix`, those in sub-folders too, in any order: that of directories is as the system
   * gives it, and shards come one after another. Folders are no objects. What is written or deleted meanwhile may be there or not.
   */
  list(prefix: string, options: { readonly signal: AbortSignal }): AsyncIterable<ListedObject>;

  /** No error when there is no such object. A key that ends with a slash is a folder, which goes only when it is empty. */
  delete(key: string, signal: AbortSignal): Promise<void>;

  /** The key of an object outside `testing/` that is not empty, undefined when there is none. */
  findForeignObject(signal: AbortSignal): Promise<string | undefined>;

  /** Frees connections. Never throws. */
  close(): Promise<void>;
}

export interface GetStreamOptions {
  readonly signal: AbortSignal;
  /**
   * Called before the first piece when the object of an encrypted volume is stored in clear, as the reference stores large
   * backups (docs/spec/auto-backup.md §7): it is handed out as it is.
   */
  readonly onClear?: () => void;
}

export interface ObjectInfo {
  /** Bytes as stored: of an encrypted object those of the whole encrypted object. */
  readonly size: number;
  readonly modified: Date;
}

export interface ListedObject extends ObjectInfo {
  readonly key: string;
}

/** What `get` reads at most: a block of the largest size has 16 MiB, and grows a little by encryption. */
export const MAX_GET_BYTES: number = 32 * 1024 * 1024;

/** `get` by way of `getStream`. */
export async function readWhole(storage: ObjectStorage, key: string, signal: AbortSignal): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of storage.getStream(key, { signal })) {
    size += piece.length;
    if (size > MAX_GET_BYTES) {
      throw new StorageError(
        "DECANT_E_OBJECT_SIZE",
        `Object ${storage.displayName}${key} has more than ${MAX_GET_BYTES} bytes, which is too large for its kind`,
        { hint: "It is no object that JuiceFS wrote under this name" },
      );
    }
    pieces.push(piece);
  }
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces, size);
}

/** `findForeignObject` by way of `list`. */
export async function firstForeignObject(storage: ObjectStorage, signal: AbortSignal): Promise<string | undefined> {
  for await (const { key, size } of storage.list("", { signal })) {
    if (size > 0 && !key.startsWith("testing/")) return key;
  }
  return undefined;
}
