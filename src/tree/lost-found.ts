import { encodeAttribute, newDirectoryAttribute } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import { ROOT_INODE, TRASH_INODE } from "../volume/inode.ts";
import {
  ENTRY_ATTRIBUTE_SIZE,
  ENTRY_INODE,
  ENTRY_NAME,
  ENTRY_NAME_SIZE,
  ENTRY_TYPE,
  ITEM_TAG,
  TREE_ENTRY,
} from "../volume/tree-item.ts";
import { CutDirectories } from "./cut-directories.ts";
import type { DirectoryBlock } from "./directory-index.ts";
import { DirectorySort, type DirectorySortOptions } from "./directory-sort.ts";
import { EntryScanner } from "./entry-scanner.ts";
import { JOINED_ITEM, JOINED_PARENT } from "./inode-join.ts";
import { InodeSet } from "./inode-set.ts";
import { isPlaceable, type JoinSalvage, lostName } from "./join-salvage.ts";
import { freeName, placeOfName } from "./lost-found-name.ts";
import { PartitionStore } from "./partition-store.ts";
import { ENTRIES_PER_TURN, PositionList, Reach } from "./reach.ts";
import { rebuiltAttribute, rebuiltText } from "./rebuilt-attribute.ts";
import type { SalvageNotes } from "./salvage-notes.ts";

export interface LostFoundOptions extends Omit<DirectorySortOptions, "observer" | "onDropped"> {
  readonly notes: SalvageNotes;
  readonly seconds: bigint;
  /** Inode of the first root: `lost+found` stands in it. */
  readonly root: bigint;
  readonly rootsParent: bigint;
  /** The position of the directory whose inode stands at `bytes[at..)`, or -1. */
  readonly locate: (bytes: Buffer, at: number) => number;
}

/** Bytes of the block store, one part after the other. */
export type BlockParts = readonly { readonly address: number; readonly end: number }[];

/** What to walk in another way than the index says. */
export interface LostPlace {
  /** Key of the root, and its entries with that of `lost+found` among them. */
  readonly rootKey: number;
  readonly rootParts: BlockParts;
  /** Key of `lost+found`, and its entries. */
  readonly key: number;
  readonly block: DirectoryBlock;
}

/** A block of entries that cannot stand where they are. */
interface OrphanBlock {
  readonly address: number;
  readonly end: number;
  /** The inode that they name as their directory; undefined = they are there under the name of others. */
  readonly parent: bigint | undefined;
}

/**
 * Gives everything that no root reaches a place in a new directory. It is given inodes that no entry names while inodes are joined
 * (`sink`); the rest, below, when all directories are sorted:
 *
 *   directories of which only entries are left            rebuilt
 *   circles of directories                                cut at the lowest inode
 *   entries of what is no directory, and of names that come twice, when nothing else names their inodes
 *
 * Each becomes an entry `#<inode>`; what is below stays there. Inodes of the trash cannot stand outside of it: their entries are
 * handled as those of no directory.
 */
export class LostFound {
  /** Where joined records of lost inodes go. */
  readonly sink: DirectorySort;
  /** Where to walk what was placed; undefined while nothing was. */
  place: LostPlace | undefined;
  readonly #options: LostFoundOptions;
  readonly #dropped: PartitionStore;
  readonly #scanner: EntryScanner;
  readonly #reach: Reach;
  /** Positions of the directories, or what is none, whose entries cannot stand where they are. */
  readonly #loose = new PositionList();
  #droppedBlock: OrphanBlock = { address: 0, end: 0, parent: undefined };
  /** What was placed here. */
  readonly #placed = new InodeSet();
  readonly #inode: Buffer = Buffer.alloc(8);
  /** Inode of the new directory. */
  readonly #directory: Buffer = Buffer.alloc(8);

  constructor(options: LostFoundOptions) {
    this.#options = options;
    const { budget, spill, blocks, index, locate } = options;
    this.sink = new DirectorySort({ ...options, partitions: 1 });
    this.#dropped = new PartitionStore(1, budget, spill);
    this.#scanner = new EntryScanner(blocks);
    this.#reach = new Reach(index, new EntryScanner(blocks), locate);
  }

  /** Call it when all records are known; returns the inode of the new directory. */
  begin(): bigint {
    const inode = this.#options.notes.unusedInode();
    this.#directory.writeBigUInt64BE(inode);
    return inode;
  }

