import { type AclEntry, decodeAclRule } from "../../volume/acl.ts";
import {
  ATTR_ATIME,
  ATTR_ATIMENSEC,
  ATTR_CTIME,
  ATTR_CTIMENSEC,
  ATTR_GID,
  ATTR_LENGTH,
  ATTR_MTIME,
  ATTR_MTIMENSEC,
  ATTR_NLINK,
  ATTR_RDEV,
  ATTR_TAIL,
  ATTR_UID,
} from "../../volume/attribute.ts";
import { FILE_TYPE_NAMES, FileType } from "../../volume/file-type.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import { putAscii, putInt64, putUint, putUint64, readUint32 } from "./put-text.ts";
import { ascii, type TextWriter } from "./text-writer.ts";

/** The one-line members of a tree entry (docs/spec/json-dump.md §6): compact JSON without blanks. */

const MTIME = ascii(',"mtime":');
const CTIME = ascii(',"ctime":');
const ATIMENSEC = ascii(',"atimensec":');
const MTIMENSEC = ascii(',"mtimensec":');
const CTIMENSEC = ascii(',"ctimensec":');
const NLINK = ascii(',"nlink":');
const LENGTH = ascii(',"length":');
const RDEV = ascii(',"rdev":');
const TIER = ascii(',"tier":');
const ZERO = 0x30;
const CLOSE = 0x7d;

/** What begins the attributes of every entry; the inode follows. */
export const ATTRIBUTE_HEAD = '"attr": {"inode":';

/** The part from flags to gid, kept from the entry before: most neighbours have the same. */
const owner: { key: Buffer; text: Buffer } = { key: Buffer.alloc(ATTR_ATIME, 0xff), text: Buffer.alloc(0) };

function ownerText(bytes: Buffer, at: number): Buffer {
  const key = owner.key;
  for (let i = 0; i < ATTR_ATIME; i++) {
    if (bytes[at + i] === key[i]) continue;
    bytes.copy(key, 0, at, at + ATTR_ATIME);
    owner.text = makeOwnerText(key);
    break;
  }
  return owner.text;
}

function makeOwnerText(key: Buffer): Buffer {
  const type = FILE_TYPE_NAMES[key[1]! >> 4] ?? "unknown";
  const mode = ((key[1]! & 0x0f) << 8) | key[2]!;
  const flags = key[0] === 0 ? "" : `,"flags":${key[0]}`;
  return ascii(
    `${flags},"type":"${type}","mode":${mode},"uid":${readUint32(key, ATTR_UID)},"gid":${readUint32(key, ATTR_GID)},"atime":`,
  );
}

/** More than any attributes take. */
const ATTRIBUTE_BYTES = 512;

/** The attributes of the record at `bytes[at..end)` from the inode on; `inodeAt` is where the inode's eight bytes stand. */
export function writeAttribute(out: TextWriter, bytes: Buffer, inodeAt: number, at: number, end: number): void {
  let to = out.reserve(ATTRIBUTE_BYTES);
  const buffer = out.buffer;
  to = putUint64(buffer, to, bytes, inodeAt);
  to = putAscii(buffer, to, ownerText(bytes, at));
  to = putInt64(buffer, to, bytes, at + ATTR_ATIME);
  to = putAscii(buffer, to, MTIME);
  to = putInt64(buffer, to, bytes, at + ATTR_MTIME);
  to = putAscii(buffer, to, CTIME);
  to = putInt64(buffer, to, bytes, at + ATTR_CTIME);
  to = putOptional(buffer, to, ATIMENSEC, readUint32(bytes, at + ATTR_ATIMENSEC));
  to = putOptional(buffer, to, MTIMENSEC, readUint32(bytes, at + ATTR_MTIMENSEC));
  to = putOptional(buffer, to, CTIMENSEC, readUint32(bytes, at + ATTR_CTIMENSEC));
  to = putAscii(buffer, to, NLINK);
  to = putUint(buffer, to, readUint32(bytes, at + ATTR_NLINK));
  to = putAscii(buffer, to, LENGTH);
  if (bytes[at + 1]! >> 4 === FileType.regular) to = putUint64(buffer, to, bytes, at + ATTR_LENGTH);
  else buffer[to++] = ZERO;
  to = putOptional(buffer, to, RDEV, readUint32(bytes, at + ATTR_RDEV));
  to = putOptional(buffer, to, TIER, tierOf(bytes, at, end));
  buffer[to] = CLOSE;
  out.length = to + 1;
}

