import {
  firstForeignObject,
  type GetStreamOptions,
  type ListedObject,
  type ObjectInfo,
  type ObjectStorage,
} from "./object-storage.ts";

/** Objects spread over several buckets by the hash of their key (docs/spec/object-storage.md §5). */
export class ShardedStorage implements ObjectStorage {
  readonly displayName: string;
  readonly #shards: readonly ObjectStorage[];
  readonly #volume: string;

  constructor(shards: readonly ObjectStorage[], volume: string) {
    this.#shards = shards;
    this.#volume = volume;
    this.displayName = `shard${shards.length}://${shards[0]!.displayName}`;
  }

  async create(signal: AbortSignal): Promise<void> {
    for (const shard of this.#shards) await shard.create(signal);
  }

  put(key: string, data: Buffer, signal: AbortSignal): Promise<void> {
    return this.#shardOf(key).put(key, data, signal);
  }

  putStream(
    key: string,
    pieces: AsyncIterable<Buffer>,
    options: { readonly signal: AbortSignal },
  ): Promise<{ bytes: number }> {
    return this.#shardOf(key).putStream(key, pieces, options);
  }

  get(key: string, signal: AbortSignal): Promise<Buffer> {
    return this.#shardOf(key).get(key, signal);
  }

  getStream(key: string, options: GetStreamOptions): AsyncIterable<Buffer> {
    return this.#shardOf(key).getStream(key, options);
  }

  head(key: string, signal: AbortSignal): Promise<ObjectInfo | undefined> {
    return this.#shardOf(key).head(key, signal);
  }

  async *list(prefix: string, options: { readonly signal: AbortSignal }): AsyncGenerator<ListedObject> {
    for (const shard of this.#shards) yield* shard.list(prefix, options);
  }

  /** Folders may be in all shards. */
  async delete(key: string, signal: AbortSignal): Promise<void> {
    for (const shard of key.endsWith("/") ? this.#shards : [this.#shardOf(key)]) await shard.delete(key, signal);
  }

  findForeignObject(signal: AbortSignal): Promise<string | undefined> {
    return firstForeignObject(this, signal);
  }

  async close(): Promise<void> {
    for (const shard of this.#shards) await shard.close();
  }

  /** The hash sees the key with the volume's prefix. */
  #shardOf(key: string): ObjectStorage {
    return this.#shards[fnv1a32(Buffer.from(`${this.#volume}/${key}`)) % this.#shards.length]!;
  }
}

/** FNV-1a, 32 bits, unsigned. */
export function fnv1a32(bytes: Buffer): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
