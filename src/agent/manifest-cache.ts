import { SIDECAR_FOLDERS } from "../operations/backups/sidecars.ts";
import type { GetStreamOptions, ListedObject, ObjectInfo, ObjectStorage } from "../storage/object-storage.ts";

interface Kept {
  readonly size: number;
  readonly modifiedMs: number;
  bytes: Buffer | undefined;
}

/**
 * What was read of the manifests in a bucket: there is one for each backup, none is ever changed, and each check wants all. It is
 * asked for again when its size or time in the listing is another. Holds what is in the bucket, some KiB for a backup.
 */
export class ManifestCache {
  #kept: ReadonlyMap<string, Kept> = new Map();

  /** The same storage, manifests from memory. */
  over(storage: ObjectStorage): ObjectStorage {
    return new CachedStorage(storage, this);
  }

  find(key: string): Kept | undefined {
    return this.#kept.get(key);
  }

  /** Notes what is there now, and forgets what is not. */
  async *noting(objects: AsyncIterable<ListedObject>): AsyncGenerator<ListedObject> {
    const next = new Map<string, Kept>();
    for await (const object of objects) {
      const before = this.#kept.get(object.key);
      const modifiedMs = object.modified.getTime();
      const isSame = before?.size === object.size && before.modifiedMs === modifiedMs;
      next.set(object.key, isSame ? before : { size: object.size, modifiedMs, bytes: undefined });
      yield object;
    }
    this.#kept = next;
  }
}

class CachedStorage implements ObjectStorage {
  readonly displayName: string;
  readonly #storage: ObjectStorage;
  readonly #cache: ManifestCache;

  constructor(storage: ObjectStorage, cache: ManifestCache) {
    this.displayName = storage.displayName;
    this.#storage = storage;
    this.#cache = cache;
  }

  create(signal: AbortSignal): Promise<void> {
    return this.#storage.create(signal);
  }

  put(key: string, data: Buffer, signal: AbortSignal): Promise<void> {
    return this.#storage.put(key, data, signal);
  }

  putStream(...args: Parameters<ObjectStorage["putStream"]>): Promise<{ bytes: number }> {
    return this.#storage.putStream(...args);
  }

  async get(key: string, signal: AbortSignal): Promise<Buffer> {
    const kept = this.#cache.find(key);
    if (kept?.bytes !== undefined) return kept.bytes;
    const bytes = await this.#storage.get(key, signal);
    if (kept !== undefined) kept.bytes = bytes;
    return bytes;
  }

  getStream(key: string, options: GetStreamOptions): AsyncIterable<Buffer> {
    return this.#storage.getStream(key, options);
  }

  async head(key: string, signal: AbortSignal): Promise<ObjectInfo | undefined> {
    const kept = this.#cache.find(key);
    if (kept?.bytes === undefined) return this.#storage.head(key, signal);
    return { size: kept.size, modified: new Date(kept.modifiedMs) };
  }

  list(prefix: string, options: { readonly signal: AbortSignal }): AsyncIterable<ListedObject> {
    const objects = this.#storage.list(prefix, options);
    return prefix === SIDECAR_FOLDERS.manifest ? this.#cache.noting(objects) : objects;
  }

  delete(key: string, signal: AbortSignal): Promise<void> {
    return this.#storage.delete(key, signal);
  }

  findForeignObject(signal: AbortSignal): Promise<string | undefined> {
    return this.#storage.findForeignObject(signal);
  }

  close(): Promise<void> {
    return this.#storage.close();
  }
}
