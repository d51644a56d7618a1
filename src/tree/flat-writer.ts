import { BatchBuilder, type DirStatRecord, packRecord, type RecordBatch } from "../volume/records.ts";
import { ENTRY_INODE, ENTRY_NAME, ENTRY_NAME_SIZE } from "../volume/tree-item.ts";
import type { SliceReferences } from "./slice-references.ts";

/** Writes the parts of tree entries as flat records (volume/records.ts). Inodes are given as bytes and copied. */
export class FlatWriter {
  readonly #nodes: BatchBuilder = new BatchBuilder("node");
  readonly #edges: BatchBuilder = new BatchBuilder("edge");
  readonly #chunks: BatchBuilder = new BatchBuilder("chunk");
  readonly #symlinks: BatchBuilder = new BatchBuilder("symlink");
  readonly #xattrs: BatchBuilder = new BatchBuilder("xattr");
  readonly #dirStats: BatchBuilder = new BatchBuilder("dirStat");
  readonly #slices: SliceReferences;

  constructor(slices: SliceReferences) {
    this.#slices = slices;
  }

  /** Batches that are large enough to be handed on. */
  *takeFull(): Generator<RecordBatch> {
    for (const builder of this.#builders()) if (builder.isFull) yield builder.take()!;
  }

  /** All that is left. */
  *takeRest(): Generator<RecordBatch> {
    for (const builder of this.#builders()) {
      const batch = builder.take();
      if (batch !== undefined) yield batch;
    }
  }

  #builders(): BatchBuilder[] {
    return [this.#nodes, this.#edges, this.#chunks, this.#symlinks, this.#xattrs, this.#dirStats];
  }

  node(inodeBytes: Buffer, inodeAt: number, attribute: Buffer): void {
    const writer = this.#nodes.writer;
    const to = writer.reserve(10 + attribute.length);
    const target = writer.buffer;
    inodeBytes.copy(target, to, inodeAt, inodeAt + 8);
    target.writeUInt16BE(attribute.length, to + 8);
    attribute.copy(target, to + 10, 0, attribute.length);
    writer.length = to + 10 + attribute.length;
    this.#nodes.commit();
  }

  /** The edge of the tree entry at `bytes[at..)`. */
  edge(parent: Buffer, bytes: Buffer, at: number, type: number): void {
    const nameSize = bytes.readUInt16BE(at + ENTRY_NAME_SIZE);
    const writer = this.#edges.writer;
    const to = writer.reserve(19 + nameSize);
    const target = writer.buffer;
    parent.copy(target, to, 0, 8);
    bytes.copy(target, to + 8, at + ENTRY_INODE, at + ENTRY_INODE + 8);
    target[to + 16] = type;
    target.writeUInt16BE(nameSize, to + 17);
    bytes.copy(target, to + 19, at + ENTRY_NAME, at + ENTRY_NAME + nameSize);
    writer.length = to + 19 + nameSize;
    this.#edges.commit();
  }

  /** The target `bytes[start..end)`. */
  symlink(bytes: Buffer, inodeAt: number, start: number, end: number): void {
    const { writer } = this.#symlinks;
    writer.writeSlice(bytes, inodeAt, inodeAt + 8);
    writer.writeU32(end - start);
    writer.writeSlice(bytes, start, end);
    this.#symlinks.commit();
  }

  /** A tree entry's list of xattrs. */
  xattrs(bytes: Buffer, start: number, end: number, inodeBytes: Buffer, inodeAt: number): void {
    for (let at = start; at < end; ) {
      const next = at + 6 + bytes.readUInt16BE(at) + bytes.readUInt32BE(at + 2);
      this.#xattrs.writer.writeSlice(inodeBytes, inodeAt, inodeAt + 8);
      this.#xattrs.writer.writeSlice(bytes, at, next);
      this.#xattrs.commit();
      at = next;
    }
  }

  /** A tree entry's list of chunks; those without slices are not stored. */
  chunks(bytes: Buffer, start: number, end: number, inodeBytes: Buffer, inodeAt: number): void {
    const { writer } = this.#chunks;
    for (let at = start; at < end; ) {
      const next = at + 8 + bytes.readUInt32BE(at + 4);
      if (next > at + 8) {
        writer.writeSlice(inodeBytes, inodeAt, inodeAt + 8);
        writer.writeSlice(bytes, at, next);
        this.#chunks.commit();
        this.#slices.add(bytes, at + 8, next, inodeBytes, inodeAt);
      }
      at = next;
    }
  }

  dirStat(record: DirStatRecord): void {
    packRecord("dirStat", this.#dirStats.writer, record);
    this.#dirStats.commit();
  }
}
