import {
  ATTR_ATIME,
  ATTR_ATIMENSEC,
  ATTR_CTIME,
  ATTR_CTIMENSEC,
  ATTR_LENGTH,
  ATTR_MAX_BYTES,
  ATTR_MTIME,
  ATTR_MTIMENSEC,
  ATTR_TAIL,
  ATTR_TYPE_MODE,
} from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import { MAX_NAME_BYTES } from "../volume/value-limits.ts";
import type { ProblemKind } from "./check-problems.ts";

const BAD_TYPE = 1;
const BAD_LENGTH = 2;
const BAD_TIME = 4;
const EMPTY_NODE = 8;
const NO_TARGET = 16;
const MISPLACED = 32;
const TARGET_LENGTH = 64;
const BAD_SIZE = 128;

const KIND_BY_BIT: readonly (readonly [bit: number, kind: ProblemKind])[] = [
  [BAD_TYPE, "unknown-type"],
  [BAD_LENGTH, "impossible-length"],
  [BAD_TIME, "impossible-time"],
  [EMPTY_NODE, "empty-node"],
  [NO_TARGET, "missing-target"],
  [MISPLACED, "misplaced-record"],
  [TARGET_LENGTH, "symlink-length"],
  [BAD_SIZE, "damaged-node"],
];

const NANOSECONDS = 1_000_000_000;
/** Before 1970 the reference's SQL engines show a fraction modulo 2^32 (docs/spec/sql.md §4.1). */
const WRAPPED_NANOSECONDS = 2 ** 32 - NANOSECONDS;
/** Highs of seconds within 272 years around 1970 ... */
const NEAR_HIGH = 1;
/** ... and the last second of the year 9999, the first of year 1. */
const LAST_SECOND = 253_402_300_799n;
const FIRST_SECOND = -62_135_596_800n;

/** What belongs to an inode, in sizes. */
export interface InodeParts {
  symlinkSize: number;
  hasChunks: boolean;
  /** False where lengths are not stored, as in a JSON dump. */
  hasLength: boolean;
  /** False for root directories, which dumps write with empty attributes where there is none. */
  mayBeEmpty: boolean;
}

/**
 * Looks at one inode by itself: its attribute record of `size` bytes at `view[at..)` and what comes with it. Returns bits,
 * mostly 0; `kindsOf` names them. No object is made: this is done for every inode.
 */
export function inodeFaults(view: DataView, at: number, size: number, type: number, parts: InodeParts): number {
  let faults = 0;
  if (type === 0 || type > FileType.socket) faults |= BAD_TYPE;
  if (size > ATTR_MAX_BYTES) faults |= BAD_SIZE;
  if (view.getUint32(at + ATTR_LENGTH) >= 0x8000_0000 && type === FileType.regular) faults |= BAD_LENGTH;
  const seconds = view.getInt32(at + ATTR_CTIME);
  if (seconds > NEAR_HIGH || seconds < ~NEAR_HIGH) faults |= farTime(view.getBigInt64(at + ATTR_CTIME));
  if (
    view.getUint32(at + ATTR_CTIMENSEC) >= NANOSECONDS ||
    view.getUint32(at + ATTR_MTIMENSEC) >= NANOSECONDS ||
    view.getUint32(at + ATTR_ATIMENSEC) >= NANOSECONDS
  ) {
    faults |= longFractions(view, at);
  }
  if (seconds === 0 && view.getUint32(at + ATTR_CTIME + 4) === 0 && !parts.mayBeEmpty) faults |= emptiness(view, at);
  if (type === FileType.symlink) faults |= targetFaults(view, at, parts);
  else if (parts.symlinkSize > 0) faults |= MISPLACED;
  if (parts.hasChunks && type !== FileType.regular) faults |= MISPLACED;
  return faults;
}

function targetFaults(view: DataView, at: number, { symlinkSize, hasLength }: InodeParts): number {
  if (symlinkSize === 0) return NO_TARGET;
  const length = view.getUint32(at + ATTR_LENGTH) * 2 ** 32 + view.getUint32(at + ATTR_LENGTH + 4);
  return hasLength && length !== symlinkSize ? TARGET_LENGTH : 0;
}

/** Users may set other times as they like; this one comes from a clock. */
function farTime(seconds: bigint): number {
  return seconds > LAST_SECOND || seconds < FIRST_SECOND ? BAD_TIME : 0;
}

function longFractions(view: DataView, at: number): number {
  const pairs = [
    [ATTR_CTIME, ATTR_CTIMENSEC],
    [ATTR_MTIME, ATTR_MTIMENSEC],
    [ATTR_ATIME, ATTR_ATIMENSEC],
  ] as const;
  const wrong = pairs.some(([time, fraction]) => {
    const nanoseconds = view.getUint32(at + fraction);
    const isWrapped = view.getInt32(at + time) < 0 && nanoseconds >= WRAPPED_NANOSECONDS;
    return nanoseconds >= NANOSECONDS && !isWrapped;
  });
  return wrong ? BAD_TIME : 0;
}

/** Mode, owner and all times 0 (docs/spec/json-dump.md §6). */
function emptiness(view: DataView, at: number): number {
  for (let i = ATTR_TYPE_MODE + 2; i < ATTR_CTIMENSEC + 4; i++) if (view.getUint8(at + i) !== 0) return 0;
  return (view.getUint16(at + ATTR_TYPE_MODE) & 0xfff) === 0 ? EMPTY_NODE : 0;
}

export function kindsOf(faults: number): ProblemKind[] {
  return KIND_BY_BIT.filter(([bit]) => (faults & bit) !== 0).map(([, kind]) => kind);
}

/** Whether an attribute record of this size has ACL ids. */
export function hasAclIds(size: number): boolean {
  return size >= ATTR_TAIL + 8;
}

/** Why nobody could reach an entry with the name `bytes[start..end)`. */
export function isBadName(bytes: Buffer, start: number, end: number): boolean {
  const size = end - start;
  if (size === 0 || size > MAX_NAME_BYTES) return true;
  if (bytes[start] === 0x2e && (size === 1 || (size === 2 && bytes[start + 1] === 0x2e))) return true;
  for (let i = start; i < end; i++) {
    const byte = bytes[i];
    if (byte === 0x2f || byte === 0) return true;
  }
  return false;
}

/** Whether a packed list of xattrs (volume/tree-item.ts) has a name that none can have. */
export function hasBadXattr(view: DataView, start: number, end: number): boolean {
  for (let at = start; at < end; ) {
    const nameSize = view.getUint16(at);
    if (nameSize === 0 || nameSize > MAX_NAME_BYTES) return true;
    at += 6 + nameSize + view.getUint32(at + 2);
  }
  return false;
}
