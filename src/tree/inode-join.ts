import { ByteWriter, copyBytes, viewOf } from "../base/bytes.ts";
import { ATTR_MIN_BYTES, ATTR_TYPE_MODE } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import { CHUNK_BYTES } from "../volume/inode.ts";
import type { RecordBatch } from "../volume/records.ts";
import {
  ENTRY_ATTRIBUTE_SIZE,
  ENTRY_CHUNKS_SIZE,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_MORE_CHUNKS,
  ENTRY_NAME,
  ENTRY_NAME_SIZE,
  ENTRY_NODE_MISSING,
  ENTRY_SYMLINK_SIZE,
  ENTRY_TYPE,
  ENTRY_XATTRS_SIZE,
  ITEM_TAG,
  TREE_ENTRY,
} from "../volume/tree-item.ts";
import type { BlockStore } from "./block-store.ts";
import type { InodeObserver, JoinedInode } from "./inode-observer.ts";
import type { JoinSalvage } from "./join-salvage.ts";
import type { JoinedSink } from "./joined-sink.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { PartitionStore } from "./partition-store.ts";
import { ORDINAL_BITS, PieceSorter } from "./piece-sorter.ts";
import { describedBytes, rebuiltAttribute, rebuiltText, rebuiltType } from "./rebuilt-attribute.ts";
import { RunMerger } from "./run-merger.ts";
import type { SpillFile } from "./spill-file.ts";
import type { TreeFindings } from "./tree-findings.ts";

/**
 * First half of the way into tree order: everything that belongs to one inode is brought together and joined to each of
 * its directory entries.
 *
 * Stored record: u32 size, u8 rank, record as in its batch (volume/records.ts). Order: inode, rank, rest; the rank puts
 * what makes an entry's body (node, symlink, xattrs, chunks) before the edges that need it.
 *
 * Joined record: u32 size, u64 parent, tree entry (volume/tree-item.ts). A chunk list of more than OVERFLOW_BYTES is not
 * repeated in every entry: it goes to the block store, and the entry has ENTRY_MORE_CHUNKS and u64 address, u64 size instead.
 */
const RANK = { node: 1, symlink: 2, xattr: 3, chunk: 4, edge: 5 } as const;
const RECORD = 5;
const EDGE_INODE = RECORD + 8;

/** Offset of the tree entry in a joined record. */
export const JOINED_ITEM = 12;
/** Offset of the parent in a joined record. */
export const JOINED_PARENT = 4;
/** Chunk lists up to this size stand in the entry itself. */
export const OVERFLOW_BYTES: number = 64 * 1024;

export interface InodeJoinOptions {
  readonly partitions: number;
  readonly budget: MemoryBudget;
  readonly spill: SpillFile;
  /** Larger partitions are sorted in runs of about this size and merged. */
  readonly pieceBytes: number;
  readonly overflow: BlockStore;
  readonly sink: JoinedSink;
  readonly findings: TreeFindings;
  readonly observer: InodeObserver | undefined;
  /** Rebuild attributes that are lost, and leave out entries that cannot be. */
  readonly salvage?: JoinSalvage | undefined;
}

export class InodeJoin {
  readonly #store: PartitionStore;
  readonly #options: InodeJoinOptions;
  readonly #mask: number;
  readonly #sorter: PieceSorter = new PieceSorter();
  readonly #group: GroupJoiner;

  constructor(options: InodeJoinOptions) {
    this.#options = options;
    this.#group = new GroupJoiner(options);
    this.#store = new PartitionStore(options.partitions, options.budget, options.spill);
    this.#mask = options.partitions - 1;
  }

  /** Bytes that wait to be joined. */
  get totalBytes(): number {
    return this.#store.totalBytes;
  }

  /** Takes a batch of nodes, edges, chunks, symlinks or xattrs. */
  add(batch: RecordBatch): void {
    const { count } = batch;
    const source = viewOf(batch.bytes);
    const rank = RANK[batch.kind as keyof typeof RANK];
    const inodeAt = batch.kind === "edge" ? 8 : 0;
    const store = this.#store;
    const mask = this.#mask;
    let at = 0;
    for (let i = 0; i < count; i++) {
      const size = recordSize(rank, source, at);
      const target = store.reserve(source.getUint8(at + inodeAt + 7) & mask, RECORD + size);
      const view = store.view;
      view.setUint32(target, RECORD + size);
      view.setUint8(target + 4, rank);
      copyBytes(source, at, at + size, view, target + RECORD);
      at += size;
    }
  }

