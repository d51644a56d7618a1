import { viewOf } from "../../base/bytes.ts";
import { DataError } from "../../base/errors.ts";
import {
  type FlatKind,
  type RecordBatch,
  type RecordKind,
  type RecordTypes,
  unpackBatch,
} from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import { type ColumnLimits, MAX_INT32, xattrNameProblem } from "./column-limits.ts";
import { type SqlInteger, unpackNodeRow } from "./node-row.ts";
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
  SUSTAINED_COLUMNS,
  sustainedRow,
} from "./record-rows.ts";
import type { RowSink } from "./row-sink.ts";
import { NODE_COLUMNS } from "./schema.ts";

/** Writes the records of a batch as rows. Yields a sink whenever it has enough to be sent. */
export type RecordWriter<S extends RowSink> = (batch: RecordBatch) => Iterable<S>;

/** Where the rows go. */
export interface VolumeSinks<S extends RowSink> {
  /** Makes the sink of a table. */
  open(table: string, columns: readonly string[]): S;
  /** For the slice references that the source gives. */
  readonly given: S;
  /** For those that the chunks name: a source that tells only exceptions leaves them out. */
  readonly derived: S | undefined;
}

/** Of an entry in a list of an ACL rule (docs/spec/sql.md §4.6). */
const ACL_ENTRY_BYTES = 6;

/** Writers for every kind that has a table; the others are ignored by a SQL engine (docs/spec/binary-dump.md §7). */
export function recordWriters<S extends RowSink>(
  sinks: VolumeSinks<S>,
  limits: ColumnLimits,
): Partial<Record<RecordKind, RecordWriter<S>>> {
  const check = new ColumnCheck(limits);
  const open = (table: string, columns: readonly string[]): S => sinks.open(table, columns);
  const quotas = open("user_group_quota", OWNER_QUOTA_COLUMNS);
  return {
    node: nodeWriter(open("node", NODE_COLUMNS), limits.engineName),
    edge: edgeWriter(open("edge", ["parent", "name", "inode", "type"]), check),
    chunk: chunkWriter(open("chunk", ["inode", "indx", "slices"]), sinks.derived, check),
    symlink: symlinkWriter(open("symlink", ["inode", "target"]), check),
    xattr: xattrWriter(open("xattr", ["inode", "name", "value"]), check),
    sliceRef: sliceRefWriter(sinks.given, check),
    counter: counterWriter(open("counter", ["name", "value"])),
    sustained: numberWriter("sustained", open("sustained", SUSTAINED_COLUMNS), sustainedRow),
    delFile: numberWriter("delFile", open("delfile", DEL_FILE_COLUMNS), delFileRow),
    dirStat: numberWriter("dirStat", open("dir_stats", DIR_STAT_COLUMNS), dirStatRow),
    quota: numberWriter("quota", open("dir_quota", QUOTA_COLUMNS), quotaRow),
    userQuota: ownerQuotaWriter("userQuota", quotas, 1),
    groupQuota: ownerQuotaWriter("groupQuota", quotas, 2),
    acl: aclWriter(open("acl", ACL_COLUMNS), check),
  };
}

/**
 * Throws `DataError` for what a column cannot hold. Whose value it is says the 64-bit number at `keyAt` of `view`: `what` and
 * that number.
 */
class ColumnCheck {
  readonly limits: ColumnLimits;

  constructor(limits: ColumnLimits) {
    this.limits = limits;
  }

  number(value: number, column: string, what: string, view: DataView, keyAt: number): void {
    if (value <= MAX_INT32 && value >= -MAX_INT32 - 1) return;
    throw tooLarge(this.limits.engineName, `${column} ${value}`, `${what} ${view.getBigUint64(keyAt)}`);
  }

  size(bytes: number, limit: number, value: string, what: string, view: DataView, keyAt: number): void {
    if (bytes <= limit) return;
    throw this.unsupported(
      `${value} of ${bytes} bytes`,
      `${what} ${view.getBigUint64(keyAt)}`,
      `${limit} is the limit`,
    );
  }

