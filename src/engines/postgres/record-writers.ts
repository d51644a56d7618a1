import { viewOf } from "../../base/bytes.ts";
import {
  type FlatKind,
  type RecordBatch,
  type RecordKind,
  type RecordTypes,
  unpackBatch,
} from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
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
import { assertInt32, CopyWriter, unsupported } from "./copy-writer.ts";

/** Writes the records of a batch as rows. Yields a writer whenever it has enough to be sent. */
export type RecordWriter = (batch: RecordBatch) => Iterable<CopyWriter>;

/** The rows of a volume that is being loaded, by table. */
export interface VolumeRows {
  readonly byKind: Partial<Record<RecordKind, RecordWriter>>;
  readonly writers: readonly CopyWriter[];
}

/** Names of the two tables that hold slice references until the end, for a source that tells only exceptions. */
export const GIVEN_REFERENCES = "decant_given";
export const DERIVED_REFERENCES = "decant_derived";

const MAX_NAME_CHARACTERS = 255;

/**
 * Writers for every kind that has a table; the others are ignored by a SQL engine (docs/spec/binary-dump.md §7). With
 * `derives` slice references go into tables of their own.
 */
export function volumeRows(derives: boolean): VolumeRows {
  const writers: CopyWriter[] = [];
  const open = (table: string, columns: readonly string[]): CopyWriter => {
    const writer = new CopyWriter(table, columns);
    writers.push(writer);
    return writer;
  };
  const quotas = open("user_group_quota", OWNER_QUOTA_COLUMNS);
  const derived = derives ? open(DERIVED_REFERENCES, REFERENCE_COLUMNS) : undefined;
  const byKind: VolumeRows["byKind"] = {
    node: nodeWriter(open("node", NODE_COLUMNS)),
    edge: edgeWriter(open("edge", ["id", "parent", "name", "inode", "type"])),
    chunk: chunkWriter(open("chunk", ["id", "inode", "indx", "slices"]), derived),
    symlink: symlinkWriter(open("symlink", ["inode", "target"])),
    xattr: xattrWriter(open("xattr", ["id", "inode", "name", "value"])),
    sliceRef: sliceRefWriter(open(derives ? GIVEN_REFERENCES : "chunk_ref", REFERENCE_COLUMNS)),
    counter: counterWriter(open("counter", ["name", "value"])),
    sustained: numberWriter("sustained", open("sustained", ["id", ...SUSTAINED_COLUMNS]), (r, id) => [
      id,
      ...sustainedRow(r),
    ]),
    delFile: numberWriter("delFile", open("delfile", DEL_FILE_COLUMNS), delFileRow),
    dirStat: numberWriter("dirStat", open("dir_stats", DIR_STAT_COLUMNS), dirStatRow),
    quota: numberWriter("quota", open("dir_quota", QUOTA_COLUMNS), quotaRow),
    userQuota: ownerQuotaWriter("userQuota", quotas, 1),
    groupQuota: ownerQuotaWriter("groupQuota", quotas, 2),
    acl: aclWriter(open("acl", ACL_COLUMNS)),
  };
  return { byKind, writers };
}

function nodeWriter(rows: CopyWriter): RecordWriter {
  const values: unknown[] = [];
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const start = at;
      at = unpackNodeRow(bytes, at, values, 0);
      rows.begin(0);
      for (let column = 0; column < NODE_COLUMNS.length; column++) {
        const value = values[column] as SqlInteger;
        if (NODE_WIDTHS[column]) {
          rows.putInt64(value);
          continue;
        }
        assertInt32(value as number, NODE_COLUMNS[column]!, "inode", view, start);
        rows.putInt32(value as number);
      }
      if (rows.commit()) yield rows;
    }
  };
}

function edgeWriter(rows: CopyWriter): RecordWriter {
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const end = at + 19 + view.getUint16(at + 17);
      rows.begin(end - at);
      rows.putInt64(rows.count + 1);
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
function chunkWriter(rows: CopyWriter, references: CopyWriter | undefined): RecordWriter {
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const start = at + 16;
      const end = start + view.getUint32(at + 12);
      const index = view.getUint32(at + 8);
      assertInt32(index, "chunk", "inode", view, at);
      rows.begin(end - start);
      rows.putInt64(rows.count + 1);
      rows.putHalves(view.getInt32(at), view.getInt32(at + 4));
      rows.putInt32(index);
      rows.putBytes(view, start, end);
      if (rows.commit()) yield rows;
      if (references !== undefined) yield* deriveReferences(view, start, end, references);
      at = end;
    }
  };
}

function* deriveReferences(view: DataView, start: number, end: number, rows: CopyWriter): Generator<CopyWriter> {
  for (let at = start; at + SLICE_BYTES <= end; at += SLICE_BYTES) {
    if (putReference(view, at + 4, view.getUint32(at + 12), 1, rows)) yield rows;
  }
}