function putOptional(buffer: Buffer, to: number, name: Buffer, value: number): number {
  return value === 0 ? to : putUint(buffer, putAscii(buffer, to, name), value);
}

function tierOf(bytes: Buffer, at: number, end: number): number {
  const tail = end - at - ATTR_TAIL;
  if (tail >= 8) return tail > 8 ? bytes[at + ATTR_TAIL + 8]! : 0;
  return tail > 0 ? bytes[at + ATTR_TAIL]! : 0;
}

/** The attributes of an entry whose inode has no record: all 0, and the link count that the reference assumes. */
export function writeMissingAttribute(out: TextWriter, bytes: Buffer, inodeAt: number, type: number): void {
  const links = type === FileType.directory ? 2 : 1;
  out.writeLatin1(
    `${bytes.readBigUInt64BE(inodeAt)},"type":"${FILE_TYPE_NAMES[type] ?? "unknown"}","mode":0,"uid":0,"gid":0,` +
      `"atime":0,"mtime":0,"ctime":0,"nlink":${links},"length":0}`,
  );
}

/**
 * `"xattrs": [...]` from a tree entry's packed list. False when a name is not UTF-8: the format has no escape for names, so
 * its bytes are lost in the dump (docs/spec/json-dump.md §13.3).
 */
export function writeXattrs(out: TextWriter, bytes: Buffer, start: number, end: number): boolean {
  let complete = true;
  out.writeLatin1('"xattrs": [');
  for (let at = start; at < end; ) {
    if (at > start) out.writeLatin1(",");
    const name = at + 6;
    const value = name + bytes.readUInt16BE(at);
    at = value + bytes.readUInt32BE(at + 2);
    out.writeLatin1('{"name":"');
    if (!out.writeJson(bytes, name, value)) complete = false;
    out.writeLatin1('","value":"');
    out.writeEscapedJson(bytes, value, at);
    out.writeLatin1('"}');
  }
  out.writeLatin1("]");
  return complete;
}

/** The text of an ACL rule's object. */
export function aclText(rule: Buffer): Buffer {
  const { owner, group, other, mask, users, groups } = decodeAclRule(rule);
  const list = (entries: readonly AclEntry[]): string =>
    entries.length === 0 ? "null" : `[${entries.map(({ id, perm }) => `{"id":${id},"perm":${perm}}`).join(",")}]`;
  return ascii(
    `{"owner":${owner},"group":${group},"other":${other},"mask":${mask},"users":${list(users)},"groups":${list(groups)}}`,
  );
}

const INDEX = ascii('{"index":');
const SLICES = ascii(',"slices":[');
const SLICES_END = ascii("]}");
const ID = ascii('{"id":');
const POS = ascii(',"pos":');
const SIZE = ascii(',"size":');
const OFF = ascii(',"off":');
const LEN = ascii(',"len":');
const COMMA = 0x2c;

/** More than one slice's text takes. */
const SLICE_TEXT_BYTES = 128;

/** `{"index":...}` of one chunk, `bytes[at..)` being u32 index, u32 size, slices. */
export function writeChunk(out: TextWriter, bytes: Buffer, at: number): void {
  const size = readUint32(bytes, at + 4);
  let to = out.reserve(((size / SLICE_BYTES) | 0) * SLICE_TEXT_BYTES + SLICE_TEXT_BYTES);
  const buffer = out.buffer;
  to = putUint(buffer, putAscii(buffer, to, INDEX), readUint32(bytes, at));
  to = putAscii(buffer, to, SLICES);
  const end = at + 8 + size;
  for (let slice = at + 8; slice < end; slice += SLICE_BYTES) {
    if (slice > at + 8) buffer[to++] = COMMA;
    to = putUint64(buffer, putAscii(buffer, to, ID), bytes, slice + 4);
    to = putOptional(buffer, to, POS, readUint32(bytes, slice));
    to = putUint(buffer, putAscii(buffer, to, SIZE), readUint32(bytes, slice + 12));
    to = putOptional(buffer, to, OFF, readUint32(bytes, slice + 16));
    to = putUint(buffer, putAscii(buffer, to, LEN), readUint32(bytes, slice + 20));
    buffer[to++] = CLOSE;
  }
  out.length = putAscii(buffer, to, SLICES_END);
}
