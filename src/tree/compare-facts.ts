import {
  ATTR_ATIME,
  ATTR_ATIMENSEC,
  ATTR_CTIME,
  ATTR_CTIMENSEC,
  ATTR_FLAGS,
  ATTR_GID,
  ATTR_LENGTH,
  ATTR_MTIME,
  ATTR_MTIMENSEC,
  ATTR_NLINK,
  ATTR_RDEV,
  ATTR_TYPE_MODE,
  ATTR_UID,
} from "../volume/attribute.ts";
import { FILE_TYPE_NAMES } from "../volume/file-type.ts";
import { FACT_ATTRIBUTE, FACT_INODE, FACT_SLICES, FACT_TIER, FACT_TYPE, factParts, xattrMap } from "./entry-facts.ts";
import type { FactName } from "./fact-names.ts";

/** Seconds since the epoch, signed, and nanoseconds. */
export interface FactTime {
  readonly seconds: bigint;
  readonly nanoseconds: number;
}

/** A difference. `null`: there is none on that side. */
export interface FactChange {
  readonly fact: FactName;
  /** Name of the extended attribute, for `xattr`. */
  readonly name?: Buffer;
  /**
   * Text for `type`; a time; bytes for `target`, an ACL rule (volume/acl.ts) and the value of an xattr; for `slices` their
   * number, which may be the same; else a number.
   */
  readonly from: FactValue;
  readonly to: FactValue;
}

export type FactValue = string | number | bigint | FactTime | Buffer | null;

/** What differs between the facts (entry-facts.ts) at `a[aAt..)` and `b[bAt..)`, in the order of FACT_NAMES. */
export function compareFacts(
  a: Buffer,
  aAt: number,
  b: Buffer,
  bAt: number,
  ignored: ReadonlySet<FactName>,
): FactChange[] {
  const changes: FactChange[] = [];
  const add = (fact: FactName, from: FactValue, to: FactValue, name?: Buffer): void => {
    if (!ignored.has(fact)) changes.push(name === undefined ? { fact, from, to } : { fact, from, to, name });
  };
  const fromA = aAt + FACT_ATTRIBUTE;
  const fromB = bAt + FACT_ATTRIBUTE;
  const u32 = (fact: FactName, offset: number): void => {
    const from = a.readUInt32BE(fromA + offset);
    const to = b.readUInt32BE(fromB + offset);
    if (from !== to) add(fact, from, to);
  };
  const u64 = (fact: FactName, from: bigint, to: bigint): void => {
    if (from !== to) add(fact, from, to);
  };
  const time = (fact: FactName, seconds: number, nanoseconds: number): void => {
    const from = readTime(a, fromA + seconds, fromA + nanoseconds);
    const to = readTime(b, fromB + seconds, fromB + nanoseconds);
    if (from.seconds !== to.seconds || from.nanoseconds !== to.nanoseconds) add(fact, from, to);
  };
  const small = (fact: FactName, from: number, to: number): void => {
    if (from !== to) add(fact, from, to);
  };

  u64("inode", a.readBigUInt64BE(aAt + FACT_INODE), b.readBigUInt64BE(bAt + FACT_INODE));
  if (a[aAt + FACT_TYPE] !== b[bAt + FACT_TYPE]) add("type", typeName(a, aAt), typeName(b, bAt));
  small("mode", a.readUInt16BE(fromA + ATTR_TYPE_MODE) & 0xfff, b.readUInt16BE(fromB + ATTR_TYPE_MODE) & 0xfff);
  u32("uid", ATTR_UID);
  u32("gid", ATTR_GID);
  u64("size", a.readBigUInt64BE(fromA + ATTR_LENGTH), b.readBigUInt64BE(fromB + ATTR_LENGTH));
  u32("nlink", ATTR_NLINK);
  time("atime", ATTR_ATIME, ATTR_ATIMENSEC);
  time("mtime", ATTR_MTIME, ATTR_MTIMENSEC);
  time("ctime", ATTR_CTIME, ATTR_CTIMENSEC);
  u32("rdev", ATTR_RDEV);
  small("flags", a[fromA + ATTR_FLAGS]!, b[fromB + ATTR_FLAGS]!);
  small("tier", a[aAt + FACT_TIER]!, b[bAt + FACT_TIER]!);

  const partsA = factParts(a, aAt);
  const partsB = factParts(b, bAt);
  for (const [fact, from, to] of [
    ["target", partsA.target, partsB.target],
    ["acl", partsA.access, partsB.access],
    ["default-acl", partsA.inherited, partsB.inherited],
  ] as const) {
    if (!from.equals(to)) add(fact, ownBytes(from), ownBytes(to));
  }
  if (!partsA.xattrs.equals(partsB.xattrs)) compareXattrs(partsA.xattrs, partsB.xattrs, add);
  if (!partsA.chunks.equals(partsB.chunks)) {
    add("slices", a.readUInt32BE(aAt + FACT_SLICES), b.readUInt32BE(bAt + FACT_SLICES));
  }
  return changes;
}

/** Name of the type that facts say, `unknown` for numbers without one. */
export function typeName(facts: Buffer, at: number): string {
  return FILE_TYPE_NAMES[facts[at + FACT_TYPE]!] ?? "unknown";
}

function readTime(bytes: Buffer, seconds: number, nanoseconds: number): FactTime {
  return { seconds: bytes.readBigInt64BE(seconds), nanoseconds: bytes.readUInt32BE(nanoseconds) };
}

/** A copy: facts stand in buffers that are written again. Nothing is null. */
function ownBytes(bytes: Buffer): Buffer | null {
  return bytes.length === 0 ? null : Buffer.from(bytes);
}

function compareXattrs(
  listA: Buffer,
  listB: Buffer,
  add: (fact: FactName, from: FactValue, to: FactValue, name: Buffer) => void,
): void {
  const a = xattrMap(listA);
  const b = xattrMap(listB);
  for (const key of [...new Set([...a.keys(), ...b.keys()])].sort()) {
    const from = a.get(key);
    const to = b.get(key);
    if (from !== undefined && to !== undefined && from.equals(to)) continue;
    const copy = (value: Buffer | undefined): Buffer | null => (value === undefined ? null : Buffer.from(value));
    add("xattr", copy(from), copy(to), Buffer.from(key, "latin1"));
  }
}