  /** Sorts and joins one partition. Call it for each, in any order, when everything has been added. */
  joinPartition(partition: number): void {
    const { pieceBytes, spill } = this.#options;
    const shift = this.#options.partitions;
    const writeKey = (piece: Buffer, start: number, words: Uint32Array, at: number) =>
      writeInodeKey(piece, start, words, at, shift);
    const group = this.#group;
    if (this.#store.sizeOf(partition) <= pieceBytes) {
      for (const piece of this.#store.drain(partition, Number.POSITIVE_INFINITY)) {
        const order = this.#sorter.sort(piece, writeKey, compareRecords);
        for (let i = 0; i < order.length; i++) group.take(piece, order[i]!);
      }
    } else {
      const merger = new RunMerger(spill, compareRecords);
      for (const piece of this.#store.drain(partition, pieceBytes)) {
        merger.addRun(piece, this.#sorter.sort(piece, writeKey, compareRecords));
      }
      while (merger.next()) group.take(merger.bytes, merger.start);
    }
    group.end();
  }
}

function recordSize(rank: number, source: DataView, at: number): number {
  switch (rank) {
    case RANK.node:
      return 10 + source.getUint16(at + 8);
    case RANK.edge:
      return 19 + source.getUint16(at + 17);
    case RANK.chunk:
      return 16 + source.getUint32(at + 12);
    case RANK.symlink:
      return 12 + source.getUint32(at + 8);
    default:
      return 14 + source.getUint16(at + 8) + source.getUint32(at + 10);
  }
}

function inodeOffset(bytes: Buffer, start: number): number {
  return start + (bytes[start + 4] === RANK.edge ? EDGE_INODE : RECORD);
}

/**
 * Key: inode without the bits that chose the partition, 3 bits of rank. Inodes that do not fit share the greatest key and
 * are told apart by comparison.
 */
function writeInodeKey(piece: Buffer, start: number, words: Uint32Array, at: number, partitions: number): void {
  const inodeAt = inodeOffset(piece, start);
  const inode = piece.readUInt32BE(inodeAt) * 0x1_0000_0000 + piece.readUInt32BE(inodeAt + 4);
  const rest = Math.floor(inode / partitions);
  if (rest >= 0x7_ffff_ffff) {
    words[at + 1] = 0xffff_ffff;
    words[at] = (0x3f << ORDINAL_BITS) >>> 0;
  } else {
    words[at + 1] = Math.floor(rest / 8);
    words[at] = (((rest % 8) * 8 + piece[start + 4]!) << ORDINAL_BITS) >>> 0;
  }
}

function compareRecords(a: Buffer, aStart: number, b: Buffer, bStart: number): number {
  const aInode = inodeOffset(a, aStart);
  const bInode = inodeOffset(b, bStart);
  const byInode = a.compare(b, bInode, bInode + 8, aInode, aInode + 8);
  if (byInode !== 0) return byInode;
  const rank = a[aStart + 4]!;
  if (rank !== b[bStart + 4]) return rank - b[bStart + 4]!;
  if (rank === RANK.xattr) {
    const byName = compareXattrNames(a, aStart + RECORD, b, bStart + RECORD);
    if (byName !== 0) return byName;
  }
  // Chunks: the index follows the inode, so comparing bytes compares it.
  return a.compare(
    b,
    bStart + RECORD,
    bStart + b.readUInt32BE(bStart),
    aStart + RECORD,
    aStart + a.readUInt32BE(aStart),
  );
}

function compareXattrNames(a: Buffer, aAt: number, b: Buffer, bAt: number): number {
  const aName = aAt + 14;
  const bName = bAt + 14;
  return a.compare(b, bName, bName + b.readUInt16BE(bAt + 8), aName, aName + a.readUInt16BE(aAt + 8));
}

/** Collects the body of one inode after the other and writes a joined record for each of its edges. */
class GroupJoiner implements JoinedInode {
  readonly #sink: JoinedSink;
  readonly #observer: InodeObserver | undefined;
  readonly #overflow: BlockStore;
  readonly #findings: TreeFindings;
  /** Attribute record, symlink target, xattrs, chunks, in this order. */
  readonly #body: ByteWriter = new ByteWriter(256 * 1024);
  /** The inode at hand, as bytes. */
  readonly #inode: Buffer = Buffer.alloc(8);
  /** Where the record at hand stands. */
  #bytes: Buffer = this.#inode;
  #source: DataView = viewOf(this.#inode);
  #started = false;
  #attributeSize = 0;
  #symlinkSize = 0;
  #hasSymlink = false;
  #xattrsSize = 0;
  #chunksSize = 0;
  #chunkIndex = -1;
  #chunkAt = 0;
  /** The last chunk in the body. */
  #lastChunkAt = 0;
  #lastChunkEnd = 0;
  /** Start and size of what has been moved to the overflow store. */
  #overflowAt = -1;
  #overflowSize = 0;
  #edges = 0;
  #flags = 0;
  readonly #salvage: JoinSalvage | undefined;
  /** The last chunk with slices, and how far those reach in it; only of inodes without a record that are salvaged. */
  #describedIndex = 0;
  #describedBytes = 0;
  /** Whether an entry that cannot be has named the inode, and the type it said. */
  #hasLeftOut = false;
  #leftOutType = 0;

