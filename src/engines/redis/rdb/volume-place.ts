import type { RdbText } from "./rdb-text.ts";

/** Where a volume stands among the keys of an RDB file. */
export interface VolumePlace {
  readonly database: number;
  /** Put before every key: empty, or `{db}` in a file of a cluster's node (docs/spec/redis.md §1.4). */
  readonly prefix: Buffer;
}

export function hasPrefix(key: RdbText, prefix: Buffer): boolean {
  const size = prefix.length;
  if (size === 0) return true;
  if (key.length < size) return false;
  return prefix.compare(key.bytes, key.start, key.start + size) === 0;
}
