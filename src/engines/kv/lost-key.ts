import type { RecordKind } from "../../volume/records.ts";
import type { SnapshotLoss } from "../engine.ts";
import { printableKey } from "../notes.ts";
import {
  FAMILY_INODE,
  INODE_KEY_BYTES,
  TAG_CHUNK,
  TAG_EDGE,
  TAG_NODE,
  TAG_PARENT,
  TAG_SYMLINK,
  TAG_XATTR,
} from "./kv-keys.ts";

const KIND_OF_TAG: ReadonlyMap<number, RecordKind> = new Map([
  [TAG_NODE, "node"],
  [TAG_EDGE, "edge"],
  [TAG_PARENT, "parent"],
  [TAG_CHUNK, "chunk"],
  [TAG_SYMLINK, "symlink"],
  [TAG_XATTR, "xattr"],
]);

/** Prefixes of the keys of other kinds; longer ones first (docs/spec/kv.md §3). */
const KIND_OF_PREFIX: readonly (readonly [prefix: string, kind: RecordKind])[] = [
  ["setting", "setting"],
  ["SS", "sustained"],
  ["QD", "quota"],
  ["QU", "userQuota"],
  ["QG", "groupQuota"],
  ["C", "counter"],
  ["D", "delFile"],
  ["K", "sliceRef"],
  ["R", "acl"],
  ["U", "dirStat"],
];

/** What is lost with the pair of a key, as far as the key tells. */
export function lostKey(key: Buffer, what: string): SnapshotLoss {
  return { ...placeOf(key), message: `key ${printableKey(key)}: ${what}` };
}

function placeOf(key: Buffer): { kind: RecordKind | undefined; inode?: bigint } {
  if (key[0] === FAMILY_INODE) {
    if (key.length < INODE_KEY_BYTES) return { kind: undefined };
    return { kind: KIND_OF_TAG.get(key[INODE_KEY_BYTES - 1]!), inode: key.readBigUInt64LE(1) };
  }
  const text = key.toString("latin1", 0, 8);
  const kind = KIND_OF_PREFIX.find(([prefix]) => text.startsWith(prefix))?.[1];
  if (kind === "quota" && key.length === 10) return { kind, inode: key.readBigUInt64LE(2) };
  const hasInode = (kind === "dirStat" && key.length === 9) || (kind === "delFile" && key.length === 17);
  return hasInode ? { kind, inode: key.readBigUInt64LE(1) } : { kind };
}
