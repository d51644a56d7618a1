import { copyBytes } from "../../base/bytes.ts";
import { ATTR_MAX_BYTES, ATTR_MIN_BYTES } from "../../volume/attribute.ts";
import type { BatchBuilder, FlatKind } from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import type { DecodeNotes } from "./decode-notes.ts";
import { WIRE_BYTES, WIRE_VARINT, type WireReader } from "./wire-reader.ts";

const MAX_U16 = 0xffff;

/** What the fields of any record can be: three numbers at the most come before or behind its bytes. */
class Fields {
  hi1 = 0;
  lo1 = 0;
  hi2 = 0;
  lo2 = 0;
  hi3 = 0;
  lo3 = 0;
  hi4 = 0;
  lo4 = 0;
  hi5 = 0;
  lo5 = 0;
  number6 = 0;
  start = 0;
  size = 0;
  valueStart = 0;
  valueSize = 0;

  clear(): void {
    this.hi1 = 0;
    this.lo1 = 0;
    this.hi2 = 0;
    this.lo2 = 0;
    this.hi3 = 0;
    this.lo3 = 0;
    this.hi4 = 0;
    this.lo4 = 0;
    this.hi5 = 0;
    this.lo5 = 0;
    this.number6 = 0;
    this.start = 0;
    this.size = 0;
    this.valueStart = 0;
    this.valueSize = 0;
  }
}

/** Reads the message at hand of `reader` and appends it to `builder`, without the `commit`; false when it has none. */
export type RecordDecoder = (reader: WireReader, builder: BatchBuilder, notes: DecodeNotes) => boolean;

const fields = new Fields();

/** Reads all fields: varints by number into the members, bytes of `bytesField` and `valueField` as places. */
function readFields(reader: WireReader, varints: number, bytesField: number, valueField: number = 0): void {
  fields.clear();
  while (reader.next()) {
    const { field } = reader;
    if (reader.wireType === WIRE_BYTES) {
      const size = reader.at - reader.start;
      if (field === bytesField) {
        fields.start = reader.start;
        fields.size = size;
      } else if (field === valueField) {
        fields.valueStart = reader.start;
        fields.valueSize = size;
      } else {
        reader.failField();
      }
      continue;
    }
    if ((varints & (1 << field)) === 0) reader.failField();
    const { hi, lo } = reader;
    switch (field) {
      case 1:
        fields.hi1 = hi;
        fields.lo1 = lo;
        break;
      case 2:
        fields.hi2 = hi;
        fields.lo2 = lo;
        break;
      case 3:
        fields.hi3 = hi;
        fields.lo3 = lo;
        break;
      case 4:
        fields.hi4 = hi;
        fields.lo4 = lo;
        break;
      case 5:
        fields.hi5 = hi;
        fields.lo5 = lo;
        break;
      default:
        fields.number6 = reader.uint32();
    }
  }
}

/** Bits of the varint fields 1 to n of a message. */
const VARINTS_1 = 0b10;
const VARINTS_1_2 = 0b110;
const VARINTS_1_TO_3 = 0b1110;
const VARINTS_1_TO_4 = 0b1_1110;
const VARINTS_1_TO_6 = 0b111_1110;
const VARINTS_1_2_4 = 0b1_0110;

function requireInode(reader: WireReader): void {
  if (fields.lo1 === 0 && fields.hi1 === 0) reader.fail("it has no inode");
}

/** Node: 1 inode, 2 attribute record. The commonest form is read without a look at what else could stand there. */
function decodeNode(reader: WireReader, builder: BatchBuilder, notes: DecodeNotes): boolean {
  readFields(reader, VARINTS_1, 2);
  requireInode(reader);
  const { start, size } = fields;
  if (size < ATTR_MIN_BYTES || size > MAX_U16) {
    reader.fail(`an attribute record has ${size} bytes, expected ${ATTR_MIN_BYTES} to ${ATTR_MAX_BYTES}`);
  }
  const { writer } = builder;
  const to = writer.reserve(10 + size);
  const out = writer.view;
  out.setUint32(to, fields.hi1);
  out.setUint32(to + 4, fields.lo1);
  out.setUint16(to + 8, size);
  copyBytes(reader.view, start, start + size, out, to + 10);
  writer.length = to + 10 + size;
  notes.node(reader.view, start, size, fields.hi1, fields.lo1);
  return true;
}