  /** Takes an entry that was dropped while directories were sorted. */
  takeDropped(bytes: Buffer, start: number, end: number): void {
    const at = this.#dropped.reserve(0, end - start);
    bytes.copy(this.#dropped.page, at, start, end);
  }

  /** Finds and places what is lost, when all directories are sorted. Gives others a chance to run whenever it yields. */
  *placeAll(salvage: JoinSalvage): Generator<void> {
    const { index, notes } = this.#options;
    yield* this.#reachRoots();
    index.keepVisits();
    let hasCut = false;
    for (let position = 0; position < index.count; position++) {
      if (index.isVisited(position)) continue;
      const inode = this.#inodeAt(position);
      const number = inode.readBigUInt64BE(0);
      if (salvage.named.has(inode, 0)) {
        hasCut = true;
      } else if (salvage.detached.has(inode, 0)) {
        yield* this.#reach.from(position);
      } else if (salvage.misused.has(inode, 0) || notes.leftAlone.has(inode, 0) || !isPlaceable(number)) {
        this.#loose.push(position);
      } else {
        this.#placeMissing(number);
        yield* this.#reach.from(position);
      }
    }
    this.#storeDropped();
    if (hasCut) yield* this.#placeCut((position) => salvage.named.has(this.#inodeAt(position), 0));
    yield* this.#placeOrphans();
    index.forgetVisits();
    if (this.sink.totalBytes > 0) this.#finish();
  }

  /** Of the trees that are not asked for, too: what they reach is not lost. */
  *#reachRoots(): Generator<void> {
    for (const inode of [this.#options.rootsParent, ROOT_INODE, TRASH_INODE]) {
      const position = this.#locate(inode);
      if (position >= 0) yield* this.#reach.from(position);
    }
  }

  #locate(inode: bigint): number {
    this.#inode.writeBigUInt64BE(inode);
    return this.#options.locate(this.#inode, 0);
  }

