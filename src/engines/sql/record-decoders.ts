import { copyBytes } from "../../base/bytes.ts";
import { BatchBuilder, type FlatKind, packBatch, type RecordBatch, type RecordTypes } from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import { type NodeRow, newNodeRow, packNodeRow } from "./node-row.ts";
import type { NoteList } from "./note-list.ts";
import type { RowReader } from "./row-reader.ts";
import { NODE_COLUMNS } from "./schema.ts";

/** Names are stored with a 16-bit length. */
const MAX_NAME_BYTES = 0xffff;

/** For a `BatchQueue` of rows in which every value stands, whatever its size. */
export function notFetched(): never {
  throw new Error("No value stands outside of its row");
}

/** Collects records of one kind into batches. */
export class BatchQueue<K extends FlatKind = FlatKind> {
  readonly builder: BatchBuilder;
  readonly notes: NoteList;
  /** Reads a value that stands outside of its row, by the number in its place (`RowReader.inlineBytes`). */
  readonly fetch: (key: bigint) => Buffer;
  ready: RecordBatch[] = [];

  constructor(kind: K, notes: NoteList, fetch: (key: bigint) => Buffer) {
    this.builder = new BatchBuilder(kind);
    this.notes = notes;
    this.fetch = fetch;
  }

  commit(): void {
    if (this.builder.commit()) this.flush();
  }

  flush(): void {
    const batch = this.builder.take();
    if (batch !== undefined) this.ready.push(batch);
  }

  /** A batch of its own for a large record, so that the builder's buffers stay small. */
  pushLarge(record: RecordTypes[K]): void {
    this.flush();
    this.ready.push(packBatch(this.builder.kind as K, [record]));
  }
}

/** Turns the row at the reader's position into a record. */
export type RowDecoder = (row: RowReader, out: BatchQueue) => void;

function putInt64(view: DataView, at: number, row: RowReader): number {
  row.readInt64();
  view.setInt32(at, row.high);
  view.setInt32(at + 4, row.low);
  return at + 8;
}

/** Records that consist of `count` 64-bit numbers in the order of the row's columns. */
export function decodeInt64s(count: number): RowDecoder {
  return (row, out) => {
    const writer = out.builder.writer;
    let at = writer.reserve(count * 8);
    for (let i = 0; i < count; i++) at = putInt64(writer.view, at, row);
    writer.length = at;
    out.commit();
  };
}

/** Columns as `NODE_COLUMNS`. */
export function nodeDecoder(): RowDecoder {
  const columns = newNodeRow();
  return (row, out) => {
    for (let i = 0; i < NODE_COLUMNS.length * 2; i += 2) {
      row.readInt64();
      columns[i] = row.high;
      columns[i + 1] = row.low;
    }
    putNode(columns, out);
  };
}

/** Appends the record of a row of the node table. */
export function putNode(columns: NodeRow, out: BatchQueue): void {
  if (packNodeRow(columns, out.builder.writer)) {
    out.notes.add("Inodes with mode bits above 07777 or an unknown type above 15, which were cut", "loss");
  }
  out.commit();
}

/** parent, inode, type, size of name, name. */
export function decodeEdge(row: RowReader, out: BatchQueue): void {
  row.readInt64();
  const { high: parentHigh, low: parentLow } = row;
  row.readInt64();
  const { high, low } = row;
  row.readInt64();
  const type = row.low;
  const size = row.readSize();
  if (size > MAX_NAME_BYTES) {
    skipLongName(row, size, out, "Directory entries with a name above 65,535 bytes");
    return;
  }
  const start = row.skipBytes(size);
  const writer = out.builder.writer;
  const at = writer.reserve(19 + size);
  const view = writer.view;
  view.setInt32(at, parentHigh);
  view.setInt32(at + 4, parentLow);
  view.setInt32(at + 8, high);
  view.setInt32(at + 12, low);
  view.setUint8(at + 16, type);
  view.setUint16(at + 17, size);
  copyBytes(row.view, start, start + size, view, at + 19);
  writer.length = at + 19 + size;
  out.commit();
}

/** The record is left out. */
function skipLongName(row: RowReader, size: number, out: BatchQueue, text: string): void {
  row.skipLongName(size);
  out.notes.add(`${text}, which were left out`, "loss");
}

