import { type AclEntry, decodeAclRule } from "../../volume/acl.ts";
import {
  type FlatKind,
  type QuotaRecord,
  type RecordBatch,
  type RecordKind,
  type RecordTypes,
  unpackBatch,
} from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import type { LoaderOptions } from "../engine.ts";
import { toSqlInteger, unpackNodeRow } from "../sql/node-row.ts";
import { NODE_COLUMNS, tableName } from "../sql/schema.ts";
import { RowInserter } from "./row-inserter.ts";
import type { Connection } from "./sqlite-connection.ts";

/** Writes the records of one kind as rows. */
export interface RecordWriter {
  write(batch: RecordBatch): void;
  flush(): void;
}

const USAGE_COLUMNS = ["max_space", "max_inodes", "used_space", "used_inodes"];

/** Writers for every kind that has a table; the others are ignored by a SQL engine (docs/spec/binary-dump.md §7). */
export function recordWriters(
  db: Connection,
  prefix: string,
  sliceRefs: LoaderOptions["sliceRefs"],
): Partial<Record<RecordKind, RecordWriter>> {
  const insert = (table: string, columns: readonly string[], options = {}): RowInserter =>
    new RowInserter(db, tableName(prefix, table), columns, options);
  const userGroupQuotas = insert("user_group_quota", ["qtype", "qkey", ...USAGE_COLUMNS], { keyColumns: 2 });
  const references = sliceRefs === "exceptions" ? derivedReferences(insert) : undefined;
  return {
    node: nodeWriter(insert("node", NODE_COLUMNS)),
    edge: edgeWriter(insert("edge", ["parent", "name", "inode", "type"])),
    chunk: chunkWriter(insert("chunk", ["inode", "indx", "slices"]), references?.derived),
    symlink: symlinkWriter(insert("symlink", ["inode", "target"])),
    xattr: xattrWriter(insert("xattr", ["inode", "name", "value"], { text: ["name"] })),
    sliceRef: sliceRefWriter(references?.given ?? insert("chunk_ref", ["chunkid", "size", "refs"])),
    counter: plainWriter("counter", insert("counter", ["name", "value"], { keyColumns: 1 }), (r) => [r.name, r.value]),
    sustained: plainWriter("sustained", insert("sustained", ["sid", "inode"]), (r) => [r.sid, r.inode]),
    delFile: plainWriter("delFile", insert("delfile", ["inode", "length", "expire"]), (r) => [
      r.inode,
      r.length,
      r.expire,
    ]),
    dirStat: plainWriter("dirStat", insert("dir_stats", ["inode", "data_length", "used_space", "used_inodes"]), (r) => [
      r.inode,
      r.dataLength,
      r.usedSpace,
      r.usedInodes,
    ]),
    quota: plainWriter("quota", insert("dir_quota", ["inode", ...USAGE_COLUMNS]), quotaValues),
    userQuota: plainWriter("userQuota", userGroupQuotas, (r) => [1, ...quotaValues(r)]),
    groupQuota: plainWriter("groupQuota", userGroupQuotas, (r) => [2, ...quotaValues(r)]),
    acl: aclWriter(insert("acl", ["id", "owner", "group", "mask", "other", "named_users", "named_groups"])),
  };
}

/**
 * Two ways into chunk_ref for a source that names only the slices whose count is not 1: whatever comes first, a count that
 * was given beats one that was derived from a chunk.
 */
function derivedReferences(insert: (table: string, columns: readonly string[], options: object) => RowInserter): {
  derived: RowInserter;
  given: RowInserter;
} {
  const columns = ["chunkid", "size", "refs"];
  return {
    derived: insert("chunk_ref", columns, { onConflict: "DO NOTHING" }),
    given: insert("chunk_ref", columns, {
      onConflict: "(chunkid) DO UPDATE SET size = excluded.size, refs = excluded.refs",
    }),
  };
}

function nodeWriter(rows: RowInserter): RecordWriter {
  return {
    write({ bytes, count }) {
      for (let i = 0, at = 0; i < count; i++) {
        at = unpackNodeRow(bytes, at, rows.values, rows.next());
        rows.commit();
      }
    },
    flush: () => rows.flush(),
  };
}

