import type { ByteWriter } from "../base/bytes.ts";
import { ATTR_LENGTH, ATTR_MIN_BYTES, ATTR_NLINK, ATTR_TYPE_MODE, readAttributeTail } from "../volume/attribute.ts";
import { withoutLeaseInList } from "../volume/backup-xattrs.ts";
import { FileType } from "../volume/file-type.ts";
import {
  attributeOffset,
  chunksOffset,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_NODE_MISSING,
  ENTRY_TYPE,
  symlinkOffset,
  xattrsOffset,
} from "../volume/tree-item.ts";
import { ChunkDigest } from "./chunk-digest.ts";

/**
 * What an entry says of its file, in a form that does not depend on its source: ACL rules in place of their numbers, xattrs
 * sorted, chunks as a digest, and nothing that a source cannot know (parent, length of what is no regular file). All numbers
 * big-endian:
 *
 *   0 u64 inode   8 u8 type   9 attribute record up to rdev   72 u8 tier
 *   73 u32 accessSize   77 u32 defaultSize   81 u32 symlinkSize   85 u32 xattrsSize   89 u32 slices   93 u8 digestSize
 *   94 access rule, default rule (volume/acl.ts), target, xattrs (as in a tree item), digest of the chunks
 */
export const FACT_INODE = 0;
export const FACT_TYPE = 8;
export const FACT_ATTRIBUTE = 9;
export const FACT_TIER = 72;
export const FACT_ACCESS_SIZE = 73;
export const FACT_DEFAULT_SIZE = 77;
export const FACT_SYMLINK_SIZE = 81;
export const FACT_XATTRS_SIZE = 85;
export const FACT_SLICES = 89;
export const FACT_DIGEST_SIZE = 93;
export const FACT_PARTS = 94;

/** An entry of a tree batch, and what is needed to understand it. */
export interface EntrySource {
  readonly bytes: Buffer;
  /** Where the entry begins. */
  readonly at: number;
  /** ACL rules by number. */
  readonly rules: ReadonlyMap<number, Buffer>;
  /** Of the chunks, where they did not fit into the entry. */
  readonly digest: ChunkDigest | undefined;
}

const NO_RULE: Buffer = Buffer.alloc(0);

/** Appends the facts of an entry. */
export function writeFacts(out: ByteWriter, entry: EntrySource): void {
  const { bytes, at, rules } = entry;
  const attribute = attributeOffset(bytes, at);
  const symlink = symlinkOffset(bytes, at);
  const xattrs = xattrsOffset(bytes, at);
  const chunks = chunksOffset(bytes, at);
  // A type of 0 counts as a regular file everywhere (docs/spec/json-dump.md §6).
  const type = bytes[at + ENTRY_TYPE]! || FileType.regular;
  const isMissing = (bytes[at + ENTRY_FLAGS]! & ENTRY_NODE_MISSING) !== 0 || symlink - attribute < ATTR_MIN_BYTES;
  const tail = isMissing ? { accessAclId: 0, defaultAclId: 0, tier: 0 } : readAttributeTail(bytes, attribute, symlink);
  const access = rules.get(tail.accessAclId) ?? NO_RULE;
  const inherited = rules.get(tail.defaultAclId) ?? NO_RULE;
  const stored = bytes.subarray(xattrs, chunks);
  // Dumps of the reference have it, those of decant do not: no difference between volumes.
  const sortedXattrs = sortXattrs(isRoot(bytes, at) ? withoutLeaseInList(stored) : stored);
  const target = type === FileType.symlink ? bytes.subarray(symlink, xattrs) : NO_RULE;
  const digest = chunkDigest(entry, type, isMissing, attribute, chunks);
  const chunkBytes = digest.finish();

  const start = out.reserve(FACT_PARTS);
  const { buffer } = out;
  bytes.copy(buffer, start, at + ENTRY_INODE, at + ENTRY_INODE + 8);
  buffer[start + FACT_TYPE] = type;
  const fixed = start + FACT_ATTRIBUTE;
  if (isMissing) writeMissing(buffer, fixed, type);
  else bytes.copy(buffer, fixed, attribute, attribute + ATTR_MIN_BYTES);
  if (type !== FileType.regular) buffer.fill(0, fixed + ATTR_LENGTH, fixed + ATTR_LENGTH + 8);
  buffer[start + FACT_TIER] = tail.tier;
  buffer.writeUInt32BE(access.length, start + FACT_ACCESS_SIZE);
  buffer.writeUInt32BE(inherited.length, start + FACT_DEFAULT_SIZE);
  buffer.writeUInt32BE(target.length, start + FACT_SYMLINK_SIZE);
  buffer.writeUInt32BE(sortedXattrs.length, start + FACT_XATTRS_SIZE);
  buffer.writeUInt32BE(digest.slices, start + FACT_SLICES);
  buffer[start + FACT_DIGEST_SIZE] = chunkBytes.length;
  out.length = start + FACT_PARTS;
  for (const part of [access, inherited, target, sortedXattrs, chunkBytes]) out.writeBytes(part);
}

