import { putUint } from "../../base/digits.ts";
import { type AclEntry, decodeAclRule } from "../../volume/acl.ts";
import {
  ATTR_ATIME,
  ATTR_ATIMENSEC,
  ATTR_CTIME,
  ATTR_CTIMENSEC,
  ATTR_FLAGS,
  ATTR_GID,
  ATTR_LENGTH,
  ATTR_MTIME,
  ATTR_MTIMENSEC,
  ATTR_NLINK,
  ATTR_RDEV,
  ATTR_TAIL,
  ATTR_TYPE_MODE,
  ATTR_UID,
} from "../../volume/attribute.ts";
import { FILE_TYPE_NAMES, FileType } from "../../volume/file-type.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import { type ConstantText, constantText, putInt64, putText, putUint64, SLACK_BYTES } from "./put-text.ts";
import type { TextWriter } from "./text-writer.ts";

/** The one-line members of a tree entry (docs/spec/json-dump.md §6): compact JSON without blanks. */

/** What begins the attributes of every entry; the inode follows. */
export const ATTRIBUTE_HEAD = '"attr": {"inode":';

const FLAGS = constantText(',"flags":');
const TYPES: readonly ConstantText[] = FILE_TYPE_NAMES.map((name) => constantText(`,"type":"${name}","mode":`));
const UNKNOWN_TYPE = constantText(',"type":"unknown","mode":');
const UID = constantText(',"uid":');
const GID = constantText(',"gid":');
const ATIME = constantText(',"atime":');
const MTIME = constantText(',"mtime":');
const CTIME = constantText(',"ctime":');
const ATIMENSEC = constantText(',"atimensec":');
const MTIMENSEC = constantText(',"mtimensec":');
const CTIMENSEC = constantText(',"ctimensec":');
const NLINK = constantText(',"nlink":');
const LENGTH = constantText(',"length":');
const RDEV = constantText(',"rdev":');
const TIER = constantText(',"tier":');
const ZERO = 0x30;
const CLOSE = 0x7d;

/** More than any attributes take. */
const ATTRIBUTE_BYTES = 512 + SLACK_BYTES;

/** The attributes of the record at `source[at..end)` from the inode on; `inodeAt` is where the inode's eight bytes stand. */
export function writeAttribute(out: TextWriter, source: DataView, inodeAt: number, at: number, end: number): void {
  let to = out.reserve(ATTRIBUTE_BYTES);
  const view = out.view;
  const typeAndMode = source.getUint16(at + ATTR_TYPE_MODE);
  const type = typeAndMode >> 12;
  to = putUint64(view, to, source, inodeAt);
  to = putOptional(view, to, FLAGS, source.getUint8(at + ATTR_FLAGS));
  to = putText(view, to, TYPES[type] ?? UNKNOWN_TYPE);
  to = putUint(view, to, typeAndMode & 0xfff);
  to = putUint(view, putText(view, to, UID), source.getUint32(at + ATTR_UID));
  to = putUint(view, putText(view, to, GID), source.getUint32(at + ATTR_GID));
  to = putInt64(view, putText(view, to, ATIME), source, at + ATTR_ATIME);
  to = putInt64(view, putText(view, to, MTIME), source, at + ATTR_MTIME);
  to = putInt64(view, putText(view, to, CTIME), source, at + ATTR_CTIME);
  to = putOptional(view, to, ATIMENSEC, source.getUint32(at + ATTR_ATIMENSEC));
  to = putOptional(view, to, MTIMENSEC, source.getUint32(at + ATTR_MTIMENSEC));
  to = putOptional(view, to, CTIMENSEC, source.getUint32(at + ATTR_CTIMENSEC));
  to = putUint(view, putText(view, to, NLINK), source.getUint32(at + ATTR_NLINK));
  to = putText(view, to, LENGTH);
  if (type === FileType.regular) to = putUint64(view, to, source, at + ATTR_LENGTH);
  else view.setUint8(to++, ZERO);
  to = putOptional(view, to, RDEV, source.getUint32(at + ATTR_RDEV));
  to = putOptional(view, to, TIER, tierOf(source, at, end));
  view.setUint8(to, CLOSE);
  out.length = to + 1;
}