/** True when the rows should be sent. Slice 0 is no slice. */
function putReference(view: DataView, idAt: number, size: number, refs: number, rows: CopyWriter): boolean {
  const high = view.getInt32(idAt);
  const low = view.getInt32(idAt + 4);
  if (high === 0 && low === 0) return false;
  assertInt32(size, "the size", "slice", view, idAt);
  assertInt32(refs, "the number of references", "slice", view, idAt);
  rows.begin(0);
  rows.putHalves(high, low);
  rows.putInt32(size);
  rows.putInt32(refs);
  return rows.commit();
}

function sliceRefWriter(rows: CopyWriter): RecordWriter {
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++, at += 20) {
      const refs = view.getInt32(at + 12) * 0x1_0000_0000 + view.getUint32(at + 16);
      if (putReference(view, at, view.getUint32(at + 8), refs, rows)) yield rows;
    }
  };
}

function symlinkWriter(rows: CopyWriter): RecordWriter {
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const end = at + 12 + view.getUint32(at + 8);
      rows.begin(end - at);
      rows.putHalves(view.getInt32(at), view.getInt32(at + 4));
      rows.putBytes(view, at + 12, end);
      at = end;
      if (rows.commit()) yield rows;
    }
  };
}

function xattrWriter(rows: CopyWriter): RecordWriter {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  return function* ({ bytes, count }) {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const nameEnd = at + 14 + view.getUint16(at + 8);
      const end = nameEnd + view.getUint32(at + 10);
      assertText(bytes, at, bytes.subarray(at + 14, nameEnd), decoder);
      rows.begin(end - at);
      rows.putInt64(rows.count + 1);
      rows.putHalves(view.getInt32(at), view.getInt32(at + 4));
      rows.putBytes(view, at + 14, nameEnd);
      rows.putBytes(view, nameEnd, end);
      at = end;
      if (rows.commit()) yield rows;
    }
  };
}

/** Throws `DataError` for a name that a text column cannot hold (docs/spec/sql.md §6). The inode is at `at`. */
function assertText(bytes: Buffer, at: number, name: Buffer, decoder: TextDecoder): void {
  const why = textProblem(name, decoder);
  if (why === undefined) return;
  throw unsupported(
    `the name ${JSON.stringify(name.toString("latin1"))} of an extended attribute`,
    `inode ${bytes.readBigUInt64BE(at)}`,
    why,
  );
}

function textProblem(name: Buffer, decoder: TextDecoder): string | undefined {
  try {
    const text = decoder.decode(name);
    if (text.includes("\0")) return "it contains a NUL";
    const isLong = name.length > MAX_NAME_CHARACTERS && [...text].length > MAX_NAME_CHARACTERS;
    return isLong ? `it has more than ${MAX_NAME_CHARACTERS} characters` : undefined;
  } catch {
    return "it is not UTF-8";
  }
}

/** For kinds of few records that consist of 64-bit numbers; `id` counts the rows from 1. */
function numberWriter<K extends FlatKind>(
  kind: K,
  rows: CopyWriter,
  columns: (record: RecordTypes[K], id: bigint) => readonly bigint[],
): RecordWriter {
  return function* (batch) {
    for (const record of unpackBatch(kind, batch)) {
      rows.begin(0);
      for (const value of columns(record, BigInt(rows.count + 1))) rows.putInt64(value);
      if (rows.commit()) yield rows;
    }
  };
}

function ownerQuotaWriter(kind: "userQuota" | "groupQuota", rows: CopyWriter, type: number): RecordWriter {
  return function* (batch) {
    for (const record of unpackBatch(kind, batch)) {
      rows.begin(0);
      rows.putInt32(type);
      for (const value of quotaRow(record)) rows.putInt64(value);
      if (rows.commit()) yield rows;
    }
  };
}

function counterWriter(rows: CopyWriter): RecordWriter {
  return function* (batch) {
    for (const { name, value } of unpackBatch("counter", batch)) {
      const text = Buffer.from(name);
      rows.begin(text.length);
      rows.putBytes(viewOf(text), 0, text.length);
      rows.putInt64(value);
      if (rows.commit()) yield rows;
    }
  };
}

function aclWriter(rows: CopyWriter): RecordWriter {
  return function* (batch) {
    for (const record of unpackBatch("acl", batch)) {
      const { id } = record;
      if (id !== (id | 0)) throw unsupported(`the number ${id}`, "an ACL rule", "it is above 2^31");
      const { numbers, lists } = aclRow(record);
      rows.begin(lists[0].length + lists[1].length);
      for (const value of numbers) rows.putInt32(value);
      for (const list of lists) rows.putBytes(viewOf(list), 0, list.length);
      if (rows.commit()) yield rows;
    }
  };
}