  constructor(options: InodeJoinOptions) {
    this.#salvage = options.salvage;
    this.#sink = options.sink;
    this.#overflow = options.overflow;
    this.#findings = options.findings;
    this.#observer = options.observer;
  }

  get inode(): Buffer {
    return this.#inode;
  }

  get attribute(): DataView {
    return this.#body.view;
  }

  get attributeSize(): number {
    return this.#attributeSize;
  }

  get symlinkSize(): number {
    return this.#symlinkSize;
  }

  get hasXattrs(): boolean {
    return this.#xattrsSize > 0;
  }

  get hasChunks(): boolean {
    return this.#chunkIndex >= 0;
  }

  take(bytes: Buffer, start: number): void {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#source = viewOf(bytes);
    }
    const inodeAt = inodeOffset(bytes, start);
    if (!this.#started || !this.#isInode(bytes, inodeAt)) this.#begin(bytes, inodeAt);
    const end = start + this.#source.getUint32(start);
    switch (bytes[start + 4]) {
      case RANK.node:
        return this.#takeNode(start + RECORD, end);
      case RANK.symlink:
        return this.#takeSymlink(start + RECORD, end);
      case RANK.xattr:
        return this.#takeXattr(bytes, start + RECORD, end);
      case RANK.chunk:
        return this.#takeChunk(start + RECORD, end);
      default:
        return this.#takeEdge(start + RECORD, end);
    }
  }

  /** A record that came again: its own bytes, from `start` on, are compared with those that the body has from the first one. */
  #duplicate(kind: string, start: number, end: number, keptAt: number, keptEnd: number): void {
    const isSame = this.#bytes.compare(this.#body.buffer, keptAt, keptEnd, start, end) === 0;
    this.#findings.duplicate(kind, isSame, this.#inode, 0);
    this.#observer?.duplicate(kind, this.#inode);
  }