  slices(bytes: number, index: number, view: DataView, keyAt: number): void {
    const limit = this.limits.blob;
    if (bytes <= limit) return;
    throw this.unsupported(
      `a list of ${bytes / SLICE_BYTES} slices`,
      `inode ${view.getBigUint64(keyAt)}, chunk ${index}`,
      `${Math.floor(limit / SLICE_BYTES)} is the limit; compact the file first`,
    );
  }

  /** The name of an extended attribute, which is a text of limited length. */
  text(name: Buffer, view: DataView, keyAt: number): void {
    const problem = xattrNameProblem(name, this.limits);
    if (problem === undefined) return;
    const what = `the name x'${name.toString("hex")}' of an extended attribute`;
    throw this.unsupported(what, `inode ${view.getBigUint64(keyAt)}`, `it ${problem}`);
  }

  unsupported(value: string, of: string, why: string): DataError {
    return unsupported(this.limits.engineName, value, of, why);
  }
}

function tooLarge(engineName: string, value: string, of: string): DataError {
  return unsupported(engineName, value, of, `the largest number is ${MAX_INT32}`);
}

function unsupported(engineName: string, value: string, of: string, why: string): DataError {
  return new DataError("DECANT_E_UNSUPPORTED_VALUE", `${engineName} cannot hold ${value} of ${of}: ${why}`, {
    location: { key: of },
    hint: "The reference client cannot store it there either: change it in the source, or load into another kind of database",
  });
}

/** Appends a packed `node` record as a row and returns the offset of the next one. `values` is room to work in. */
export function putNode(rows: RowSink, engineName: string, bytes: Buffer, at: number, values: unknown[]): number {
  const end = unpackNodeRow(bytes, at, values, 0);
  rows.begin(0);
  for (let column = 0; column < NODE_COLUMNS.length; column++) {
    const value = values[column] as SqlInteger;
    if (NODE_WIDTHS[column]) {
      rows.putInt64(value);
      continue;
    }
    if (value > MAX_INT32) {
      throw tooLarge(engineName, `${NODE_COLUMNS[column]} ${value}`, `inode ${bytes.readBigUInt64BE(at)}`);
    }
    rows.putInt32(value as number);
  }
  return end;
}

function nodeWriter<S extends RowSink>(rows: S, engineName: string): RecordWriter<S> {
  const values: unknown[] = [];
  return function* ({ bytes, count }) {
    for (let i = 0, at = 0; i < count; i++) {
      at = putNode(rows, engineName, bytes, at, values);
      if (rows.commit()) yield rows;
    }
  };
}

function edgeWriter<S extends RowSink>(rows: S, check: ColumnCheck): RecordWriter<S> {
  const limit = check.limits.name;
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const size = view.getUint16(at + 17);
      const end = at + 19 + size;
      check.size(size, limit, "a name", "an entry of directory", view, at);
      rows.begin(size);
      rows.putHalves(view.getInt32(at), view.getInt32(at + 4));
      rows.putBytes(view, at + 19, end);
      rows.putHalves(view.getInt32(at + 8), view.getInt32(at + 12));
      rows.putInt32(view.getUint8(at + 16));
      at = end;
      if (rows.commit()) yield rows;
    }
  };
}

/** With `references`: every slice of the chunk is also entered there. Holes (id 0) never are (docs/spec/sql.md §12.1). */
function chunkWriter<S extends RowSink>(rows: S, references: S | undefined, check: ColumnCheck): RecordWriter<S> {
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const size = view.getUint32(at + 12);
      const start = at + 16;
      const end = start + size;
      const index = view.getUint32(at + 8);
      check.number(index, "chunk", "inode", view, at);
      check.slices(size, index, view, at);
      rows.begin(size);
      rows.putHalves(view.getInt32(at), view.getInt32(at + 4));
      rows.putInt32(index);
      rows.putBytes(view, start, end);
      if (rows.commit()) yield rows;
      if (references !== undefined) yield* deriveReferences(view, start, end, references, check);
      at = end;
    }
  };
}

function* deriveReferences<S extends RowSink>(
  view: DataView,
  start: number,
  end: number,
  rows: S,
  check: ColumnCheck,
): Generator<S> {
  for (let at = start; at + SLICE_BYTES <= end; at += SLICE_BYTES) {
    if (putReference(view, at + 4, view.getUint32(at + 12), 1, rows, check)) yield rows;
  }
}

