import { parseUnsigned, toBigInt, type U64 } from "./decimal.ts";

/** The key families of inodes (docs/spec/redis.md §2), by their first letter. */
export const FAMILY_NODE = 0x69;
export const FAMILY_DIRECTORY = 0x64;
export const FAMILY_PARENT = 0x70;
export const FAMILY_CHUNK = 0x63;
export const FAMILY_SYMLINK = 0x73;
export const FAMILY_XATTR = 0x78;
/** A key of the volume that belongs to no inode family. */
export const FAMILY_OTHER = 1;
/** A key of another application. */
export const FAMILY_FOREIGN = 0;

/** A classified key. */
export interface KeyInfo extends U64 {
  /** Chunk index; 0 in the other families. */
  index: number;
}

const FIXED_KEYS: ReadonlySet<string> = new Set([
  "setting",
  "usedSpace",
  "totalInodes",
  "nextinode",
  "nextchunk",
  "nextsession",
  "nextTrash",
  "aclMaxId",
  "krbTokenMaxId",
  "lastCleanupSessions",
  "lastCleanupFiles",
  "lastCleanupTrash",
  "lastCleanupChangelog",
  "nextCleanupSlices",
  "sliceRef",
  "delSlices",
  "delfiles",
  "detachedNodes",
  "acl",
  "dirDataLength",
  "dirUsedSpace",
  "dirUsedInodes",
  "dirQuota",
  "dirQuotaUsedSpace",
  "dirQuotaUsedInodes",
  "userQuota",
  "userQuotaUsedSpace",
  "userQuotaUsedInodes",
  "groupQuota",
  "groupQuotaUsedSpace",
  "groupQuotaUsedInodes",
  "allSessions",
  "sessionInfos",
  "krbToken",
  "txnLog",
  "txnLastLog",
  "lastChangelog",
  "sessions",
]);

const NUMBERED_KEY = /^(?:session|locked|lockf|lockp)[0-9]+$|^k[0-9]+_[0-9]+$/;

const SECOND: U64 = { hi: 0, lo: 0 };

/**
 * The family of the key `bytes[start..end)`, its prefix already cut off, and its numbers. A key belongs to an inode family
 * only when nothing but digits follows the letter (docs/spec/redis.md §2, end); a number with leading zeros or beyond 64
 * bits was never written by a client.
 */
export function classifyKey(bytes: Buffer, start: number, end: number, out: KeyInfo): number {
  const letter = bytes[start]!;
  switch (letter) {
    case FAMILY_NODE:
    case FAMILY_DIRECTORY:
    case FAMILY_PARENT:
    case FAMILY_SYMLINK:
    case FAMILY_XATTR:
      out.index = 0;
      if (parseUnsigned(bytes, start + 1, end, out)) return letter;
      break;
    case FAMILY_CHUNK: {
      let separator = start + 1;
      while (separator < end && bytes[separator] !== 0x5f) separator++;
      if (parseUnsigned(bytes, start + 1, separator, out)) {
        if (parseUnsigned(bytes, separator + 1, end, SECOND) && SECOND.hi === 0) {
          out.index = SECOND.lo;
          return letter;
        }
      }
      break;
    }
  }
  const name = bytes.toString("latin1", start, end);
  return FIXED_KEYS.has(name) || NUMBERED_KEY.test(name) ? FAMILY_OTHER : FAMILY_FOREIGN;
}

const SESSION = "session";

/** The session number of the key `session<sid>`, undefined for any other. */
export function sessionOfKey(bytes: Buffer, start: number, end: number): bigint | undefined {
  if (bytes.toString("latin1", start, Math.min(end, start + SESSION.length)) !== SESSION) return undefined;
  return parseUnsigned(bytes, start + SESSION.length, end, SECOND) ? toBigInt(SECOND.hi, SECOND.lo) : undefined;
}
