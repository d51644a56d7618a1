import { DataError } from "../base/errors.ts";

/**
 * The attribute record of an inode, as Redis, the key-value engines and the binary format store it, big-endian
 * (docs/spec/redis.md §5, docs/spec/binary-dump.md §2):
 *
 *   0  u8  flags           1  u16 type << 12 | mode   3  u32 uid      7  u32 gid
 *   11 s64 atime  19 u32 atimensec   23 s64 mtime  31 u32 mtimensec   35 s64 ctime  43 u32 ctimensec
 *   47 u32 nlink  51 u64 length      59 u32 rdev   63 u64 parent (0 = hard-linked)
 *   71 u32 access ACL id, 75 u32 default ACL id    only when one of them is not 0
 *   71|79 u8 tier                                  only when not 0
 *   end u8 0                                       always
 *
 * In decant an attribute travels in this form; records of older clients may end earlier, at 63 bytes or after. Whoever
 * writes new records decodes and encodes such a one.
 */
export const ATTR_FLAGS = 0;
export const ATTR_TYPE_MODE = 1;
export const ATTR_UID = 3;
export const ATTR_GID = 7;
export const ATTR_ATIME = 11;
export const ATTR_ATIMENSEC = 19;
export const ATTR_MTIME = 23;
export const ATTR_MTIMENSEC = 31;
export const ATTR_CTIME = 35;
export const ATTR_CTIMENSEC = 43;
export const ATTR_NLINK = 47;
export const ATTR_LENGTH = 51;
export const ATTR_RDEV = 59;
export const ATTR_PARENT = 63;
export const ATTR_TAIL = 71;

/** Shortest record that can be read at all: everything up to rdev. */
export const ATTR_MIN_BYTES = 63;
/** Length of a complete record without ACL ids and tier. */
export const ATTR_BASE_BYTES = 72;
/** Length of a complete record with ACL ids and tier. */
export const ATTR_MAX_BYTES = 81;

/** A decoded attribute record. Times are seconds since the epoch, signed, plus nanoseconds. */
export interface Attribute {
  flags: number;
  /** A number of `FileType`; 0 and unknown numbers occur in damaged volumes. */
  type: number;
  /** 12 permission bits. */
  mode: number;
  uid: number;
  gid: number;
  atime: bigint;
  atimensec: number;
  mtime: bigint;
  mtimensec: number;
  ctime: bigint;
  ctimensec: number;
  nlink: number;
  length: bigint;
  rdev: number;
  /** 0 for a file that has or had several places. */
  parent: bigint;
  /** 0 = none. */
  accessAclId: number;
  /** 0 = none. */
  defaultAclId: number;
  /** Storage tier 0..3. */
  tier: number;
}

/** What the end of an attribute record holds, read from `bytes[start..end)`. */
export interface AttributeTail {
  accessAclId: number;
  defaultAclId: number;
  tier: number;
}

/** Reads ACL ids and tier by what is left after the parent (docs/spec/redis.md §5, rules 2 and 3). */
export function readAttributeTail(bytes: Buffer, start: number, end: number): AttributeTail {
  let at = start + ATTR_TAIL;
  let accessAclId = 0;
  let defaultAclId = 0;
  if (end - at >= 8) {
    accessAclId = bytes.readUInt32BE(at);
    defaultAclId = bytes.readUInt32BE(at + 4);
    at += 8;
  }
  return { accessAclId, defaultAclId, tier: at < end ? bytes[at]! : 0 };
}

