import type { ByteWriter } from "../../base/bytes.ts";
import { ATTR_BASE_BYTES, ATTR_TAIL } from "../../volume/attribute.ts";
import { BatchBuilder } from "../../volume/records.ts";
import {
  CHUNKS_ITEM_BYTES,
  CHUNKS_LIST,
  ENTRY_NAME,
  LEAVE_XATTRS,
  TREE_CHUNKS,
  TREE_ENTRY,
  TREE_LEAVE,
} from "../../volume/tree-item.ts";
import type { AttributeReader } from "./decode-attribute.ts";

/** What an entry has besides its attributes. Byte ranges are borrowed. */
export interface EntryParts {
  flags: number;
  name: Buffer;
  nameStart: number;
  nameEnd: number;
  accessAclId: number;
  defaultAclId: number;
  symlink: Buffer;
  symlinkSize: number;
}

const CHUNK_HEAD = 8;
/** Below this size a loop is cheaper than a call. */
const SMALL_COPY = 96;

/** Writes tree items (volume/tree-item.ts) into batches. */
export class ItemWriter {
  readonly builder: BatchBuilder = new BatchBuilder("tree");
  #buffer: Buffer | undefined;
  #view: DataView = new DataView(new ArrayBuffer(0));

  /** Writes an entry; of `chunks[0..chunksSize)` only the first part, when flag `ENTRY_MORE_CHUNKS` is to follow. */
  entry(attribute: AttributeReader, parts: EntryParts, xattrs: ByteWriter, chunks: Buffer, chunksSize: number): void {
    const hasAcl = parts.accessAclId !== 0 || parts.defaultAclId !== 0;
    const attributeSize = ATTR_BASE_BYTES + (hasAcl ? 8 : 0) + (attribute.tier === 0 ? 0 : 1);
    const nameSize = parts.nameEnd - parts.nameStart;
    const fixed = ENTRY_NAME + nameSize + attributeSize;
    const size = fixed + parts.symlinkSize + xattrs.length + chunksSize;
    const start = this.#begin(size, TREE_ENTRY);
    const view = this.#view;
    const buffer = this.builder.writer.buffer;
    buffer[start + 5] = attribute.type;
    buffer[start + 6] = parts.flags;
    view.setUint32(start + 8, attribute.inodeHigh);
    view.setUint32(start + 12, attribute.inodeLow);
    view.setUint16(start + 16, nameSize);
    view.setUint16(start + 18, attributeSize);
    view.setUint32(start + 20, parts.symlinkSize);
    view.setUint32(start + 24, xattrs.length);
    view.setUint32(start + 28, chunksSize);
    let at = start + ENTRY_NAME;
    copy(parts.name, parts.nameStart, parts.nameEnd, buffer, at);
    at += nameSize;
    copy(attribute.record, 0, ATTR_TAIL, buffer, at);
    let tail = at + ATTR_TAIL;
    if (hasAcl) {
      view.setUint32(tail, parts.accessAclId);
      view.setUint32(tail + 4, parts.defaultAclId);
      tail += 8;
    }
    if (attribute.tier !== 0) buffer[tail++] = attribute.tier;
    buffer[tail] = 0;
    at += attributeSize;
    copy(parts.symlink, 0, parts.symlinkSize, buffer, at);
    at += parts.symlinkSize;
    copy(xattrs.buffer, 0, xattrs.length, buffer, at);
    copy(chunks, 0, chunksSize, buffer, at + xattrs.length);
    this.#end(size);
  }

  /** Writes the end of a directory with the members that stood behind its entries. */
  leave(accessAclId: number, defaultAclId: number, xattrs: ByteWriter): void {
    const size = LEAVE_XATTRS + xattrs.length;
    const start = this.#begin(size, TREE_LEAVE);
    this.#view.setUint32(start + 8, accessAclId);
    this.#view.setUint32(start + 12, defaultAclId);
    copy(xattrs.buffer, 0, xattrs.length, this.builder.writer.buffer, start + LEAVE_XATTRS);
    this.#end(size);
  }

  /** Writes `chunks[start..end)` as items of about `CHUNKS_ITEM_BYTES` that continue the entry before. */
  moreChunks(chunks: Buffer, start: number, end: number): void {
    let from = start;
    while (from < end) {
      const to = chunksPart(chunks, from, end);
      const size = CHUNKS_LIST + to - from;
      const at = this.#begin(size, TREE_CHUNKS);
      copy(chunks, from, to, this.builder.writer.buffer, at + CHUNKS_LIST);
      this.#end(size);
      from = to;
    }
  }

  #begin(size: number, tag: number): number {
    const writer = this.builder.writer;
    const start = writer.reserve(size);
    if (writer.buffer !== this.#buffer) {
      this.#buffer = writer.buffer;
      this.#view = new DataView(writer.buffer.buffer, writer.buffer.byteOffset, writer.buffer.byteLength);
    }
    this.#view.setUint32(start, size);
    this.#view.setUint32(start + 4, tag << 24);
    return start;
  }

  #end(size: number): void {
    this.builder.writer.length += size;
    this.builder.commit();
  }
}

/** Where a part of about `CHUNKS_ITEM_BYTES` that begins at `from` ends: always between two chunks. */
export function chunksPart(chunks: Buffer, from: number, end: number): number {
  if (end - from <= CHUNKS_ITEM_BYTES) return end;
  let to = from;
  while (to < end && to - from < CHUNKS_ITEM_BYTES) to += CHUNK_HEAD + chunks.readUInt32BE(to + 4);
  return to;
}

function copy(source: Buffer, start: number, end: number, target: Buffer, at: number): void {
  if (end - start > SMALL_COPY) {
    source.copy(target, at, start, end);
    return;
  }
  let to = at;
  for (let i = start; i < end; i++) target[to++] = source[i]!;
}
