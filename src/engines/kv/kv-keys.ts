/**
 * Keys of a volume, without the prefix of the store (docs/spec/kv.md §3). Inodes in keys are little-endian, every other number
 * is big-endian.
 */
import { PROGRESS_NAME } from "../load-progress.ts";
import type { KvRange } from "./kv-store.ts";

export const SETTING_KEY: Buffer = Buffer.from("setting");

/** A load that runs or was cut off has this key; no volume and no client has it. */
export const MARKER_KEY: Buffer = Buffer.from("decantLoading");

/** How far a load is that has the marker. */
export const PROGRESS_KEY: Buffer = Buffer.from(PROGRESS_NAME);

/** First bytes of keys. */
export const FAMILY_INODE = 0x41;

/** What follows the inode in a key of an inode's family. */
export const TAG_NODE = 0x49;
export const TAG_EDGE = 0x44;
export const TAG_PARENT = 0x50;
export const TAG_CHUNK = 0x43;
export const TAG_SYMLINK = 0x53;
export const TAG_XATTR = 0x58;

/** `A`, inode, tag. */
export const INODE_KEY_BYTES = 10;
export const PARENT_KEY_BYTES = 18;
export const CHUNK_KEY_BYTES = 14;

/** Every key of the volume. */
export const ALL_KEYS: KvRange = { start: Buffer.alloc(0), end: Buffer.alloc(0) };

/** The smallest key above all that begin with `prefix`. */
export function nextKey(prefix: Buffer): Buffer {
  const next = Buffer.from(prefix);
  for (let i = next.length - 1; i >= 0; i--) {
    next[i] = (next[i]! + 1) & 0xff;
    if (next[i] !== 0) return next.subarray(0, i + 1);
  }
  return Buffer.alloc(0);
}

export function prefixRange(prefix: string | Buffer): KvRange {
  const start = Buffer.from(prefix);
  return { start, end: nextKey(start) };
}

/** `A`, inode, tag, rest. */
export function inodeKey(inode: bigint, tag: number, rest?: Buffer): Buffer {
  const key = Buffer.alloc(INODE_KEY_BYTES + (rest?.length ?? 0));
  key[0] = FAMILY_INODE;
  key.writeBigUInt64LE(inode, 1);
  key[9] = tag;
  rest?.copy(key, INODE_KEY_BYTES);
  return key;
}

/** All that belongs to an inode: attribute, entries, chunks, target, extended attributes, parents. */
export function inodeRange(inode: bigint): KvRange {
  return prefixRange(inodeKey(inode, 0).subarray(0, 9));
}

/** A prefix and a big-endian number, as sessions, users and groups have it. */
export function numberKey(prefix: string, number: bigint): Buffer {
  const key = Buffer.alloc(prefix.length + 8);
  key.write(prefix, "latin1");
  key.writeBigUInt64BE(number, prefix.length);
  return key;
}

export function counterKey(name: string): Buffer {
  return Buffer.from(`C${name}`);
}

/** A counter, little-endian; missing and damaged ones count as 0 (docs/spec/kv.md §4). */
export function decodeCounter(value: Buffer | undefined): bigint {
  return value?.length === 8 ? value.readBigInt64LE() : 0n;
}

export function encodeCounter(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value);
  return bytes;
}

/** Counters of every volume, and how the key-value stores name them. */
export const COUNTERS: readonly string[] = [
  "usedSpace",
  "totalInodes",
  "nextInode",
  "nextChunk",
  "nextSession",
  "nextTrash",
];

/** Where a load writes, but for the setting: what else is in a store belongs to somebody else. */
export const LOADED_RANGES: readonly KvRange[] = [
  ...["A", "C", "D", "K", "QD", "QG", "QU", "R", "SS", "U"],
  PROGRESS_NAME,
].map(prefixRange);
