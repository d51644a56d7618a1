import { isUtf8 } from "node:buffer";
import { type ByteWriter, copyBytes } from "../../base/bytes.ts";
import { bytesSize, fieldSize, putField, putVarint, putVarint32 } from "../../base/varint.ts";
import type { FlatKind, RecordBatch } from "../../volume/records.ts";

/** Where the records of a batch are read, and what the encoder of one record needs besides. */
export interface EncodeContext {
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly writer: ByteWriter;
  /** True: names of xattrs that are no UTF-8 are written all the same. */
  readonly rawXattrNames: boolean;
  /** Called for an xattr that was left out. */
  readonly onXattrName: (inode: bigint, name: Buffer) => void;
}

/**
 * Appends the record at `at` as an item of a Batch list with this tag and returns where the next one begins. `writer` grows
 * by nothing when the record was left out.
 */
export type RecordEncoder = (context: EncodeContext, at: number, tag: number) => number;

/** Tag and length of an item: the tags of lists 15 and up take two bytes. */
function beginItem(writer: ByteWriter, tag: number, size: number): number {
  const at = writer.reserve(size + 8);
  return putVarint32(writer.buffer, putVarint32(writer.buffer, at, tag), size);
}

/** A bytes field, unless it is empty. */
function putBytes(context: EncodeContext, at: number, tag: number, start: number, size: number): number {
  if (size === 0) return at;
  const { writer } = context;
  writer.buffer[at] = tag;
  const to = putVarint32(writer.buffer, at + 1, size);
  copyBytes(context.view, start, start + size, writer.view, to);
  return to + size;
}

/** Node, Symlink, Acl and ChangeLog: 1 a number, 2 bytes. */
function putNumberAndBytes(
  context: EncodeContext,
  tag: number,
  hi: number,
  lo: number,
  start: number,
  size: number,
): number {
  const { writer } = context;
  const item = beginItem(writer, tag, fieldSize(hi, lo) + bytesSize(size));
  const to = putField(writer.buffer, item, 0x08, hi, lo);
  writer.length = putBytes(context, to, 0x12, start, size);
  return start + size;
}

function encodeNode(context: EncodeContext, at: number, tag: number): number {
  const { view } = context;
  return putNumberAndBytes(context, tag, view.getUint32(at), view.getUint32(at + 4), at + 10, view.getUint16(at + 8));
}

function encodeSymlink(context: EncodeContext, at: number, tag: number): number {
  const { view } = context;
  return putNumberAndBytes(context, tag, view.getUint32(at), view.getUint32(at + 4), at + 12, view.getUint32(at + 8));
}

function encodeAcl(context: EncodeContext, at: number, tag: number): number {
  const { view } = context;
  return putNumberAndBytes(context, tag, 0, view.getUint32(at), at + 8, view.getUint32(at + 4));
}

/** Edge: 1 parent, 2 inode, 3 name, 4 type. */
function encodeEdge(context: EncodeContext, at: number, tag: number): number {
  const { view, writer } = context;
  const parentHi = view.getUint32(at);
  const parentLo = view.getUint32(at + 4);
  const inodeHi = view.getUint32(at + 8);
  const inodeLo = view.getUint32(at + 12);
  const type = view.getUint8(at + 16);
  const nameSize = view.getUint16(at + 17);
  const size = fieldSize(parentHi, parentLo) + fieldSize(inodeHi, inodeLo) + bytesSize(nameSize) + fieldSize(0, type);
  const item = beginItem(writer, tag, size);
  let to = putField(writer.buffer, item, 0x08, parentHi, parentLo);
  to = putField(writer.buffer, to, 0x10, inodeHi, inodeLo);
  to = putBytes(context, to, 0x1a, at + 19, nameSize);
  writer.length = putField(writer.buffer, to, 0x20, 0, type);
  return at + 19 + nameSize;
}

/** Chunk: 1 inode, 2 index, 3 slices. */
function encodeChunk(context: EncodeContext, at: number, tag: number): number {
  const { view, writer } = context;
  const hi = view.getUint32(at);
  const lo = view.getUint32(at + 4);
  const index = view.getUint32(at + 8);
  const slicesSize = view.getUint32(at + 12);
  const item = beginItem(writer, tag, fieldSize(hi, lo) + fieldSize(0, index) + bytesSize(slicesSize));
  let to = putField(writer.buffer, item, 0x08, hi, lo);
  to = putField(writer.buffer, to, 0x10, 0, index);
  writer.length = putBytes(context, to, 0x1a, at + 16, slicesSize);
  return at + 16 + slicesSize;
}

