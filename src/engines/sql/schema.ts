/**
 * The tables of a volume in a SQL database, in creation order (docs/spec/sql.md §3.1, 3.2). The model is the same for
 * SQLite, MySQL and PostgreSQL; each engine renders it in its own dialect, byte for byte as the reference does.
 */
export interface SqlTable {
  /** Name without `jfs_` and table prefix. */
  readonly name: string;
  readonly columns: readonly SqlColumn[];
  readonly indexes: readonly SqlIndex[];
  /** Columns of a primary key of several columns, which stands at the end of the statement. */
  readonly primaryKey?: readonly string[];
}

export interface SqlColumn {
  readonly name: string;
  readonly type: SqlType;
  /** `auto`: a primary key that the database numbers. */
  readonly key?: "primary" | "auto";
  readonly nullable?: true;
  readonly defaultZero?: true;
}

/** `name`: text of at most 255 bytes. `bytes255`, `bytes4096`: byte strings with a limit where the dialect has one. */
export type SqlType = "int32" | "int64" | "name" | "text" | "bytes" | "bytes255" | "bytes4096";

export interface SqlIndex {
  readonly unique: boolean;
  /** Last part of the index name: `UQE_<table>_<group>` or `IDX_<table>_<column>`. */
  readonly suffix: string;
  readonly columns: readonly string[];
}

const int32 = (name: string): SqlColumn => ({ name, type: "int32" });
const int64 = (name: string): SqlColumn => ({ name, type: "int64" });
const bytes = (name: string): SqlColumn => ({ name, type: "bytes" });
const nullable = (name: string, type: SqlType): SqlColumn => ({ name, type, nullable: true });
const primary = (name: string, type: SqlType = "int64"): SqlColumn => ({ name, type, key: "primary" });
const auto = (type: SqlType = "int64"): SqlColumn => ({ name: "id", type, key: "auto" });
const nanoseconds = (name: string): SqlColumn => ({ name, type: "int32", defaultZero: true });
const unique = (suffix: string, ...columns: string[]): SqlIndex => ({ unique: true, suffix, columns });
const plain = (column: string): SqlIndex => ({ unique: false, suffix: column, columns: [column] });

function table(name: string, columns: readonly SqlColumn[], ...indexes: SqlIndex[]): SqlTable {
  return { name, columns, indexes };
}

const usageColumns: readonly SqlColumn[] = [
  int64("max_space"),
  int64("max_inodes"),
  int64("used_space"),
  int64("used_inodes"),
];

const nodeColumns: readonly SqlColumn[] = [
  primary("inode"),
  int32("type"),
  int32("flags"),
  int32("mode"),
  int32("uid"),
  int32("gid"),
  int64("atime"),
  int64("mtime"),
  int64("ctime"),
  nanoseconds("atimensec"),
  nanoseconds("mtimensec"),
  nanoseconds("ctimensec"),
  int32("nlink"),
  int64("length"),
  nullable("rdev", "int32"),
  nullable("parent", "int64"),
  nullable("access_acl_id", "int32"),
  nullable("default_acl_id", "int32"),
  nullable("tier_id", "int32"),
];

export const SQL_TABLES: readonly SqlTable[] = [
  table("setting", [primary("name", "name"), { name: "value", type: "text" }]),
  table("counter", [primary("name", "name"), int64("value")]),
  table(
    "edge",
    [auto(), int64("parent"), { name: "name", type: "bytes255" }, int64("inode"), int32("type")],
    unique("edge", "parent", "name"),
    plain("inode"),
  ),
  table("node", nodeColumns),
  table("symlink", [primary("inode"), { name: "target", type: "bytes4096" }]),
  table(
    "xattr",
    [auto(), int64("inode"), { name: "name", type: "name" }, bytes("value")],
    unique("name", "inode", "name"),
  ),
  table("chunk", [auto(), int64("inode"), int32("indx"), bytes("slices")], unique("chunk", "inode", "indx")),
  table("chunk_ref", [primary("chunkid"), int32("size"), int32("refs")], plain("refs")),
  table("delslices", [primary("chunkid"), int64("deleted"), bytes("slices")]),
  table("session2", [primary("sid"), int64("expire"), nullable("info", "bytes")]),
  table("sustained", [auto(), int64("sid"), int64("inode")], unique("sustained", "sid", "inode")),
  table("delfile", [primary("inode"), int64("length"), int64("expire")]),
  table(
    "flock",
    [auto(), int64("inode"), int64("sid"), int64("owner"), int32("ltype")],
    unique("flock", "inode", "sid", "owner"),
  ),
  table(
    "plock",
    [auto(), int64("inode"), int64("sid"), int64("owner"), bytes("records")],
    unique("plock", "inode", "sid", "owner"),
  ),
  table("dir_quota", [primary("inode"), ...usageColumns]),
  {
    name: "user_group_quota",
    columns: [int32("qtype"), int64("qkey"), ...usageColumns],
    indexes: [],
    primaryKey: ["qtype", "qkey"],
  },
  table("dir_stats", [primary("inode"), int64("data_length"), int64("used_space"), int64("used_inodes")]),
  table("detached_node", [primary("inode"), int64("added")]),
  table("acl", [
    auto("int32"),
    ...["owner", "group", "mask", "other"].map((name) => nullable(name, "int32")),
    nullable("named_users", "bytes"),
    nullable("named_groups", "bytes"),
  ]),
  table("delegation_token", [auto("int32"), nullable("token", "bytes")]),
  table("change_log", [auto(), { name: "entry", type: "text" }]),
];

/** Columns of `node` in the order of the table; rows travel in this order (sql/node-row.ts). */
export const NODE_COLUMNS: readonly string[] = nodeColumns.map((column) => column.name);

/** The counter rows of a new volume, all that are not 0 with their value (docs/spec/sql.md §5). */
export const NEW_VOLUME_COUNTERS: readonly (readonly [name: string, value: bigint])[] = [
  ["nextInode", 2n],
  ["nextChunk", 1n],
  ["nextSession", 0n],
  ["usedSpace", 0n],
  ["totalInodes", 0n],
  ["nextCleanupSlices", 0n],
];

/**
 * The sessions of clients older than 1.0: sid, heartbeat, info. No client creates this table any more; `status` still shows its
 * rows (docs/spec/sql.md §8.1).
 */
export const LEGACY_SESSION_TABLE = "session";

/** Seconds after the last heartbeat in which a session of that table counts as living. */
export const LEGACY_SESSION_SECONDS = 300n;

/** Full name of a table; the prefix is used verbatim (docs/spec/sql.md §1.1). */
export function tableName(prefix: string, name: string): string {
  return prefix === "" ? `jfs_${name}` : `jfs_${prefix}_${name}`;
}

/** Full name of an index of the table with that full name. */
export function indexName(fullTableName: string, index: SqlIndex): string {
  return `${index.unique ? "UQE" : "IDX"}_${fullTableName}_${index.suffix}`;
}