  /** Closes the last group. */
  end(): void {
    if (this.#started) this.#observer?.inode(this);
    if (this.#started && this.#salvage !== undefined) this.#endSalvaged(this.#salvage);
    else if (this.#started && this.#edges === 0) this.#findings.withoutEntry(this.#inode, this.#attributeSize > 0);
    this.#started = false;
  }

  #isInode(bytes: Buffer, at: number): boolean {
    const inode = this.#inode;
    for (let i = 7; i >= 0; i--) if (bytes[at + i] !== inode[i]) return false;
    return true;
  }

  #begin(bytes: Buffer, inodeAt: number): void {
    this.end();
    for (let i = 0; i < 8; i++) this.#inode[i] = bytes[inodeAt + i]!;
    this.#started = true;
    this.#body.length = 0;
    this.#attributeSize = 0;
    this.#symlinkSize = 0;
    this.#hasSymlink = false;
    this.#xattrsSize = 0;
    this.#chunksSize = 0;
    this.#chunkIndex = -1;
    this.#overflowAt = -1;
    this.#overflowSize = 0;
    this.#edges = 0;
    this.#flags = 0;
    this.#describedIndex = 0;
    this.#describedBytes = 0;
    this.#hasLeftOut = false;
    this.#leftOutType = 0;
  }

  /** Appends the end of the record at hand to the body. */
  #keep(start: number, end: number): void {
    const body = this.#body;
    const to = body.reserve(end - start);
    copyBytes(this.#source, start, end, body.view, to);
    body.length = to + end - start;
  }

  #takeNode(at: number, end: number): void {
    if (this.#attributeSize > 0) return this.#duplicate("node", at + 10, end, 0, this.#attributeSize);
    if (end - at - 10 < ATTR_MIN_BYTES) return this.#findings.damagedNode(this.#inode);
    this.#attributeSize = end - at - 10;
    this.#keep(at + 10, end);
  }

  #takeSymlink(at: number, end: number): void {
    const keptAt = this.#attributeSize;
    if (this.#hasSymlink) return this.#duplicate("symlink", at + 12, end, keptAt, keptAt + this.#symlinkSize);
    this.#hasSymlink = true;
    this.#symlinkSize = end - at - 12;
    this.#keep(at + 12, end);
  }

  #takeXattr(bytes: Buffer, at: number, end: number): void {
    if (this.#xattrsSize > 0 && compareXattrNames(this.#body.buffer, this.#lastXattr - 8, bytes, at) === 0) {
      return this.#duplicate("xattr", at + 8, end, this.#lastXattr, this.#body.length);
    }
    this.#lastXattr = this.#body.length;
    this.#xattrsSize += end - at - 8;
    this.#body.writeSlice(bytes, at + 8, end);
  }

  #lastXattr = 0;