/** Edge: 1 parent, 2 inode, 3 name, 4 type. */
function decodeEdge(reader: WireReader, builder: BatchBuilder, notes: DecodeNotes): boolean {
  readFields(reader, VARINTS_1_2_4, 3);
  const { start, size } = fields;
  if (fields.lo1 === 0 && fields.hi1 === 0) reader.fail("an entry has no parent");
  if (fields.lo2 === 0 && fields.hi2 === 0) reader.fail("an entry has no inode");
  if (size === 0) reader.fail("an entry has no name");
  if (size > MAX_U16) reader.fail(`an entry's name has ${size} bytes`);
  if (fields.hi4 !== 0 || fields.lo4 > 0xff) reader.fail(`an entry has type ${fields.hi4 * 2 ** 32 + fields.lo4}`);
  const { writer } = builder;
  const to = writer.reserve(19 + size);
  const out = writer.view;
  out.setUint32(to, fields.hi1);
  out.setUint32(to + 4, fields.lo1);
  out.setUint32(to + 8, fields.hi2);
  out.setUint32(to + 12, fields.lo2);
  out.setUint8(to + 16, fields.lo4);
  out.setUint16(to + 17, size);
  copyBytes(reader.view, start, start + size, out, to + 19);
  writer.length = to + 19 + size;
  notes.edge(reader.bytes, start, size, fields.lo4, fields.hi1, fields.lo1);
  return true;
}

/** Chunk: 1 inode, 2 index, 3 slices. */
function decodeChunk(reader: WireReader, builder: BatchBuilder): boolean {
  readFields(reader, VARINTS_1_2, 3);
  requireInode(reader);
  if (fields.hi2 !== 0) reader.fail("a chunk's index has more than 32 bits");
  const { start, size } = fields;
  if (size % SLICE_BYTES !== 0) {
    reader.fail(`the slices of a chunk have ${size} bytes, which is no multiple of ${SLICE_BYTES}`);
  }
  const { writer } = builder;
  const to = writer.reserve(16 + size);
  const out = writer.view;
  out.setUint32(to, fields.hi1);
  out.setUint32(to + 4, fields.lo1);
  out.setUint32(to + 8, fields.lo2);
  out.setUint32(to + 12, size);
  copyBytes(reader.view, start, start + size, out, to + 16);
  writer.length = to + 16 + size;
  return true;
}

/** Symlink: 1 inode, 2 target, byte by byte as it is: percent signs mean nothing here. */
function decodeSymlink(reader: WireReader, builder: BatchBuilder): boolean {
  readFields(reader, VARINTS_1, 2);
  requireInode(reader);
  const { writer } = builder;
  const to = writer.reserve(12 + fields.size);
  writer.view.setUint32(to, fields.hi1);
  writer.view.setUint32(to + 4, fields.lo1);
  writer.view.setUint32(to + 8, fields.size);
  reader.bytes.copy(writer.buffer, to + 12, fields.start, fields.start + fields.size);
  writer.length = to + 12 + fields.size;
  return true;
}

/** Xattr: 1 inode, 2 name, 3 value. The name may be any bytes: decant writes those that are no UTF-8 when asked to. */
function decodeXattr(reader: WireReader, builder: BatchBuilder): boolean {
  readFields(reader, VARINTS_1, 2, 3);
  requireInode(reader);
  const { start, size, valueStart, valueSize } = fields;
  if (size === 0) reader.fail("an extended attribute has no name");
  if (size > MAX_U16) reader.fail(`the name of an extended attribute has ${size} bytes`);
  const { writer } = builder;
  const to = writer.reserve(14 + size + valueSize);
  writer.view.setUint32(to, fields.hi1);
  writer.view.setUint32(to + 4, fields.lo1);
  writer.view.setUint16(to + 8, size);
  writer.view.setUint32(to + 10, valueSize);
  reader.bytes.copy(writer.buffer, to + 14, start, start + size);
  reader.bytes.copy(writer.buffer, to + 14 + size, valueStart, valueStart + valueSize);
  writer.length = to + 14 + size + valueSize;
  return true;
}

/** SliceRef: 1 id, 2 size, 3 references. Slice 0 is a hole and no slice: the reference counts it all the same (§9.13). */
function decodeSliceRef(reader: WireReader, builder: BatchBuilder): boolean {
  readFields(reader, VARINTS_1_TO_3, 0);
  if (fields.hi2 !== 0) reader.fail("the size of a slice has more than 32 bits");
  if (fields.hi1 === 0 && fields.lo1 === 0) return false;
  const { writer } = builder;
  const to = writer.reserve(20);
  writer.view.setUint32(to, fields.hi1);
  writer.view.setUint32(to + 4, fields.lo1);
  writer.view.setUint32(to + 8, fields.lo2);
  writer.view.setUint32(to + 12, fields.hi3);
  writer.view.setUint32(to + 16, fields.lo3);
  writer.length = to + 20;
  return true;
}

/** DelFile, Parent: numbers 1 to 3. */
function decodeThreeNumbers(reader: WireReader, builder: BatchBuilder): boolean {
  readFields(reader, VARINTS_1_TO_3, 0);
  requireInode(reader);
  putNumbers(builder, 3);
  return true;
}

/** Stat: numbers 1 to 4. */
function decodeStat(reader: WireReader, builder: BatchBuilder): boolean {
  readFields(reader, VARINTS_1_TO_4, 0);
  requireInode(reader);
  putNumbers(builder, 4);
  return true;
}