function putOptional(view: DataView, to: number, name: ConstantText, value: number): number {
  return value === 0 ? to : putUint(view, putText(view, to, name), value);
}

function tierOf(source: DataView, at: number, end: number): number {
  const tail = end - at - ATTR_TAIL;
  if (tail >= 8) return tail > 8 ? source.getUint8(at + ATTR_TAIL + 8) : 0;
  return tail > 0 ? source.getUint8(at + ATTR_TAIL) : 0;
}

/** The attributes of an entry whose inode has no record: all 0, and the link count that the reference assumes. */
export function writeMissingAttribute(out: TextWriter, source: DataView, inodeAt: number, type: number): void {
  const links = type === FileType.directory ? 2 : 1;
  out.writeAscii(
    `${source.getBigUint64(inodeAt)},"type":"${FILE_TYPE_NAMES[type] ?? "unknown"}","mode":0,"uid":0,"gid":0,` +
      `"atime":0,"mtime":0,"ctime":0,"nlink":${links},"length":0}`,
  );
}

/**
 * `"xattrs": [...]` from a tree entry's packed list. False when a name is not UTF-8: the format has no escape for names, so
 * its bytes are lost in the dump (docs/spec/json-dump.md §13.3).
 */
export function writeXattrs(out: TextWriter, bytes: Buffer, start: number, end: number): boolean {
  let complete = true;
  out.writeAscii('"xattrs": [');
  for (let at = start; at < end; ) {
    if (at > start) out.writeAscii(",");
    const name = at + 6;
    const value = name + bytes.readUInt16BE(at);
    at = value + bytes.readUInt32BE(at + 2);
    out.writeAscii('{"name":"');
    if (!out.writeJson(bytes, name, value)) complete = false;
    out.writeAscii('","value":"');
    out.writeEscapedJson(bytes, value, at);
    out.writeAscii('"}');
  }
  out.writeAscii("]");
  return complete;
}

/** The text of an ACL rule's object. */
export function aclText(rule: Buffer): ConstantText {
  const { owner, group, other, mask, users, groups } = decodeAclRule(rule);
  const list = (entries: readonly AclEntry[]): string =>
    entries.length === 0 ? "null" : `[${entries.map(({ id, perm }) => `{"id":${id},"perm":${perm}}`).join(",")}]`;
  return constantText(
    `{"owner":${owner},"group":${group},"other":${other},"mask":${mask},"users":${list(users)},"groups":${list(groups)}}`,
  );
}

const INDEX = constantText('{"index":');
const SLICES = constantText(',"slices":[');
const SLICES_END = constantText("]}");
const ID = constantText('{"id":');
const POS = constantText(',"pos":');
const SIZE = constantText(',"size":');
const OFF = constantText(',"off":');
const LEN = constantText(',"len":');
const COMMA = 0x2c;

/** More than one slice's text takes. */
const SLICE_TEXT_BYTES = 128;

/** `{"index":...}` of one chunk, `source[at..)` being u32 index, u32 size, slices. */
export function writeChunk(out: TextWriter, source: DataView, at: number): void {
  const size = source.getUint32(at + 4);
  let to = out.reserve(((size / SLICE_BYTES) | 0) * SLICE_TEXT_BYTES + SLICE_TEXT_BYTES);
  const view = out.view;
  to = putUint(view, putText(view, to, INDEX), source.getUint32(at));
  to = putText(view, to, SLICES);
  const end = at + 8 + size;
  for (let slice = at + 8; slice < end; slice += SLICE_BYTES) {
    if (slice > at + 8) view.setUint8(to++, COMMA);
    to = putUint64(view, putText(view, to, ID), source, slice + 4);
    to = putOptional(view, to, POS, source.getUint32(slice));
    to = putUint(view, putText(view, to, SIZE), source.getUint32(slice + 12));
    to = putOptional(view, to, OFF, source.getUint32(slice + 16));
    to = putUint(view, putText(view, to, LEN), source.getUint32(slice + 20));
    view.setUint8(to++, CLOSE);
  }
  out.length = putText(view, to, SLICES_END);
}
