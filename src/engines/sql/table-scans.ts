import type { FlatKind } from "../../volume/records.ts";
import type { SqlCatalog } from "./catalog.ts";
import {
  decodeAcl,
  decodeChunk,
  decodeEdge,
  decodeInt64s,
  decodeSliceRef,
  decodeSymlink,
  decodeXattr,
  nodeDecoder,
  type RowDecoder,
} from "./record-decoders.ts";
import { NODE_COLUMNS } from "./schema.ts";

/** How the records of one kind are read from a table of a SQL server, one row each. */
export interface TableScan {
  readonly kind: FlatKind;
  /** Name in the catalog. */
  readonly table: string;
  /** Expressions in the order in which the decoder reads them. */
  readonly columns: readonly string[];
  readonly newDecoder: () => RowDecoder;
  /** Column that says to which inode the row belongs, for the kinds of a subtree. */
  readonly inode?: string;
  /** A condition, where not all rows are wanted. */
  readonly where?: string;
}

const USAGE = ["max_space", "max_inodes", "used_space", "used_inodes"];

/** All scans that a database with this catalog allows; tables that older volumes lack are left out. */
export function tableScans(catalog: SqlCatalog, quote: (name: string) => string): TableScan[] {
  const present = (table: string, columns: readonly string[]): string[] =>
    columns.map((column) => (catalog.hasColumn(table, column) ? quote(column) : "0"));
  const plain = (kind: FlatKind, table: string, columns: readonly string[], where?: string): TableScan => ({
    kind,
    table,
    columns: columns.map(quote),
    newDecoder: () => decodeInt64s(columns.length),
    ...(where === undefined ? {} : { where }),
  });
  const ofInode = (kind: FlatKind, columns: readonly string[], decode: RowDecoder, inode = "inode"): TableScan => ({
    kind,
    table: kind,
    columns: columns.map(quote),
    newDecoder: () => decode,
    inode,
  });
  const aclColumns = ["id", "owner", "group", "mask", "other", "named_users", "named_groups"];
  const scans: TableScan[] = [
    { kind: "node", table: "node", columns: present("node", NODE_COLUMNS), newDecoder: nodeDecoder, inode: "inode" },
    ofInode("edge", ["parent", "inode", "type", "name"], decodeEdge, "parent"),
    ofInode("chunk", ["inode", "indx", "slices"], decodeChunk),
    ofInode("symlink", ["inode", "target"], decodeSymlink),
    ofInode("xattr", ["inode", "name", "value"], decodeXattr),
    { kind: "acl", table: "acl", columns: aclColumns.map(quote), newDecoder: () => decodeAcl },
    {
      kind: "sliceRef",
      table: "chunk_ref",
      columns: ["chunkid", "size", "refs"].map(quote),
      newDecoder: () => decodeSliceRef,
      // Two ranges of the index on refs instead of a scan; slice 0 is no slice (docs/spec/sql.md §12.1).
      where: "(refs < 1 OR refs > 1) AND chunkid <> 0",
    },
    plain("sustained", "sustained", ["sid", "inode"]),
    plain("delFile", "delfile", ["inode", "length", "expire"]),
    plain("dirStat", "dir_stats", ["inode", "data_length", "used_space", "used_inodes"]),
    plain("quota", "dir_quota", ["inode", ...USAGE]),
    plain("userQuota", "user_group_quota", ["qkey", ...USAGE], "qtype = 1"),
    plain("groupQuota", "user_group_quota", ["qkey", ...USAGE], "qtype = 2"),
  ];
  return scans.filter((scan) => catalog.has(scan.table));
}

/** The statement that gives the rows of a scan, all of them or those that also meet `condition`. */
export function scanQuery(catalog: SqlCatalog, scan: TableScan, condition?: string): string {
  const conditions = [scan.where, condition].filter((text) => text !== undefined);
  const where = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
  return `SELECT ${scan.columns.join(", ")} FROM ${catalog.table(scan.table)}${where}`;
}