function isRoot(bytes: Buffer, at: number): boolean {
  return bytes.readUInt32BE(at + ENTRY_INODE + 4) === 1 && bytes.readUInt32BE(at + ENTRY_INODE) === 0;
}

/** An inode without a record, as a dump shows it: all 0, and the link count that the reference assumes. */
function writeMissing(buffer: Buffer, at: number, type: number): void {
  buffer.fill(0, at, at + ATTR_MIN_BYTES);
  buffer.writeUInt16BE(type << 12, at + ATTR_TYPE_MODE);
  buffer.writeUInt32BE(type === FileType.directory ? 2 : 1, at + ATTR_NLINK);
}

function chunkDigest(
  { bytes, at, digest }: EntrySource,
  type: number,
  isMissing: boolean,
  attribute: number,
  chunks: number,
): ChunkDigest {
  if (type !== FileType.regular || isMissing) return new ChunkDigest(0n);
  if (digest !== undefined) return digest;
  const own = new ChunkDigest(bytes.readBigUInt64BE(attribute + ATTR_LENGTH));
  own.add(bytes, chunks, at + bytes.readUInt32BE(at));
  return own;
}

/** One extended attribute of a list: where its parts are. */
interface XattrPlace {
  readonly name: Buffer;
  readonly record: Buffer;
}

function xattrPlaces(list: Buffer): XattrPlace[] {
  const places: XattrPlace[] = [];
  for (let at = 0; at < list.length; ) {
    const value = at + 6 + list.readUInt16BE(at);
    const end = value + list.readUInt32BE(at + 2);
    places.push({ name: list.subarray(at + 6, value), record: list.subarray(at, end) });
    at = end;
  }
  return places;
}

/** The list in the order of its names; engines and dumps of the reference have it so already. */
function sortXattrs(list: Buffer): Buffer {
  const places = xattrPlaces(list);
  const isSorted = places.every((place, i) => i === 0 || places[i - 1]!.name.compare(place.name) <= 0);
  if (isSorted) return list;
  return Buffer.concat(places.sort((a, b) => a.name.compare(b.name)).map(({ record }) => record));
}

/** Where the parts of the facts at `bytes[at..)` lie: views. */
export interface FactParts {
  readonly access: Buffer;
  readonly inherited: Buffer;
  readonly target: Buffer;
  readonly xattrs: Buffer;
  readonly chunks: Buffer;
}

export function factParts(bytes: Buffer, at: number): FactParts {
  const access = at + FACT_PARTS;
  const inherited = access + bytes.readUInt32BE(at + FACT_ACCESS_SIZE);
  const target = inherited + bytes.readUInt32BE(at + FACT_DEFAULT_SIZE);
  const xattrs = target + bytes.readUInt32BE(at + FACT_SYMLINK_SIZE);
  const chunks = xattrs + bytes.readUInt32BE(at + FACT_XATTRS_SIZE);
  return {
    access: bytes.subarray(access, inherited),
    inherited: bytes.subarray(inherited, target),
    target: bytes.subarray(target, xattrs),
    xattrs: bytes.subarray(xattrs, chunks),
    chunks: bytes.subarray(chunks, chunks + bytes[at + FACT_DIGEST_SIZE]!),
  };
}

/** Names and values of a packed list of extended attributes. */
export function xattrMap(list: Buffer): Map<string, Buffer> {
  // Latin-1 has one character for each byte of a name.
  return new Map(
    xattrPlaces(list).map(({ name, record }) => [name.toString("latin1"), record.subarray(6 + name.length)]),
  );
}