function edgeWriter(rows: RowInserter): RecordWriter {
  return {
    write({ bytes, count }) {
      for (let i = 0, at = 0; i < count; i++) {
        const to = rows.next();
        const end = at + 19 + bytes.readUInt16BE(at + 17);
        rows.values[to] = toSqlInteger(bytes, at);
        rows.values[to + 1] = bytes.subarray(at + 19, end);
        rows.values[to + 2] = toSqlInteger(bytes, at + 8);
        rows.values[to + 3] = bytes[at + 16];
        rows.commit();
        at = end;
      }
    },
    flush: () => rows.flush(),
  };
}

/** With `references`: every slice of the chunk is also entered there, with count 1. Holes (id 0) never are (§12.1). */
function chunkWriter(rows: RowInserter, references: RowInserter | undefined): RecordWriter {
  return {
    write({ bytes, count }) {
      for (let i = 0, at = 0; i < count; i++) {
        const to = rows.next();
        const start = at + 16;
        const end = start + bytes.readUInt32BE(at + 12);
        rows.values[to] = toSqlInteger(bytes, at);
        rows.values[to + 1] = bytes.readUInt32BE(at + 8);
        rows.values[to + 2] = bytes.subarray(start, end);
        rows.commit();
        if (references !== undefined) deriveReferences(bytes, start, end, references);
        at = end;
      }
    },
    flush() {
      rows.flush();
      references?.flush();
    },
  };
}

function deriveReferences(bytes: Buffer, start: number, end: number, references: RowInserter): void {
  for (let at = start; at + SLICE_BYTES <= end; at += SLICE_BYTES) {
    const id = toSqlInteger(bytes, at + 4);
    if (id === 0) continue;
    const to = references.next();
    references.values[to] = id;
    references.values[to + 1] = bytes.readUInt32BE(at + 12);
    references.values[to + 2] = 1;
    references.commit();
  }
}

function symlinkWriter(rows: RowInserter): RecordWriter {
  return {
    write({ bytes, count }) {
      for (let i = 0, at = 0; i < count; i++) {
        const to = rows.next();
        const end = at + 12 + bytes.readUInt32BE(at + 8);
        rows.values[to] = toSqlInteger(bytes, at);
        rows.values[to + 1] = bytes.subarray(at + 12, end);
        rows.commit();
        at = end;
      }
    },
    flush: () => rows.flush(),
  };
}

function xattrWriter(rows: RowInserter): RecordWriter {
  return {
    write({ bytes, count }) {
      for (let i = 0, at = 0; i < count; i++) {
        const to = rows.next();
        const nameEnd = at + 14 + bytes.readUInt16BE(at + 8);
        const end = nameEnd + bytes.readUInt32BE(at + 10);
        rows.values[to] = toSqlInteger(bytes, at);
        rows.values[to + 1] = bytes.subarray(at + 14, nameEnd);
        rows.values[to + 2] = bytes.subarray(nameEnd, end);
        rows.commit();
        at = end;
      }
    },
    flush: () => rows.flush(),
  };
}

function sliceRefWriter(rows: RowInserter): RecordWriter {
  return {
    write({ bytes, count }) {
      for (let i = 0, at = 0; i < count; i++, at += 20) {
        const id = toSqlInteger(bytes, at);
        if (id === 0) continue;
        const to = rows.next();
        rows.values[to] = id;
        rows.values[to + 1] = bytes.readUInt32BE(at + 8);
        rows.values[to + 2] = toSqlInteger(bytes, at + 12);
        rows.commit();
      }
    },
    flush: () => rows.flush(),
  };
}

/** For kinds of few records. 64-bit patterns are stored as signed numbers. */
function plainWriter<K extends FlatKind>(
  kind: K,
  rows: RowInserter,
  columns: (record: RecordTypes[K]) => unknown[],
): RecordWriter {
  return {
    write(batch) {
      for (const record of unpackBatch(kind, batch)) {
        const to = rows.next();
        columns(record).forEach((value, i) => {
          rows.values[to + i] = typeof value === "bigint" ? BigInt.asIntN(64, value) : value;
        });
        rows.commit();
      }
    },
    flush: () => rows.flush(),
  };
}

function quotaValues(record: QuotaRecord): unknown[] {
  return [record.key, record.maxSpace, record.maxInodes, record.usedSpace, record.usedInodes];
}

function aclWriter(rows: RowInserter): RecordWriter {
  return plainWriter("acl", rows, ({ id, rule }) => {
    const { owner, group, mask, other, users, groups } = decodeAclRule(rule);
    return [id, owner, group, mask, other, encodeEntries(users), encodeEntries(groups)];
  });
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
