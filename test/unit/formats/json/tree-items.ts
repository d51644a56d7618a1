import { type Attribute, decodeAttribute } from "../../../../src/volume/attribute.ts";
import type { RecordBatch } from "../../../../src/volume/records.ts";
import { decodeSlices, type Slice } from "../../../../src/volume/slices.ts";
import {
  CHUNKS_LIST,
  ENTRY_ATTRIBUTE_SIZE,
  ENTRY_CHUNKS_SIZE,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_NAME,
  ENTRY_NAME_SIZE,
  ENTRY_SYMLINK_SIZE,
  ENTRY_TYPE,
  ENTRY_XATTRS_SIZE,
  ITEM_TAG,
  KEEP_ACL_ID,
  LEAVE_ACCESS_ACL,
  LEAVE_DEFAULT_ACL,
  LEAVE_XATTRS,
  TREE_CHUNKS,
  TREE_ENTRY,
} from "../../../../src/volume/tree-item.ts";

/** A tree item in plain values; bytes as latin1 text, so that a failed comparison can be read. */
export interface PlainEntry {
  path: string;
  flags: number;
  type: number;
  inode: bigint;
  attribute: Attribute;
  symlink: string;
  xattrs: [name: string, value: string][];
  chunks: { index: number; slices: Slice[] }[];
}

/** Decodes tree batches: entries with their paths, in order; what a leave item brings is put into its directory. */
export function plainEntries(batches: readonly RecordBatch[]): PlainEntry[] {
  const entries: PlainEntry[] = [];
  const open: PlainEntry[] = [];
  for (const batch of batches) {
    if (batch.kind !== "tree") continue;
    const bytes = batch.bytes;
    let items = 0;
    let at = 0;
    for (; at < bytes.length; items++) {
      const end = at + bytes.readUInt32BE(at);
      const tag = bytes[at + ITEM_TAG];
      if (tag === TREE_ENTRY) {
        const entry = plainEntry(bytes, at, end, open.at(-1));
        entries.push(entry);
        if (entry.type === 2) open.push(entry);
      } else if (tag === TREE_CHUNKS) entries.at(-1)!.chunks.push(...plainChunks(bytes, at + CHUNKS_LIST, end));
      else applyLeave(open.pop()!, bytes, at, end);
      at = end;
    }
    if (at !== bytes.length || items !== batch.count) throw new Error("the batch does not end with an item");
  }
  if (open.length > 0) throw new Error("a directory was not left");
  return entries;
}

function plainEntry(bytes: Buffer, start: number, end: number, parent: PlainEntry | undefined): PlainEntry {
  let at = start + ENTRY_NAME;
  const take = (size: number): [number, number] => {
    at += size;
    return [at - size, at];
  };
  const name = bytes.toString("latin1", ...take(bytes.readUInt16BE(start + ENTRY_NAME_SIZE)));
  const attribute = decodeAttribute(bytes, ...take(bytes.readUInt16BE(start + ENTRY_ATTRIBUTE_SIZE)));
  const symlink = bytes.toString("latin1", ...take(bytes.readUInt32BE(start + ENTRY_SYMLINK_SIZE)));
  const xattrs = plainXattrs(bytes, ...take(bytes.readUInt32BE(start + ENTRY_XATTRS_SIZE)));
  const chunks = plainChunks(bytes, ...take(bytes.readUInt32BE(start + ENTRY_CHUNKS_SIZE)));
  if (at !== end) throw new Error("the sizes of an entry do not add up");
  return {
    path: parent === undefined ? "" : `${parent.path}/${name}`,
    flags: bytes[start + ENTRY_FLAGS]!,
    type: bytes[start + ENTRY_TYPE]!,
    inode: bytes.readBigUInt64BE(start + ENTRY_INODE),
    attribute,
    symlink,
    xattrs,
    chunks,
  };
}

function applyLeave(entry: PlainEntry, bytes: Buffer, start: number, end: number): void {
  const access = bytes.readUInt32BE(start + LEAVE_ACCESS_ACL);
  const byDefault = bytes.readUInt32BE(start + LEAVE_DEFAULT_ACL);
  if (access !== KEEP_ACL_ID) entry.attribute.accessAclId = access;
  if (byDefault !== KEEP_ACL_ID) entry.attribute.defaultAclId = byDefault;
  entry.xattrs.push(...plainXattrs(bytes, start + LEAVE_XATTRS, end));
}

function plainXattrs(bytes: Buffer, start: number, end: number): [string, string][] {
  const xattrs: [string, string][] = [];
  let at = start;
  while (at < end) {
    const name = at + 6 + bytes.readUInt16BE(at);
    const value = name + bytes.readUInt32BE(at + 2);
    xattrs.push([bytes.toString("latin1", at + 6, name), bytes.toString("latin1", name, value)]);
    at = value;
  }
  return xattrs;
}

function plainChunks(bytes: Buffer, start: number, end: number): PlainEntry["chunks"] {
  const chunks: PlainEntry["chunks"] = [];
  let at = start;
  while (at < end) {
    const to = at + 8 + bytes.readUInt32BE(at + 4);
    chunks.push({ index: bytes.readUInt32BE(at), slices: decodeSlices(bytes.subarray(at + 8, to)) });
    at = to;
  }
  return chunks;
}
