import { type ByteWriter, copyBytes } from "../../base/bytes.ts";
import { ATTR_BASE_BYTES, ATTR_TAIL, encodeAttribute, newDirectoryAttribute } from "../../volume/attribute.ts";
import { FileType } from "../../volume/file-type.ts";
import { BatchBuilder } from "../../volume/records.ts";
import {
  CHUNKS_ITEM_BYTES,
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
  LEAVE_ACCESS_ACL,
  LEAVE_DEFAULT_ACL,
  LEAVE_XATTRS,
  TREE_CHUNKS,
  TREE_ENTRY,
  TREE_LEAVE,
} from "../../volume/tree-item.ts";
import type { AttributeReader } from "./decode-attribute.ts";

/** What an entry has besides its attributes. Byte ranges are borrowed. */
export interface EntryParts {
  flags: number;
  name: DataView;
  nameStart: number;
  nameEnd: number;
  accessAclId: number;
  defaultAclId: number;
  readonly symlink: ByteWriter;
}

const CHUNK_HEAD = 8;
const UNKNOWN_DIRECTORY = encodeAttribute({ ...newDirectoryAttribute(0o700, 0n), length: 0n });

/** Writes tree items (volume/tree-item.ts) into batches. */
export class ItemWriter {
  readonly builder: BatchBuilder = new BatchBuilder("tree");

  /** Writes an entry; of `chunks[0..chunksSize)` only the first part, when flag `ENTRY_MORE_CHUNKS` is to follow. */
  entry(
    attribute: AttributeReader,
    parts: EntryParts,
    xattrs: ByteWriter,
    chunks: ByteWriter,
    chunksSize: number,
  ): void {
    const hasAcl = parts.accessAclId !== 0 || parts.defaultAclId !== 0;
    const attributeSize = ATTR_BASE_BYTES + (hasAcl ? 8 : 0) + (attribute.tier === 0 ? 0 : 1);
    const nameSize = parts.nameEnd - parts.nameStart;
    const symlinkSize = parts.symlink.length;
    const fixed = ENTRY_NAME + nameSize + attributeSize;
    const size = fixed + symlinkSize + xattrs.length + chunksSize;
    const start = this.#begin(size, TREE_ENTRY);
    const view = this.builder.writer.view;
    view.setUint8(start + ENTRY_TYPE, attribute.type);
    view.setUint8(start + ENTRY_FLAGS, parts.flags);
    view.setUint32(start + ENTRY_INODE, attribute.inodeHigh);
    view.setUint32(start + ENTRY_INODE + 4, attribute.inodeLow);
    view.setUint16(start + ENTRY_NAME_SIZE, nameSize);
    view.setUint16(start + ENTRY_ATTRIBUTE_SIZE, attributeSize);
    view.setUint32(start + ENTRY_SYMLINK_SIZE, symlinkSize);
    view.setUint32(start + ENTRY_XATTRS_SIZE, xattrs.length);
    view.setUint32(start + ENTRY_CHUNKS_SIZE, chunksSize);
    let at = start + ENTRY_NAME;
    copyBytes(parts.name, parts.nameStart, parts.nameEnd, view, at);
    at += nameSize;
    copyBytes(attribute.view, 0, ATTR_TAIL, view, at);
    let tail = at + ATTR_TAIL;
    if (hasAcl) {
      view.setUint32(tail, parts.accessAclId);
      view.setUint32(tail + 4, parts.defaultAclId);
      tail += 8;
    }
    if (attribute.tier !== 0) view.setUint8(tail++, attribute.tier);
    view.setUint8(tail, 0);
    at += attributeSize;
    copyBytes(parts.symlink.view, 0, symlinkSize, view, at);
    at += symlinkSize;
    copyBytes(xattrs.view, 0, xattrs.length, view, at);
    copyBytes(chunks.view, 0, chunksSize, view, at + xattrs.length);
    this.#end(size);
  }

  /** Writes a directory that has lost its attributes: only root may enter it. Without a time, so that a load can be gone on with. */
  unknownDirectory(inode: bigint, { flags, name, nameStart, nameEnd }: EntryParts): void {
    const nameSize = nameEnd - nameStart;
    const size = ENTRY_NAME + nameSize + UNKNOWN_DIRECTORY.length;
    const start = this.#begin(size, TREE_ENTRY);
    const { view, buffer } = this.builder.writer;
    view.setUint8(start + ENTRY_TYPE, FileType.directory);
    view.setUint8(start + ENTRY_FLAGS, flags);
    view.setBigUint64(start + ENTRY_INODE, inode);
    view.setUint16(start + ENTRY_NAME_SIZE, nameSize);
    view.setUint16(start + ENTRY_ATTRIBUTE_SIZE, UNKNOWN_DIRECTORY.length);
    view.setUint32(start + ENTRY_SYMLINK_SIZE, 0);
    view.setUint32(start + ENTRY_XATTRS_SIZE, 0);
    view.setUint32(start + ENTRY_CHUNKS_SIZE, 0);
    copyBytes(name, nameStart, nameEnd, view, start + ENTRY_NAME);
    UNKNOWN_DIRECTORY.copy(buffer, start + ENTRY_NAME + nameSize);
    this.#end(size);
  }

  /** Writes the end of a directory with the members that stood behind its entries. */
  leave(accessAclId: number, defaultAclId: number, xattrs: ByteWriter): void {
    const size = LEAVE_XATTRS + xattrs.length;
    const start = this.#begin(size, TREE_LEAVE);
    const view = this.builder.writer.view;
    view.setUint32(start + LEAVE_ACCESS_ACL, accessAclId);
    view.setUint32(start + LEAVE_DEFAULT_ACL, defaultAclId);
    copyBytes(xattrs.view, 0, xattrs.length, view, start + LEAVE_XATTRS);
    this.#end(size);
  }

  /** Writes `chunks[start..end)` as items of about `CHUNKS_ITEM_BYTES` that continue the entry before. */
  moreChunks(chunks: ByteWriter, start: number): void {
    let from = start;
    while (from < chunks.length) {
      const to = chunksPart(chunks, from);
      const size = CHUNKS_LIST + to - from;
      const at = this.#begin(size, TREE_CHUNKS);
      chunks.buffer.copy(this.builder.writer.buffer, at + CHUNKS_LIST, from, to);
      this.#end(size);
      from = to;
    }
  }

  #begin(size: number, tag: number): number {
    const writer = this.builder.writer;
    const start = writer.reserve(size);
    writer.view.setUint32(start, size);
    writer.view.setUint32(start + ITEM_TAG, tag << 24);
    return start;
  }

  #end(size: number): void {
    this.builder.writer.length += size;
    this.builder.commit();
  }
}

/** Where a part of about `CHUNKS_ITEM_BYTES` that begins at `from` ends: always between two chunks. */
export function chunksPart(chunks: ByteWriter, from: number): number {
  const end = chunks.length;
  if (end - from <= CHUNKS_ITEM_BYTES) return end;
  let to = from;
  while (to < end && to - from < CHUNKS_ITEM_BYTES) to += CHUNK_HEAD + chunks.view.getUint32(to + 4);
  return to;
}