/** Quota: numbers 1 to 5; 6 is the kind, which the list says as well. */
function decodeQuota(kind: number): RecordDecoder {
  return (reader, builder) => {
    readFields(reader, VARINTS_1_TO_6, 0);
    if (fields.number6 !== kind) reader.fail(`a quota of kind ${fields.number6} stands in the list of kind ${kind}`);
    putNumbers(builder, 5);
    return true;
  };
}

function putNumbers(builder: BatchBuilder, count: number): void {
  const { writer } = builder;
  const to = writer.reserve(40);
  const out = writer.view;
  out.setUint32(to, fields.hi1);
  out.setUint32(to + 4, fields.lo1);
  out.setUint32(to + 8, fields.hi2);
  out.setUint32(to + 12, fields.lo2);
  out.setUint32(to + 16, fields.hi3);
  out.setUint32(to + 20, fields.lo3);
  out.setUint32(to + 24, fields.hi4);
  out.setUint32(to + 28, fields.lo4);
  out.setUint32(to + 32, fields.hi5);
  out.setUint32(to + 36, fields.lo5);
  writer.length = to + count * 8;
}

/** Acl: 1 id, 2 rule. */
function decodeAcl(reader: WireReader, builder: BatchBuilder): boolean {
  readFields(reader, VARINTS_1, 2);
  if (fields.hi1 !== 0) reader.fail("the number of an ACL rule has more than 32 bits");
  const { writer } = builder;
  const to = writer.reserve(8 + fields.size);
  writer.view.setUint32(to, fields.lo1);
  writer.view.setUint32(to + 4, fields.size);
  reader.bytes.copy(writer.buffer, to + 8, fields.start, fields.start + fields.size);
  writer.length = to + 8 + fields.size;
  return true;
}

/** Counter: 1 name, 2 value. */
function decodeCounter(reader: WireReader, builder: BatchBuilder): boolean {
  readFields(reader, 0b100, 1);
  const { start, size } = fields;
  if (size === 0 || size > MAX_U16) reader.fail(`the name of a counter has ${size} bytes`);
  const { writer } = builder;
  const to = writer.reserve(10 + size);
  writer.view.setUint16(to, size);
  writer.view.setUint32(to + 2, fields.hi2);
  writer.view.setUint32(to + 6, fields.lo2);
  reader.bytes.copy(writer.buffer, to + 10, start, start + size);
  writer.length = to + 10 + size;
  return true;
}

/** ChangeLog: 1 version, 2 entry. */
function decodeChangeLog(reader: WireReader, builder: BatchBuilder): boolean {
  readFields(reader, VARINTS_1, 2);
  const { writer } = builder;
  const to = writer.reserve(12 + fields.size);
  writer.view.setUint32(to, fields.hi1);
  writer.view.setUint32(to + 4, fields.lo1);
  writer.view.setUint32(to + 8, fields.size);
  reader.bytes.copy(writer.buffer, to + 12, fields.start, fields.start + fields.size);
  writer.length = to + 12 + fields.size;
  return true;
}

/**
 * Sustained: 1 session, 2 inodes, packed, or one by one as an older writer may have it. One message is many records; the
 * last of them is left for the caller to commit. A batch may so become larger than others, by one session.
 */
function decodeSustained(reader: WireReader, builder: BatchBuilder): boolean {
  const begin = reader.at;

  let sidHi = 0;
  let sidLo = 0;
  while (reader.next()) {
    if (reader.field === 1 && reader.wireType === WIRE_VARINT) {
      sidHi = reader.hi;
      sidLo = reader.lo;
    } else if (reader.field !== 2) {
      reader.failField();
    }
  }
  let inodes = 0;
  const put = (): void => {
    if (inodes++ > 0) builder.count++;
    const { writer } = builder;
    const to = writer.reserve(16);
    writer.view.setUint32(to, sidHi);
    writer.view.setUint32(to + 4, sidLo);
    writer.view.setUint32(to + 8, reader.hi);
    writer.view.setUint32(to + 12, reader.lo);
    writer.length = to + 16;
  };
  reader.at = begin;
  while (reader.next()) {
    if (reader.field !== 2) continue;
    if (reader.wireType === WIRE_VARINT) {
      put();
      continue;
    }
    const listEnd = reader.at;
    reader.at = reader.start;
    while (reader.at < listEnd) {
      reader.readVarint();
      if (reader.at > listEnd) reader.fail("a list of inodes is cut off");
      put();
    }
  }

  return inodes > 0;
}

/** Decoders by kind. */
export const RECORD_DECODERS: Readonly<Record<Exclude<FlatKind, "setting">, RecordDecoder>> = {
  counter: decodeCounter,
  node: decodeNode,
  edge: decodeEdge,
  chunk: decodeChunk,
  symlink: decodeSymlink,
  xattr: decodeXattr,
  parent: decodeThreeNumbers,
  sliceRef: decodeSliceRef,
  acl: decodeAcl,
  sustained: decodeSustained,
  delFile: decodeThreeNumbers,
  dirStat: decodeStat,
  quota: decodeQuota(0),
  userQuota: decodeQuota(1),
  groupQuota: decodeQuota(2),
  changeLog: decodeChangeLog,
};
