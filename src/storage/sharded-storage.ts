import type { ObjectStorage } from "./object-storage.ts";

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

  put(key: string, data: Buffer): Promise<void> {
    return this.#shardOf(key).put(key, data);
  }

  get(key: string): Promise<Buffer> {
    return this.#shardOf(key).get(key);
  }

  async delete(key: string): Promise<void> {
    for (const shard of key.endsWith("/") ? this.#shards : [this.#shardOf(key)]) await shard.delete(key);
  }

  async findForeignObject(): Promise<string | undefined> {
    for (const shard of this.#shards) {
      const found = await shard.findForeignObject();
      if (found !== undefined) return found;
    }
    return undefined;
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
