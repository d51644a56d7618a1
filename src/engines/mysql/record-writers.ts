import { isUtf8 } from "node:buffer";
import { viewOf } from "../../base/bytes.ts";
import {
  type FlatKind,
  type RecordBatch,
  type RecordKind,
  type RecordTypes,
  unpackBatch,
} from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import type { LoaderOptions } from "../engine.ts";
import { type SqlInteger, unpackNodeRow } from "../sql/node-row.ts";
import {
  ACL_COLUMNS,
  aclRow,
  DEL_FILE_COLUMNS,
  DIR_STAT_COLUMNS,
  delFileRow,
  dirStatRow,
  NODE_WIDTHS,
  OWNER_QUOTA_COLUMNS,
  QUOTA_COLUMNS,
  quotaRow,
  REFERENCE_COLUMNS,
  SUSTAINED_COLUMNS,
  sustainedRow,
} from "../sql/record-rows.ts";
import { NODE_COLUMNS } from "../sql/schema.ts";
import { type InsertWriter, tooLarge, unsupportedBytes } from "./insert-writer.ts";

/** Writes the records of a batch as rows. Yields a writer whenever it has a statement that should be taken. */
export type RecordWriter = (batch: RecordBatch) => Iterable<InsertWriter>;

/** Makes the writer of a table; `tail` follows the rows of its statements. */
export type OpenWriter = (table: string, columns: readonly string[], tail?: string) => InsertWriter;

/** Limits of the columns in bytes (docs/spec/sql.md §3.2, 6). */
const MAX_BLOB_BYTES = 65_535;
const MAX_NAME_BYTES = 255;
const MAX_TARGET_BYTES = 4096;

/** A count that was given beats one that was derived from a chunk, whatever comes first. */
const KEEP_GIVEN = " ON DUPLICATE KEY UPDATE chunkid = chunkid";
const REPLACE_DERIVED = " ON DUPLICATE KEY UPDATE size = VALUES(size), refs = VALUES(refs)";

/** Writers for every kind that has a table; the others are ignored by a SQL engine (docs/spec/binary-dump.md §7). */
export function recordWriters(
  open: OpenWriter,
  sliceRefs: LoaderOptions["sliceRefs"],
): Partial<Record<RecordKind, RecordWriter>> {
  const derives = sliceRefs === "exceptions";
  const derived = derives ? open("chunk_ref", REFERENCE_COLUMNS, KEEP_GIVEN) : undefined;
  const quotas = open("user_group_quota", OWNER_QUOTA_COLUMNS);
  return {
    node: nodeWriter(open("node", NODE_COLUMNS)),
    edge: edgeWriter(open("edge", ["parent", "name", "inode", "type"])),
    chunk: chunkWriter(open("chunk", ["inode", "indx", "slices"]), derived),
    symlink: symlinkWriter(open("symlink", ["inode", "target"])),
    xattr: xattrWriter(open("xattr", ["inode", "name", "value"])),
    sliceRef: sliceRefWriter(open("chunk_ref", REFERENCE_COLUMNS, derives ? REPLACE_DERIVED : "")),
    counter: counterWriter(open("counter", ["name", "value"])),
    sustained: numberWriter("sustained", open("sustained", SUSTAINED_COLUMNS), sustainedRow),
    delFile: numberWriter("delFile", open("delfile", DEL_FILE_COLUMNS), delFileRow),
    dirStat: numberWriter("dirStat", open("dir_stats", DIR_STAT_COLUMNS), dirStatRow),
    quota: numberWriter("quota", open("dir_quota", QUOTA_COLUMNS), quotaRow),
    userQuota: numberWriter("userQuota", quotas, (r) => [1n, ...quotaRow(r)]),
    groupQuota: numberWriter("groupQuota", quotas, (r) => [2n, ...quotaRow(r)]),
    acl: aclWriter(open("acl", ACL_COLUMNS)),
  };
}

/** Appends a packed `node` record as a row and returns the offset of the next one. */
export function putNode(rows: InsertWriter, bytes: Buffer, at: number, values: unknown[]): number {
  const end = unpackNodeRow(bytes, at, values, 0);
  const inode = (): string => `inode ${BigInt.asUintN(64, BigInt(values[0] as SqlInteger))}`;
  rows.begin(0);
  for (let column = 0; column < NODE_COLUMNS.length; column++) {
    const value = values[column] as SqlInteger;
    if (NODE_WIDTHS[column]) rows.putInt64(value);
    else rows.putInt32(value as number, NODE_COLUMNS[column]!, inode);
  }
  return end;
}

function nodeWriter(rows: InsertWriter): RecordWriter {
  const values: unknown[] = [];
  return function* ({ bytes, count }) {
    for (let i = 0, at = 0; i < count; i++) {
      at = putNode(rows, bytes, at, values);
      if (rows.commit()) yield rows;
    }
  };
}

/** For error messages: what the number at that offset of a batch names. */
function named(what: string, view: DataView, at: number): string {
  return `${what} ${view.getBigUint64(at)}`;
}

function edgeWriter(rows: InsertWriter): RecordWriter {
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const size = view.getUint16(at + 17);
      const end = at + 19 + size;
      if (size > MAX_NAME_BYTES) {
        throw unsupportedBytes(`a name of ${size} bytes`, named("an entry of directory", view, at), "255 is the limit");
      }
      rows.begin(size);
      rows.putHalves(view.getInt32(at), view.getInt32(at + 4));
      rows.putBytes(view, at + 19, end);
      rows.putHalves(view.getInt32(at + 8), view.getInt32(at + 12));
      rows.putHalves(0, view.getUint8(at + 16));
      at = end;
      if (rows.commit()) yield rows;
    }
  };
}

