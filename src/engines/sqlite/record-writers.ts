import {
  type FlatKind,
  type RecordBatch,
  type RecordKind,
  type RecordTypes,
  unpackBatch,
} from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import type { LoaderOptions } from "../engine.ts";
import { toSqlInteger, unpackNodeRow } from "../sql/node-row.ts";
import {
  ACL_COLUMNS,
  aclRow,
  DEL_FILE_COLUMNS,
  DIR_STAT_COLUMNS,
  delFileRow,
  dirStatRow,
  OWNER_QUOTA_COLUMNS,
  QUOTA_COLUMNS,
  quotaRow,
  REFERENCE_COLUMNS,
  SUSTAINED_COLUMNS,
  sustainedRow,
} from "../sql/record-rows.ts";
import { NODE_COLUMNS, tableName } from "../sql/schema.ts";
import { RowInserter } from "./row-inserter.ts";
import type { Connection } from "./sqlite-connection.ts";

/** Writes the records of one kind as rows. */
export interface RecordWriter {
  write(batch: RecordBatch): void;
  flush(): void;
}

/** Writers for every kind that has a table; the others are ignored by a SQL engine (docs/spec/binary-dump.md §7). */
export function recordWriters(
  db: Connection,
  prefix: string,
  sliceRefs: LoaderOptions["sliceRefs"],
): Partial<Record<RecordKind, RecordWriter>> {
  const insert = (table: string, columns: readonly string[], options = {}): RowInserter =>
    new RowInserter(db, tableName(prefix, table), columns, options);
  const userGroupQuotas = insert("user_group_quota", OWNER_QUOTA_COLUMNS, { keyColumns: 2 });
  const references = sliceRefs === "exceptions" ? derivedReferences(insert) : undefined;
  return {
    node: nodeWriter(insert("node", NODE_COLUMNS)),
    edge: edgeWriter(insert("edge", ["parent", "name", "inode", "type"])),
    chunk: chunkWriter(insert("chunk", ["inode", "indx", "slices"]), references?.derived),
    symlink: symlinkWriter(insert("symlink", ["inode", "target"])),
    xattr: xattrWriter(insert("xattr", ["inode", "name", "value"], { text: ["name"] })),
    sliceRef: sliceRefWriter(references?.given ?? insert("chunk_ref", REFERENCE_COLUMNS)),
    counter: plainWriter("counter", insert("counter", ["name", "value"], { keyColumns: 1 }), (r) => [r.name, r.value]),
    sustained: plainWriter("sustained", insert("sustained", SUSTAINED_COLUMNS), sustainedRow),
    delFile: plainWriter("delFile", insert("delfile", DEL_FILE_COLUMNS), delFileRow),
    dirStat: plainWriter("dirStat", insert("dir_stats", DIR_STAT_COLUMNS), dirStatRow),
    quota: plainWriter("quota", insert("dir_quota", QUOTA_COLUMNS), quotaRow),
    userQuota: plainWriter("userQuota", userGroupQuotas, (r) => [1, ...quotaRow(r)]),
    groupQuota: plainWriter("groupQuota", userGroupQuotas, (r) => [2, ...quotaRow(r)]),
    acl: aclWriter(insert("acl", ACL_COLUMNS)),
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
  return {
    derived: insert("chunk_ref", REFERENCE_COLUMNS, { onConflict: "DO NOTHING" }),
    given: insert("chunk_ref", REFERENCE_COLUMNS, {
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

function aclWriter(rows: RowInserter): RecordWriter {
  return plainWriter("acl", rows, (record) => {
    const { numbers, lists } = aclRow(record);
    return [...numbers, ...lists];
  });
}