/** Xattr: 1 inode, 2 name, 3 value. A name that is no UTF-8 makes the file unreadable for the reference (§9.1). */
function encodeXattr(context: EncodeContext, at: number, tag: number): number {
  const { bytes, view, writer } = context;
  const nameSize = view.getUint16(at + 8);
  const valueSize = view.getUint32(at + 10);
  const name = at + 14;
  const value = name + nameSize;
  const end = value + valueSize;
  if (!context.rawXattrNames && !isUtf8(bytes.subarray(name, value))) {
    context.onXattrName(bytes.readBigUInt64BE(at), bytes.subarray(name, value));
    return end;
  }
  const hi = view.getUint32(at);
  const lo = view.getUint32(at + 4);
  const item = beginItem(writer, tag, fieldSize(hi, lo) + bytesSize(nameSize) + bytesSize(valueSize));
  let to = putField(writer.buffer, item, 0x08, hi, lo);
  to = putBytes(context, to, 0x12, name, nameSize);
  writer.length = putBytes(context, to, 0x1a, value, valueSize);
  return end;
}

/** SliceRef: 1 id, 2 size, 3 references. */
function encodeSliceRef(context: EncodeContext, at: number, tag: number): number {
  const { view, writer } = context;
  const hi = view.getUint32(at);
  const lo = view.getUint32(at + 4);
  const size = view.getUint32(at + 8);
  const refsHi = view.getUint32(at + 12);
  const refsLo = view.getUint32(at + 16);
  const item = beginItem(writer, tag, fieldSize(hi, lo) + fieldSize(0, size) + fieldSize(refsHi, refsLo));
  let to = putField(writer.buffer, item, 0x08, hi, lo);
  to = putField(writer.buffer, to, 0x10, 0, size);
  writer.length = putField(writer.buffer, to, 0x18, refsHi, refsLo);
  return at + 20;
}

/** Fields 1 to `count`, 64 bits each, then for user and group quotas field 6: the kind. */
function numbers(count: number, kind: number = 0): RecordEncoder {
  return (context, at, tag) => {
    const { view, writer } = context;
    const end = at + count * 8;
    let size = fieldSize(0, kind);
    for (let from = at; from < end; from += 8) size += fieldSize(view.getUint32(from), view.getUint32(from + 4));
    let to = beginItem(writer, tag, size);
    let fieldTag = 0x08;
    for (let from = at; from < end; from += 8, fieldTag += 8) {
      to = putField(writer.buffer, to, fieldTag, view.getUint32(from), view.getUint32(from + 4));
    }
    writer.length = putField(writer.buffer, to, 0x30, 0, kind);
    return end;
  };
}

/** Counter: 1 name, 2 value. */
function encodeCounter(context: EncodeContext, at: number, tag: number): number {
  const { view, writer } = context;
  const nameSize = view.getUint16(at);
  const hi = view.getUint32(at + 2);
  const lo = view.getUint32(at + 6);
  const item = beginItem(writer, tag, bytesSize(nameSize) + fieldSize(hi, lo));
  const to = putBytes(context, item, 0x0a, at + 10, nameSize);
  writer.length = putField(writer.buffer, to, 0x10, hi, lo);
  return at + 10 + nameSize;
}

function encodeChangeLog(context: EncodeContext, at: number, tag: number): number {
  const { view } = context;
  return putNumberAndBytes(context, tag, view.getUint32(at), view.getUint32(at + 4), at + 12, view.getUint32(at + 8));
}

/** Encoders of one record by kind; sustained inodes are grouped, see `encodeSustained`. */
export const RECORD_ENCODERS: Readonly<Record<Exclude<FlatKind, "setting" | "sustained">, RecordEncoder>> = {
  counter: encodeCounter,
  node: encodeNode,
  edge: encodeEdge,
  chunk: encodeChunk,
  symlink: encodeSymlink,
  xattr: encodeXattr,
  parent: numbers(3),
  sliceRef: encodeSliceRef,
  acl: encodeAcl,
  delFile: numbers(3),
  dirStat: numbers(4),
  quota: numbers(5),
  userQuota: numbers(5, 1),
  groupQuota: numbers(5, 2),
  changeLog: encodeChangeLog,
};

/** Inodes per message: a session with more is written as several, so that none is large. */
const MAX_SUSTAINED = 10_000;

/** Sustained: 1 session, 2 inodes, packed. Returns the number of messages that a batch of neighbours became. */
export function encodeSustained(batch: RecordBatch, writer: ByteWriter, tag: number): number {
  const { bytes, count } = batch;
  const list = Buffer.alloc(MAX_SUSTAINED * 10);
  let messages = 0;
  for (let first = 0; first < count; messages++) {
    let size = 0;
    let next = first;
    const sid = bytes.readBigUInt64BE(first * 16);
    while (next < count && next - first < MAX_SUSTAINED && bytes.readBigUInt64BE(next * 16) === sid) {
      size = putVarint(list, size, bytes.readUInt32BE(next * 16 + 8), bytes.readUInt32BE(next * 16 + 12));
      next++;
    }
    const sidHi = bytes.readUInt32BE(first * 16);
    const sidLo = bytes.readUInt32BE(first * 16 + 4);
    const item = beginItem(writer, tag, fieldSize(sidHi, sidLo) + bytesSize(size));
    let to = putField(writer.buffer, item, 0x08, sidHi, sidLo);
    writer.buffer[to] = 0x12;
    to = putVarint32(writer.buffer, to + 1, size);
    writer.length = to + list.copy(writer.buffer, to, 0, size);
    first = next;
  }
  return messages;
}