  #takeChunk(at: number, end: number): void {
    const index = this.#source.getUint32(at + 8);
    // Its bytes stand in the buffer even when they have gone to the overflow: nothing was written since.
    if (index === this.#chunkIndex) return this.#duplicate("chunk", at + 8, end, this.#lastChunkAt, this.#lastChunkEnd);
    this.#chunkIndex = index;
    this.#lastChunkAt = this.#body.length;
    if (this.#chunksSize === 0) this.#chunkAt = this.#body.length;
    this.#chunksSize += end - at - 8;
    this.#keep(at + 8, end);
    this.#lastChunkEnd = this.#body.length;
    if (this.#salvage !== undefined && this.#attributeSize === 0) this.#describe(index, at + 16, end);
    if (this.#chunksSize > OVERFLOW_BYTES) this.#moveChunksToOverflow();
  }

  #moveChunksToOverflow(): void {
    const body = this.#body;
    const at = this.#overflow.append(body.buffer, this.#chunkAt, body.length);
    if (this.#overflowAt < 0) this.#overflowAt = at;
    this.#overflowSize += body.length - this.#chunkAt;
    body.length = this.#chunkAt;
    this.#chunksSize = 0;
  }

  #takeEdge(at: number, end: number): void {
    this.#observer?.entry(this, this.#source, at);
    if (this.#salvage !== undefined && !this.#salvageEntry(this.#salvage, at, end)) return;
    this.#edges++;
    this.#writeEntry(this.#sink, this.#bytes, this.#source, at, end);
  }

  /** Joins the edge record `bytes[at..end)`. */
  #writeEntry(sink: JoinedSink, bytes: Buffer, source: DataView, at: number, end: number): void {
    if (this.#overflowAt >= 0 && this.#flags === 0) {
      this.#moveChunksToOverflow();
      this.#body.writeU64(BigInt(this.#overflowAt));
      this.#body.writeU64(BigInt(this.#overflowSize));
      this.#chunksSize = 16;
      this.#flags = ENTRY_MORE_CHUNKS;
    }
    const body = this.#body;
    const nameSize = end - at - 19;
    const itemSize = ENTRY_NAME + nameSize + body.length;
    const target = sink.reserve(bytes, at, JOINED_ITEM + itemSize);
    const view = sink.view;
    view.setUint32(target, JOINED_ITEM + itemSize);
    copyBytes(source, at, at + 8, view, target + JOINED_PARENT);
    const item = target + JOINED_ITEM;
    view.setUint32(item, itemSize);
    view.setUint8(item + ITEM_TAG, TREE_ENTRY);
    view.setUint8(item + ENTRY_TYPE, this.#attributeSize > 0 ? this.#recordType : source.getUint8(at + 16));
    view.setUint8(item + ENTRY_FLAGS, this.#flags | (this.#attributeSize > 0 ? 0 : ENTRY_NODE_MISSING));
    view.setUint8(item + 7, 0);
    copyBytes(source, at + 8, at + 16, view, item + ENTRY_INODE);
    view.setUint16(item + ENTRY_NAME_SIZE, nameSize);
    view.setUint16(item + ENTRY_ATTRIBUTE_SIZE, this.#attributeSize);
    view.setUint32(item + ENTRY_SYMLINK_SIZE, this.#symlinkSize);
    view.setUint32(item + ENTRY_XATTRS_SIZE, this.#xattrsSize);
    view.setUint32(item + ENTRY_CHUNKS_SIZE, this.#chunksSize);
    copyBytes(source, at + 19, end, view, item + ENTRY_NAME);
    copyBytes(body.view, 0, body.length, view, item + ENTRY_NAME + nameSize);
  }

  /** The type by the inode's record. */
  get #recordType(): number {
    return this.#body.view.getUint8(ATTR_TYPE_MODE) >> 4;
  }

  #describe(index: number, start: number, end: number): void {
    const bytes = describedBytes(this.#source, start, end);
    if (bytes === 0) return;
    this.#describedIndex = index;
    this.#describedBytes = bytes;
  }

  /** Gives an entry the attributes that are lost; false when the entry cannot stand where it is. */
  #salvageEntry(salvage: JoinSalvage, at: number, end: number): boolean {
    const source = this.#source;
    const type = this.#attributeSize > 0 ? this.#recordType : this.#rebuiltType(salvage, source.getUint8(at + 16));
    const bytes = this.#bytes;
    if (!salvage.isPossible(bytes, at, type)) {
      this.#hasLeftOut = true;
      this.#leftOutType = type;
      const name = () => Buffer.from(bytes.subarray(at + 19, end));
      this.#findings.leftOut(source.getBigUint64(at + 8), () => ({ parent: source.getBigUint64(at), name: name() }));
      return false;
    }
    if (this.#attributeSize === 0 && !salvage.isTrashRoot(bytes, at + 8)) this.#rebuild(salvage, type);
    return true;
  }

  #rebuiltType(salvage: JoinSalvage, entryType: number): number {
    return rebuiltType({
      entryType,
      hasTarget: this.#symlinkSize > 0,
      hasChunks: this.hasChunks,
      hasEntries: salvage.hasEntries(this.#inode),
    });
  }

  /** Puts an attribute record in front of the body. */
  #rebuild(salvage: JoinSalvage, type: number): void {
    const described = BigInt(this.#describedIndex) * BigInt(CHUNK_BYTES) + BigInt(this.#describedBytes);
    const target = type === FileType.symlink ? BigInt(this.#symlinkSize) : 0n;
    const length = type === FileType.regular ? described : target;
    const attribute = rebuiltAttribute(type, length, salvage.seconds);
    const body = this.#body;
    body.reserve(attribute.length);
    body.buffer.copyWithin(attribute.length, 0, body.length);
    attribute.copy(body.buffer);
    body.length += attribute.length;
    this.#attributeSize = attribute.length;
    this.#chunkAt += attribute.length;
    this.#findings.rebuilt(this.#inode.readBigUInt64BE(0), () => rebuiltText(type, length));
  }

  /** An inode that nothing names is joined to a new name, when it is taken for lost. */
  #endSalvaged(salvage: JoinSalvage): void {
    const hasNode = this.#attributeSize > 0;
    const hasContent = this.#symlinkSize > 0 || this.hasChunks || this.#hasLeftOut;
    const isLost = this.#edges === 0 && salvage.takesLost(this.#inode, hasNode, hasContent);
    if (isLost) {
      if (!hasNode) this.#rebuild(salvage, this.#rebuiltType(salvage, this.#leftOutType));
      const edge = salvage.lostEntry(this.#inode);
      this.#writeEntry(salvage.lostSink, edge, viewOf(edge), 0, edge.length);
    }
    const isDirectory = this.#attributeSize > 0 && this.#recordType === FileType.directory;
    salvage.joined(this.#inode, isDirectory && (isLost || this.#edges > 0), isLost);
  }
}