/** inode, index, size of slices, slices. */
export function decodeChunk(row: RowReader, out: BatchQueue): void {
  row.readInt64();
  const { high, low } = row;
  row.readInt64();
  const index = row.low;
  const stored = row.readSize();
  const damaged = stored % SLICE_BYTES !== 0;
  if (damaged) {
    out.notes.add("Chunks whose slice list has an impossible length; their files read as zeros there", "loss");
  }
  const size = damaged ? 0 : stored;
  if (stored > row.inlineBytes) {
    row.readInt64();
    const slices = damaged ? Buffer.alloc(0) : out.fetch(row.unsigned());
    const inode = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    (out as BatchQueue<"chunk">).pushLarge({ inode, index: index >>> 0, slices });
    return;
  }
  const start = row.skipBytes(stored);
  const writer = out.builder.writer;
  const at = writer.reserve(16 + size);
  const view = writer.view;
  view.setInt32(at, high);
  view.setInt32(at + 4, low);
  view.setInt32(at + 8, index);
  view.setUint32(at + 12, size);
  copyBytes(row.view, start, start + size, view, at + 16);
  writer.length = at + 16 + size;
  out.commit();
}

/** inode, size of target, target. */
export function decodeSymlink(row: RowReader, out: BatchQueue): void {
  row.readInt64();
  const inode = row.unsigned();
  const size = row.readSize();
  if (size > row.inlineBytes) {
    row.readInt64();
    (out as BatchQueue<"symlink">).pushLarge({ inode, target: out.fetch(row.unsigned()) });
    return;
  }
  const start = row.skipBytes(size);
  const writer = out.builder.writer;
  writer.writeU64(inode);
  writer.writeU32(size);
  writer.writeSlice(row.bytes, start, start + size);
  out.commit();
}

/** inode, size of name, name, size of value, value. */
export function decodeXattr(row: RowReader, out: BatchQueue): void {
  row.readInt64();
  const inode = row.unsigned();
  const nameSize = row.readSize();
  const isNameLong = nameSize > MAX_NAME_BYTES;
  if (isNameLong) skipLongName(row, nameSize, out, "Extended attributes with a name above 65,535 bytes");
  const nameStart = isNameLong ? 0 : row.skipBytes(nameSize);
  const valueSize = row.readSize();
  if (valueSize > row.inlineBytes) {
    row.readInt64();
    if (isNameLong) return;
    const name = Buffer.from(row.bytes.subarray(nameStart, nameStart + nameSize));
    (out as BatchQueue<"xattr">).pushLarge({ inode, name, value: out.fetch(row.unsigned()) });
    return;
  }
  const valueStart = row.skipBytes(valueSize);
  if (isNameLong) return;
  const writer = out.builder.writer;
  writer.writeU64(inode);
  writer.writeU16(nameSize);
  writer.writeU32(valueSize);
  writer.writeSlice(row.bytes, nameStart, nameStart + nameSize);
  writer.writeSlice(row.bytes, valueStart, valueStart + valueSize);
  out.commit();
}

/** id, size, refs. */
export function decodeSliceRef(row: RowReader, out: BatchQueue): void {
  const writer = out.builder.writer;
  let at = writer.reserve(20);
  at = putInt64(writer.view, at, row);
  row.readInt64();
  writer.view.setInt32(at, row.low);
  writer.length = putInt64(writer.view, at + 4, row);
  out.commit();
}

const ACL_ENTRY_BYTES = 6;

/** id, owner, group, mask, other, size of named users, named users, size of named groups, named groups (docs/spec/sql.md §4.6). */
export function decodeAcl(row: RowReader, out: BatchQueue): void {
  const writer = out.builder.writer;
  row.readInt64();
  writer.writeU32(row.low >>> 0);
  const sizeAt = writer.length;
  writer.writeU32(0);
  for (let i = 0; i < 4; i++) {
    row.readInt64();
    writer.writeU16(row.low & 0xffff);
  }
  for (let i = 0; i < 2; i++) {
    const stored = row.readSize();
    const start = row.skipBytes(stored);
    const count = Math.floor(stored / ACL_ENTRY_BYTES);
    if (stored % ACL_ENTRY_BYTES !== 0)
      out.notes.add("ACL rules with a list of an impossible length, cut to whole entries", "loss");
    writer.writeU32(count);
    writer.writeSlice(row.bytes, start, start + count * ACL_ENTRY_BYTES);
  }
  writer.buffer.writeUInt32BE(writer.length - sizeAt - 4, sizeAt);
  out.commit();
}
