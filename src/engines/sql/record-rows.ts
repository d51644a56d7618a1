import { type AclEntry, decodeAclRule } from "../../volume/acl.ts";
import type { AclRecord, QuotaRecord, RecordTypes } from "../../volume/records.ts";
import { SQL_TABLES } from "./schema.ts";

/** What a loader writes for a record, whatever the SQL engine. Columns and values stand in the same order. */

/** By index of `NODE_COLUMNS`: whether the column is a 64-bit one. */
export const NODE_WIDTHS: readonly boolean[] = SQL_TABLES.find(({ name }) => name === "node")!.columns.map(
  ({ type }) => type === "int64",
);

const USAGE_COLUMNS: readonly string[] = ["max_space", "max_inodes", "used_space", "used_inodes"];

export const REFERENCE_COLUMNS: readonly string[] = ["chunkid", "size", "refs"];
export const SUSTAINED_COLUMNS: readonly string[] = ["sid", "inode"];
export const QUOTA_COLUMNS: readonly string[] = ["inode", ...USAGE_COLUMNS];
/** Quotas of users have type 1, those of groups type 2. */
export const OWNER_QUOTA_COLUMNS: readonly string[] = ["qtype", "qkey", ...USAGE_COLUMNS];
export const DEL_FILE_COLUMNS: readonly string[] = ["inode", "length", "expire"];
export const DIR_STAT_COLUMNS: readonly string[] = ["inode", "data_length", "used_space", "used_inodes"];
export const ACL_COLUMNS: readonly string[] = ["id", "owner", "group", "mask", "other", "named_users", "named_groups"];

export function sustainedRow(record: RecordTypes["sustained"]): bigint[] {
  return [record.sid, record.inode];
}

export function delFileRow(record: RecordTypes["delFile"]): bigint[] {
  return [record.inode, record.length, record.expire];
}

export function dirStatRow(record: RecordTypes["dirStat"]): bigint[] {
  return [record.inode, record.dataLength, record.usedSpace, record.usedInodes];
}

/** Of a directory; for users and groups the type stands before it. */
export function quotaRow(record: QuotaRecord): bigint[] {
  return [record.key, record.maxSpace, record.maxInodes, record.usedSpace, record.usedInodes];
}

/** The columns of `ACL_COLUMNS`: five numbers, two lists. */
export function aclRow({ id, rule }: AclRecord): { numbers: number[]; lists: [users: Buffer, groups: Buffer] } {
  const { owner, group, mask, other, users, groups } = decodeAclRule(rule);
  return { numbers: [id, owner, group, mask, other], lists: [encodeEntries(users), encodeEntries(groups)] };
}

/** u32 id, u16 permission each (docs/spec/sql.md §4.6). */
function encodeEntries(entries: readonly AclEntry[]): Buffer {
  const bytes = Buffer.alloc(entries.length * 6);
  entries.forEach((entry, i) => {
    bytes.writeUInt32BE(entry.id, i * 6);
    bytes.writeUInt16BE(entry.perm, i * 6 + 4);
  });
  return bytes;
}