/** With `references`: every slice of the chunk is also entered there. Holes (id 0) never are (docs/spec/sql.md §12.1). */
function chunkWriter(rows: InsertWriter, references: InsertWriter | undefined): RecordWriter {
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const size = view.getUint32(at + 12);
      const start = at + 16;
      const end = start + size;
      const index = view.getUint32(at + 8);
      if (size > MAX_BLOB_BYTES) {
        const of = `${named("inode", view, at)}, chunk ${index}`;
        throw unsupportedBytes(
          `a list of ${size / SLICE_BYTES} slices`,
          of,
          "2730 is the limit; compact the file first",
        );
      }
      rows.begin(size);
      rows.putHalves(view.getInt32(at), view.getInt32(at + 4));
      const inodeAt = at;
      rows.putInt32(index, "index", () => named("a chunk of inode", view, inodeAt));
      rows.putBytes(view, start, end);
      if (rows.commit()) yield rows;
      if (references !== undefined) yield* deriveReferences(view, start, end, references);
      at = end;
    }
  };
}

function* deriveReferences(view: DataView, start: number, end: number, rows: InsertWriter): Generator<InsertWriter> {
  for (let at = start; at + SLICE_BYTES <= end; at += SLICE_BYTES) {
    if (putReference(view, at + 4, at + 12, 1n, rows)) yield rows;
  }
}

/** True when the statement should be sent. Slice 0 is no slice. */
function putReference(view: DataView, idAt: number, sizeAt: number, refs: bigint, rows: InsertWriter): boolean {
  const [high, low] = [view.getInt32(idAt), view.getInt32(idAt + 4)];
  if (high === 0 && low === 0) return false;
  rows.begin(0);
  rows.putHalves(high, low);
  rows.putInt32(view.getUint32(sizeAt), "size", () => named("slice", view, idAt));
  if (refs !== BigInt.asIntN(32, refs)) throw tooLarge(refs, "the number of references", named("slice", view, idAt));
  rows.putInt64(refs);
  return rows.commit();
}

function sliceRefWriter(rows: InsertWriter): RecordWriter {
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++, at += 20) {
      if (putReference(view, at, at + 8, view.getBigInt64(at + 12), rows)) yield rows;
    }
  };
}

function symlinkWriter(rows: InsertWriter): RecordWriter {
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const size = view.getUint32(at + 8);
      const end = at + 12 + size;
      if (size > MAX_TARGET_BYTES) {
        throw unsupportedBytes(`a link target of ${size} bytes`, named("inode", view, at), "4096 is the limit");
      }
      rows.begin(size);
      rows.putHalves(view.getInt32(at), view.getInt32(at + 4));
      rows.putBytes(view, at + 12, end);
      at = end;
      if (rows.commit()) yield rows;
    }
  };
}

function xattrWriter(rows: InsertWriter): RecordWriter {
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const valueSize = view.getUint32(at + 10);
      const nameEnd = at + 14 + view.getUint16(at + 8);
      const end = nameEnd + valueSize;
      assertName(bytes.subarray(at + 14, nameEnd), view, at);
      if (valueSize > MAX_BLOB_BYTES) {
        const what = `a value of ${valueSize} bytes`;
        throw unsupportedBytes(what, named("an extended attribute of inode", view, at), "65535 is the limit");
      }
      rows.begin(end - at);
      rows.putHalves(view.getInt32(at), view.getInt32(at + 4));
      rows.putText(view, at + 14, nameEnd);
      rows.putBytes(view, nameEnd, end);
      at = end;
      if (rows.commit()) yield rows;
    }
  };
}

/** The column of names is text of at most 255 characters. */
function assertName(name: Buffer, view: DataView, at: number): void {
  let problem: string | undefined;
  if (!isUtf8(name)) problem = "it is not UTF-8";
  else if (name.length > MAX_NAME_BYTES && [...name.toString()].length > MAX_NAME_BYTES) problem = "it is too long";
  if (problem === undefined) return;
  const what = `the name x'${name.toString("hex")}'`;
  throw unsupportedBytes(what, named("an extended attribute of inode", view, at), problem);
}

/** For kinds of few records that consist of 64-bit numbers. */
function numberWriter<K extends FlatKind>(
  kind: K,
  rows: InsertWriter,
  columns: (record: RecordTypes[K]) => readonly bigint[],
): RecordWriter {
  return function* (batch) {
    for (const record of unpackBatch(kind, batch)) {
      rows.begin(0);
      for (const value of columns(record)) rows.putInt64(BigInt.asIntN(64, value));
      if (rows.commit()) yield rows;
    }
  };
}

function counterWriter(rows: InsertWriter): RecordWriter {
  return function* (batch) {
    for (const { name, value } of unpackBatch("counter", batch)) {
      const text = Buffer.from(name);
      rows.begin(text.length);
      rows.putText(viewOf(text), 0, text.length);
      rows.putInt64(value);
      if (rows.commit()) yield rows;
    }
  };
}

function aclWriter(rows: InsertWriter): RecordWriter {
  return function* (batch) {
    for (const record of unpackBatch("acl", batch)) {
      const { id } = record;
      const { numbers, lists } = aclRow(record);
      rows.begin(record.rule.length);
      for (const value of numbers) rows.putInt32(value, "number", () => `ACL rule ${id}`);
      for (const list of lists) {
        if (list.length > MAX_BLOB_BYTES)
          throw unsupportedBytes("a list", `ACL rule ${id}`, "10922 entries are the limit");
        rows.putBytes(viewOf(list), 0, list.length);
      }
      if (rows.commit()) yield rows;
    }
  };
}
