import { DataError } from "../base/errors.ts";

/** A permission that is not set: for `mask`, "no mask" (docs/spec/redis.md §8.2). */
export const ACL_UNDEFINED = 0xffff;

/** A named user or group of a rule. */
export interface AclEntry {
  id: number;
  perm: number;
}

/** A POSIX ACL rule. Rules are immutable and shared by id; id 0 = none. */
export interface AclRule {
  owner: number;
  group: number;
  mask: number;
  other: number;
  users: AclEntry[];
  groups: AclEntry[];
}

/**
 * Decodes a rule (docs/spec/redis.md §8.2), big-endian: u16 owner, group, mask, other; u32 n, n × (u32 uid, u16 perm);
 * u32 m, m × (u32 gid, u16 perm). Throws `DataError` when the lengths do not fit.
 */
export function decodeAclRule(bytes: Buffer): AclRule {
  const users = readEntries(bytes, 8);
  const groups = readEntries(bytes, 12 + users.length * 6);
  return {
    owner: bytes.readUInt16BE(0),
    group: bytes.readUInt16BE(2),
    mask: bytes.readUInt16BE(4),
    other: bytes.readUInt16BE(6),
    users,
    groups,
  };
}

function readEntries(bytes: Buffer, at: number): AclEntry[] {
  const count = at + 4 <= bytes.length ? bytes.readUInt32BE(at) : Number.POSITIVE_INFINITY;
  if (at + 4 + count * 6 > bytes.length) {
    throw new DataError("DECANT_E_ACL", `Cannot decode an ACL rule: it is cut off after ${bytes.length} bytes`);
  }
  return Array.from({ length: count }, (_, i) => ({
    id: bytes.readUInt32BE(at + 4 + i * 6),
    perm: bytes.readUInt16BE(at + 8 + i * 6),
  }));
}

/** Encodes a rule in the layout of `decodeAclRule`. */
export function encodeAclRule(rule: AclRule): Buffer {
  const bytes = Buffer.alloc(16 + (rule.users.length + rule.groups.length) * 6);
  bytes.writeUInt16BE(rule.owner, 0);
  bytes.writeUInt16BE(rule.group, 2);
  bytes.writeUInt16BE(rule.mask, 4);
  bytes.writeUInt16BE(rule.other, 6);
  let at = 8;
  for (const entries of [rule.users, rule.groups]) {
    bytes.writeUInt32BE(entries.length, at);
    at += 4;
    for (const entry of entries) {
      bytes.writeUInt32BE(entry.id, at);
      bytes.writeUInt16BE(entry.perm, at + 4);
      at += 6;
    }
  }
  return bytes;
}