/** Decodes a record of 63 bytes or more. Throws `DataError` for shorter ones. The input is borrowed. */
export function decodeAttribute(bytes: Buffer, start: number = 0, end: number = bytes.length): Attribute {
  const size = end - start;
  if (size < ATTR_MIN_BYTES) {
    throw new DataError(
      "DECANT_E_ATTRIBUTE",
      `Cannot decode an attribute record: expected at least ${ATTR_MIN_BYTES} bytes, got ${size}`,
    );
  }
  const typeMode = bytes.readUInt16BE(start + ATTR_TYPE_MODE);
  return {
    flags: bytes[start]!,
    type: typeMode >> 12,
    mode: typeMode & 0xfff,
    uid: bytes.readUInt32BE(start + ATTR_UID),
    gid: bytes.readUInt32BE(start + ATTR_GID),
    atime: bytes.readBigInt64BE(start + ATTR_ATIME),
    atimensec: bytes.readUInt32BE(start + ATTR_ATIMENSEC),
    mtime: bytes.readBigInt64BE(start + ATTR_MTIME),
    mtimensec: bytes.readUInt32BE(start + ATTR_MTIMENSEC),
    ctime: bytes.readBigInt64BE(start + ATTR_CTIME),
    ctimensec: bytes.readUInt32BE(start + ATTR_CTIMENSEC),
    nlink: bytes.readUInt32BE(start + ATTR_NLINK),
    length: bytes.readBigUInt64BE(start + ATTR_LENGTH),
    rdev: bytes.readUInt32BE(start + ATTR_RDEV),
    parent: size >= ATTR_TAIL ? bytes.readBigUInt64BE(start + ATTR_PARENT) : 0n,
    ...readAttributeTail(bytes, start, end),
  };
}

/** Encodes the canonical record of 72, 73, 80 or 81 bytes. */
export function encodeAttribute(attribute: Attribute): Buffer {
  const hasAcl = attribute.accessAclId !== 0 || attribute.defaultAclId !== 0;
  const bytes = Buffer.alloc(ATTR_BASE_BYTES + (hasAcl ? 8 : 0) + (attribute.tier === 0 ? 0 : 1));
  bytes[ATTR_FLAGS] = attribute.flags;
  bytes.writeUInt16BE((attribute.type << 12) | (attribute.mode & 0xfff), ATTR_TYPE_MODE);
  bytes.writeUInt32BE(attribute.uid, ATTR_UID);
  bytes.writeUInt32BE(attribute.gid, ATTR_GID);
  bytes.writeBigInt64BE(attribute.atime, ATTR_ATIME);
  bytes.writeUInt32BE(attribute.atimensec, ATTR_ATIMENSEC);
  bytes.writeBigInt64BE(attribute.mtime, ATTR_MTIME);
  bytes.writeUInt32BE(attribute.mtimensec, ATTR_MTIMENSEC);
  bytes.writeBigInt64BE(attribute.ctime, ATTR_CTIME);
  bytes.writeUInt32BE(attribute.ctimensec, ATTR_CTIMENSEC);
  bytes.writeUInt32BE(attribute.nlink, ATTR_NLINK);
  bytes.writeBigUInt64BE(attribute.length, ATTR_LENGTH);
  bytes.writeUInt32BE(attribute.rdev, ATTR_RDEV);
  bytes.writeBigUInt64BE(attribute.parent, ATTR_PARENT);
  let at = ATTR_TAIL;
  if (hasAcl) {
    bytes.writeUInt32BE(attribute.accessAclId, at);
    bytes.writeUInt32BE(attribute.defaultAclId, at + 4);
    at += 8;
  }
  if (attribute.tier !== 0) bytes[at] = attribute.tier;
  return bytes;
}

/** The attributes of the root or the trash root of a new volume (docs/spec/redis.md §3.1). */
export function newDirectoryAttribute(mode: number, seconds: bigint): Attribute {
  return {
    flags: 0,
    type: 2,
    mode,
    uid: 0,
    gid: 0,
    atime: seconds,
    atimensec: 0,
    mtime: seconds,
    mtimensec: 0,
    ctime: seconds,
    ctimensec: 0,
    nlink: 2,
    length: 4096n,
    rdev: 0,
    parent: 1n,
    accessAclId: 0,
    defaultAclId: 0,
    tier: 0,
  };
}