  /** The inode of a directory, borrowed until the next call. */
  #inodeAt(position: number): Buffer {
    const { index, keys } = this.#options;
    this.#inode.writeBigUInt64BE(keys.inodeOf(index.keyAt(position)));
    return this.#inode;
  }

  #storeDropped(): void {
    const { blocks, pieceBytes } = this.#options;
    const address = blocks.length;
    for (const piece of this.#dropped.drain(0, pieceBytes)) blocks.append(piece, 0, piece.length);
    this.#droppedBlock = { address, end: blocks.length, parent: undefined };
  }

  *#orphans(): Generator<OrphanBlock> {
    const { index } = this.#options;
    for (let i = 0; i < this.#loose.count; i++) {
      const position = this.#loose.at(i);
      const parent = this.#inodeAt(position).readBigUInt64BE(0);
      yield { ...index.blockAt(position), parent };
    }
    if (this.#droppedBlock.end > this.#droppedBlock.address) yield this.#droppedBlock;
  }

  /** Places directories that are named, but by nothing that is reached: below orphans, and in circles. */
  *#placeCut(isNamed: (position: number) => boolean): Generator<void> {
    const { index, budget, locate } = this.#options;
    const scanner = this.#scanner;
    const cut = new CutDirectories({ index, scanner, budget, isNamed, locate });
    yield* cut.build();
    for (const block of this.#orphans()) {
      scanner.open(block);
      while (scanner.next()) {
        if (scanner.bytes[scanner.at + ENTRY_TYPE] !== FileType.directory) continue;
        const position = locate(scanner.bytes, scanner.at + ENTRY_INODE);
        if (position < 0 || index.isVisited(position) || !cut.isTop(position)) continue;
        this.#placeEntry();
        yield* this.#reach.from(position);
      }
    }
    for (let position = 0; position < index.count; position++) {
      if (index.isVisited(position) || !isNamed(position)) continue;
      const lowest = cut.lowestOfCircle(position, (at) => this.#inodeAt(at).readBigUInt64BE(0));
      cut.findEntry(lowest);
      this.#placeEntry();
      yield* this.#reach.from(lowest);
    }
    cut.end();
  }

  /** Places inodes whose entries cannot stand where they are, when nothing else names them. */
  *#placeOrphans(): Generator<void> {
    const candidates = new InodeSet();
    let count = 0;
    const scanner = this.#scanner;
    for (const block of this.#orphans()) {
      scanner.open(block);
      for (; scanner.next(); count++) candidates.add(scanner.bytes, scanner.at + ENTRY_INODE);
    }
    if (count === 0) return;
    const named = yield* this.#namedAmong(candidates);
    const { findings, notes } = this.#options;
    for (const block of this.#orphans()) {
      scanner.open(block);
      for (let i = 1; scanner.next(); i++) {
        const { bytes } = scanner;
        const inodeAt = scanner.at + ENTRY_INODE;
        const isNamed = named.has(bytes, inodeAt) || notes.leftAlone.has(bytes, inodeAt);
        const inode = bytes.readBigUInt64BE(inodeAt);
        const { parent } = block;
        const isPlaced = this.#placed.has(bytes, inodeAt);
        if (!isPlaced && !isNamed && isPlaceable(inode)) this.#placeEntry();
        else if (!isPlaced && parent !== undefined) findings.leftOut(inode, () => ({ parent, name: nameOf(scanner) }));
        if (i % ENTRIES_PER_TURN === 0) yield;
      }
    }
  }

  /** Which of these inodes an entry names that will be in the trees, and the roots. */
  *#namedAmong(candidates: InodeSet): Generator<void, InodeSet> {
    const { index } = this.#options;
    const scanner = this.#scanner;
    const named = new InodeSet();
    for (const root of [ROOT_INODE, TRASH_INODE, this.#options.root]) {
      this.#inode.writeBigUInt64BE(root);
      named.add(this.#inode, 0);
    }
    let entries = 0;
    for (let position = 0; position < index.count; position++) {
      if (!index.isVisited(position)) continue;
      scanner.open(index.blockAt(position));
      while (scanner.next()) {
        const inodeAt = scanner.at + ENTRY_INODE;
        if (candidates.has(scanner.bytes, inodeAt)) named.add(scanner.bytes, inodeAt);
        if (++entries % ENTRIES_PER_TURN === 0) yield;
      }
    }
    return named;
  }

  /** Places a directory of which only entries are left. */
  #placeMissing(inode: bigint): void {
    const { findings, seconds } = this.#options;
    findings.rebuilt(inode, () => rebuiltText(FileType.directory, 0n));
    const name = lostName(inode);
    const item = directoryItem(name, inode, rebuiltAttribute(FileType.directory, 0n, seconds));
    item.copy(this.#reserve(inode, item.length, name));
  }

  /** Places the inode of the entry that the scanner is at, with all that belongs to it. */
  #placeEntry(): void {
    const { bytes, at, address, size } = this.#scanner;
    const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
    const name = lostName(inode);
    const bodyAt = ENTRY_NAME + bytes.readUInt16BE(at + ENTRY_NAME_SIZE);
    const item = this.#reserve(inode, ENTRY_NAME + name.length + size - bodyAt, name);
    bytes.copy(item, 0, at, at + ENTRY_NAME);
    item.writeUInt32BE(item.length, 0);
    item.writeUInt16BE(name.length, ENTRY_NAME_SIZE);
    name.copy(item, ENTRY_NAME);
    this.#options.blocks.read(address + bodyAt, item.subarray(ENTRY_NAME + name.length), size - bodyAt);
  }

  /** Room for the item of an inode that is placed now. */
  #reserve(inode: bigint, size: number, name: Buffer): Buffer {
    this.#inode.writeBigUInt64BE(inode);
    this.#placed.add(this.#inode, 0);
    this.#options.findings.placed(inode, () => name.toString());
    const at = this.sink.reserve(this.#directory, 0, JOINED_ITEM + size);
    const { view } = this.sink;
    view.setUint32(at, JOINED_ITEM + size);
    view.setBigUint64(at + JOINED_PARENT, this.#directory.readBigUInt64BE(0));
    return Buffer.from(view.buffer as ArrayBuffer, view.byteOffset + at + JOINED_ITEM, size);
  }

  /** Sorts what was placed, and finds the place of the new directory among the entries of the root. */
  #finish(): void {
    const { index, blocks, keys, findings, seconds, partitions, root } = this.#options;
    const inode = this.#directory.readBigUInt64BE(0);
    const key = keys.of(inode);
    this.sink.sortPartition(0); // whose directory stands in the index behind the other partitions
    const position = this.#locate(root);
    const { address, end } = position < 0 ? { address: 0, end: 0 } : index.blockAt(position);
    const name = freeName(this.#scanner, { address, end });
    const split = placeOfName(this.#scanner, { address, end }, name);
    const attribute = encodeAttribute({ ...newDirectoryAttribute(0o700, seconds), parent: root });
    const item = directoryItem(name, inode, attribute);
    const itemAt = blocks.append(item, 0, item.length);
    const rootParts = [
      { address, end: split },
      { address: itemAt, end: itemAt + item.length },
      { address: split, end },
    ].filter((part) => part.end > part.address);
    this.place = { rootKey: keys.of(root), rootParts, key, block: index.find(key, partitions)! };
    findings.lostFound = { inode, name: name.toString() };
  }
}

function nameOf({ bytes, at }: EntryScanner): Buffer {
  return Buffer.from(bytes.subarray(at + ENTRY_NAME, at + ENTRY_NAME + bytes.readUInt16BE(at + ENTRY_NAME_SIZE)));
}

/** A tree entry (volume/tree-item.ts) of a directory without xattrs. */
function directoryItem(name: Buffer, inode: bigint, attribute: Buffer): Buffer {
  const item = Buffer.alloc(ENTRY_NAME + name.length + attribute.length);
  item.writeUInt32BE(item.length, 0);
  item[ITEM_TAG] = TREE_ENTRY;
  item[ENTRY_TYPE] = FileType.directory;
  item.writeBigUInt64BE(inode, ENTRY_INODE);
  item.writeUInt16BE(name.length, ENTRY_NAME_SIZE);
  item.writeUInt16BE(attribute.length, ENTRY_ATTRIBUTE_SIZE);
  name.copy(item, ENTRY_NAME);
  attribute.copy(item, ENTRY_NAME + name.length);
  return item;
}
