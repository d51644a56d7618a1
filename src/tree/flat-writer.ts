import { copyBytes } from "../base/bytes.ts";
import { BatchBuilder, type DirStatRecord, packRecord, type RecordBatch } from "../volume/records.ts";
import { ENTRY_INODE, ENTRY_NAME, ENTRY_NAME_SIZE } from "../volume/tree-item.ts";
import type { SliceReferences } from "./slice-references.ts";

/** Writes the parts of tree entries as flat records (volume/records.ts). Inodes are given as their eight bytes and copied. */
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

  node(inode: DataView, inodeAt: number, attribute: DataView): void {
    const size = attribute.byteLength;
    const writer = this.#nodes.writer;
    const to = writer.reserve(10 + size);
    const view = writer.view;
    copyBytes(inode, inodeAt, inodeAt + 8, view, to);
    view.setUint16(to + 8, size);
    copyBytes(attribute, 0, size, view, to + 10);
    writer.length = to + 10 + size;
    this.#nodes.commit();
  }

  /** The edge of the tree entry at `source[at..)`. */
  edge(parent: DataView, source: DataView, at: number, type: number): void {
    const nameSize = source.getUint16(at + ENTRY_NAME_SIZE);
    const writer = this.#edges.writer;
    const to = writer.reserve(19 + nameSize);
    const view = writer.view;
    copyBytes(parent, 0, 8, view, to);
    copyBytes(source, at + ENTRY_INODE, at + ENTRY_INODE + 8, view, to + 8);
    view.setUint8(to + 16, type);
    view.setUint16(to + 17, nameSize);
    copyBytes(source, at + ENTRY_NAME, at + ENTRY_NAME + nameSize, view, to + 19);
    writer.length = to + 19 + nameSize;
    this.#edges.commit();
  }

  /** The target `source[start..end)`. */
  symlink(source: DataView, inodeAt: number, start: number, end: number): void {
    const writer = this.#symlinks.writer;
    const to = writer.reserve(12 + end - start);
    copyBytes(source, inodeAt, inodeAt + 8, writer.view, to);
    writer.view.setUint32(to + 8, end - start);
    copyBytes(source, start, end, writer.view, to + 12);
    writer.length = to + 12 + end - start;
    this.#symlinks.commit();
  }

  /** A tree entry's list of xattrs. */
  xattrs(source: DataView, start: number, end: number, inode: DataView, inodeAt: number): void {
    for (let at = start; at < end; ) {
      const next = at + 6 + source.getUint16(at) + source.getUint32(at + 2);
      writeWithInode(this.#xattrs, inode, inodeAt, source, at, next);
      at = next;
    }
  }

  /** A tree entry's list of chunks; those without slices are not stored. */
  chunks(source: DataView, start: number, end: number, inode: DataView, inodeAt: number): void {
    for (let at = start; at < end; ) {
      const next = at + 8 + source.getUint32(at + 4);
      if (next > at + 8) {
        writeWithInode(this.#chunks, inode, inodeAt, source, at, next);
        this.#slices.add(source, at + 8, next, inode, inodeAt);
      }
      at = next;
    }
  }

  dirStat(record: DirStatRecord): void {
    packRecord("dirStat", this.#dirStats.writer, record);
    this.#dirStats.commit();
  }
}

function writeWithInode(
  builder: BatchBuilder,
  inode: DataView,
  inodeAt: number,
  source: DataView,
  start: number,
  end: number,
): void {
  const writer = builder.writer;
  const to = writer.reserve(8 + end - start);
  copyBytes(inode, inodeAt, inodeAt + 8, writer.view, to);
  copyBytes(source, start, end, writer.view, to + 8);
  writer.length = to + 8 + end - start;
  builder.commit();
}