/** True when the rows should be sent. Slice 0 is no slice. */
function putReference(
  view: DataView,
  idAt: number,
  size: number,
  refs: number,
  rows: RowSink,
  check: ColumnCheck,
): boolean {
  const high = view.getInt32(idAt);
  const low = view.getInt32(idAt + 4);
  if (high === 0 && low === 0) return false;
  check.number(size, "the size", "slice", view, idAt);
  check.number(refs, "the number of references", "slice", view, idAt);
  rows.begin(0);
  rows.putHalves(high, low);
  rows.putInt32(size);
  rows.putInt32(refs);
  return rows.commit();
}

function sliceRefWriter<S extends RowSink>(rows: S, check: ColumnCheck): RecordWriter<S> {
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++, at += 20) {
      const refs = view.getInt32(at + 12) * 0x1_0000_0000 + view.getUint32(at + 16);
      if (putReference(view, at, view.getUint32(at + 8), refs, rows, check)) yield rows;
    }
  };
}

function symlinkWriter<S extends RowSink>(rows: S, check: ColumnCheck): RecordWriter<S> {
  const limit = check.limits.target;
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const size = view.getUint32(at + 8);
      const end = at + 12 + size;
      check.size(size, limit, "a link target", "inode", view, at);
      rows.begin(size);
      rows.putHalves(view.getInt32(at), view.getInt32(at + 4));
      rows.putBytes(view, at + 12, end);
      at = end;
      if (rows.commit()) yield rows;
    }
  };
}

function xattrWriter<S extends RowSink>(rows: S, check: ColumnCheck): RecordWriter<S> {
  const limit = check.limits.blob;
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const valueSize = view.getUint32(at + 10);
      const nameEnd = at + 14 + view.getUint16(at + 8);
      const end = nameEnd + valueSize;
      check.text(bytes.subarray(at + 14, nameEnd), view, at);
      check.size(valueSize, limit, "a value", "an extended attribute of inode", view, at);
      rows.begin(end - at);
      rows.putHalves(view.getInt32(at), view.getInt32(at + 4));
      rows.putText(view, at + 14, nameEnd);
      rows.putBytes(view, nameEnd, end);
      at = end;
      if (rows.commit()) yield rows;
    }
  };
}

/** For kinds of few records that consist of 64-bit numbers. */
function numberWriter<K extends FlatKind, S extends RowSink>(
  kind: K,
  rows: S,
  columns: (record: RecordTypes[K]) => readonly bigint[],
): RecordWriter<S> {
  return function* (batch) {
    for (const record of unpackBatch(kind, batch)) {
      rows.begin(0);
      for (const value of columns(record)) rows.putInt64(value);
      if (rows.commit()) yield rows;
    }
  };
}

function ownerQuotaWriter<S extends RowSink>(kind: "userQuota" | "groupQuota", rows: S, type: number): RecordWriter<S> {
  return function* (batch) {
    for (const record of unpackBatch(kind, batch)) {
      rows.begin(0);
      rows.putInt32(type);
      for (const value of quotaRow(record)) rows.putInt64(value);
      if (rows.commit()) yield rows;
    }
  };
}

function counterWriter<S extends RowSink>(rows: S): RecordWriter<S> {
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

function aclWriter<S extends RowSink>(rows: S, check: ColumnCheck): RecordWriter<S> {
  return function* (batch) {
    for (const record of unpackBatch("acl", batch)) {
      const { id } = record;
      if (id > MAX_INT32) throw tooLarge(check.limits.engineName, `the number ${id}`, "an ACL rule");
      const { numbers, lists } = aclRow(record);
      rows.begin(lists[0].length + lists[1].length);
      for (const value of numbers) rows.putInt32(value);
      for (const list of lists) {
        if (list.length > check.limits.blob) {
          const most = Math.floor(check.limits.blob / ACL_ENTRY_BYTES);
          throw check.unsupported(
            `a list of ${list.length / ACL_ENTRY_BYTES} entries`,
            `ACL rule ${id}`,
            `${most} is the limit`,
          );
        }
        rows.putBytes(viewOf(list), 0, list.length);
      }
      if (rows.commit()) yield rows;
    }
  };
}
