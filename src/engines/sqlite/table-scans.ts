import { INLINE_BYTES } from "../sql/decimal.ts";
import {
  decodeAcl,
  decodeChunk,
  decodeEdge,
  decodeInt64s,
  decodeSliceRef,
  decodeSymlink,
  decodeXattr,
} from "../sql/record-decoders.ts";
import { nodeScan } from "./packed-node.ts";
import { type Catalog, quote } from "./sqlite-schema.ts";
import type { TableScan } from "./table-scan.ts";

/** A byte string of any class with its size; see the trap in docs/spec/sql.md §4.3. */
function sized(column: string, limit: number): string[] {
  const size = `octet_length(t.${column})`;
  return [size, `iif(${size} > ${limit}, t.rowid, t.${column})`];
}

const USAGE = ["t.max_space", "t.max_inodes", "t.used_space", "t.used_inodes"];
const NAME_LIMIT = 65535;

/** All scans that a database with this catalog allows; tables that older volumes lack are left out. */
export function tableScans(catalog: Catalog): TableScan[] {
  const scans = [nodeScan(catalog), ...inodeScans(), aclScan(catalog), ...otherScans()];
  return scans.filter((scan) => catalog.has(scan.table));
}

/** What else belongs to an inode. */
function inodeScans(): TableScan[] {
  return [
    {
      kind: "edge",
      table: "edge",
      fields: ["t.parent", "t.inode", "t.type", ...sized("name", NAME_LIMIT)],
      newDecoder: () => decodeEdge,
      key: "id",
      inode: "parent",
    },
    {
      kind: "chunk",
      table: "chunk",
      fields: ["t.inode", "t.indx", ...sized("slices", INLINE_BYTES)],
      newDecoder: () => decodeChunk,
      key: "id",
      inode: "inode",
      large: "slices",
    },
    {
      kind: "symlink",
      table: "symlink",
      fields: ["t.inode", ...sized("target", INLINE_BYTES)],
      newDecoder: () => decodeSymlink,
      key: "inode",
      inode: "inode",
      large: "target",
    },
    {
      kind: "xattr",
      table: "xattr",
      fields: ["t.inode", ...sized("name", NAME_LIMIT), ...sized("value", INLINE_BYTES)],
      newDecoder: () => decodeXattr,
      key: "id",
      inode: "inode",
      large: "value",
    },
  ];
}

function aclScan(catalog: Catalog): TableScan {
  return {
    kind: "acl",
    table: "acl",
    fields: [
      "t.id",
      ...["owner", "group", "mask", "other"].map((column) => catalog.integer("acl", column, "t")),
      ...["named_users", "named_groups"].flatMap((column) => [
        `ifnull(octet_length(t.${quote(column)}),0)`,
        `ifnull(t.${quote(column)},'')`,
      ]),
    ],
    newDecoder: () => decodeAcl,
  };
}

function otherScans(): TableScan[] {
  return [
    {
      kind: "sliceRef",
      table: "chunk_ref",
      fields: ["t.chunkid", "t.size", "t.refs"],
      newDecoder: () => decodeSliceRef,
      // Two ranges of the index on refs instead of a scan; slice 0 is no slice (docs/spec/sql.md §12.1).
      where: ["t.refs < 1 AND t.chunkid <> 0", "t.refs > 1 AND t.chunkid <> 0"],
    },
    { kind: "sustained", table: "sustained", fields: ["t.sid", "t.inode"], newDecoder: () => decodeInt64s(2) },
    {
      kind: "delFile",
      table: "delfile",
      fields: ["t.inode", "t.length", "t.expire"],
      newDecoder: () => decodeInt64s(3),
    },
    {
      kind: "dirStat",
      table: "dir_stats",
      fields: ["t.inode", "t.data_length", "t.used_space", "t.used_inodes"],
      newDecoder: () => decodeInt64s(4),
      key: "inode",
    },
    { kind: "quota", table: "dir_quota", fields: ["t.inode", ...USAGE], newDecoder: () => decodeInt64s(5) },
    userGroupScan("userQuota", 1),
    userGroupScan("groupQuota", 2),
  ];
}

function userGroupScan(kind: "userQuota" | "groupQuota", type: number): TableScan {
  return {
    kind,
    table: "user_group_quota",
    fields: ["t.qkey", ...USAGE],
    newDecoder: () => decodeInt64s(5),
    where: [`t.qtype = ${type}`],
  };
}

/** The row as one text; the caller casts it to BLOB, so that the library hands its bytes over as they are. */
export function packedRow({ fields, rareFields }: TableScan): string {
  const common = fields.join(", ");
  if (rareFields === undefined) return `concat_ws(' ', ${common})`;
  const isCommon = rareFields.map((field) => `${field} = 0`).join(" AND ");
  return `iif(${isCommon}, concat_ws(' ', ${common}, 0), concat_ws(' ', ${common}, 1, ${rareFields.join(", ")}))`;
}
