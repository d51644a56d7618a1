import { ENTRY_INODE, ENTRY_NAME, ENTRY_NAME_SIZE, ENTRY_TYPE } from "../volume/tree-item.ts";
import type { BlockStore } from "./block-store.ts";
import type { DirectoryIndex } from "./directory-index.ts";
import { JOINED_ITEM, JOINED_PARENT } from "./inode-join.ts";
import type { InodeKeys } from "./inode-key.ts";
import type { InodeObserver } from "./inode-observer.ts";
import type { JoinedSink } from "./joined-sink.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { PartitionStore } from "./partition-store.ts";
import { sortRange } from "./piece-sorter.ts";
import { RunMerger } from "./run-merger.ts";
import type { SpillFile } from "./spill-file.ts";
import type { TreeFindings } from "./tree-findings.ts";

const JOINED_NAME_SIZE = JOINED_ITEM + ENTRY_NAME_SIZE;
const JOINED_NAME = JOINED_ITEM + ENTRY_NAME;

/** Groups up to this size are sorted by comparison alone. */
const SMALL_GROUP = 12;
/** Ordinal bits of a name key: groups in one piece are smaller than 2^24. */
const ORDINAL_BITS = 24;
const ORDINAL_MASK = (1 << ORDINAL_BITS) - 1;

export interface DirectorySortOptions {
  readonly partitions: number;
  readonly budget: MemoryBudget;
  readonly spill: SpillFile;
  /** Larger partitions, such as one of a huge directory, are sorted in runs of about this size and merged. */
  readonly pieceBytes: number;
  readonly keys: InodeKeys;
  readonly blocks: BlockStore;
  readonly index: DirectoryIndex;
  readonly findings: TreeFindings;
  readonly observer?: InodeObserver | undefined;
  /** Given the entries of names that came twice, but for the first one of each, when they are of another inode. */
  readonly onDropped?: ((bytes: Buffer, start: number, end: number) => void) | undefined;
}

/**
 * Second half of the way into tree order: joined records are partitioned by parent, sorted by name bytes, and each
 * directory's entries written to the block store one after the other.
 */
export class DirectorySort implements JoinedSink {
  readonly #options: DirectorySortOptions;
  readonly #store: PartitionStore;
  readonly #mask: number;
  readonly #names: NameSorter = new NameSorter();
  #lastParent = -1;
  /** The entry written last, to recognise one that comes twice. */
  #lastName: Buffer = Buffer.alloc(256);
  #lastNameSize = -1;
  #lastType = 0;
  #inodeHigh = 0;
  #inodeLow = 0;

  constructor(options: DirectorySortOptions) {
    this.#options = options;
    this.#store = new PartitionStore(options.partitions, options.budget, options.spill);
    this.#mask = options.partitions - 1;
  }

  reserve(parentBytes: Buffer, parentAt: number, size: number): number {
    return this.#store.reserve(parentBytes[parentAt + 7]! & this.#mask, size);
  }

  get view(): DataView {
    return this.#store.view;
  }

  /** Bytes that wait to be sorted. */
  get totalBytes(): number {
    return this.#store.totalBytes;
  }

  /** Sorts one partition and writes its directories. Call it for 0, 1, 2, ... when everything has been joined. */
  sortPartition(partition: number): void {
    const { pieceBytes, keys, index, blocks } = this.#options;
    this.#lastParent = -1;
    if (this.#store.sizeOf(partition) <= pieceBytes) {
      for (const piece of this.#store.drain(partition, Number.POSITIVE_INFINITY)) {
        const order = this.#names.sort(piece, keys);
        for (let i = 0; i < order.length; i++) this.#write(piece, order[i]!);
      }
    } else {
      const merger = new RunMerger(this.#options.spill, compareJoined);
      for (const piece of this.#store.drain(partition, pieceBytes)) {
        // The runs must follow the comparison's order of parents, which the sorter leaves open.
        const order = this.#names.sort(piece, keys, true);
        merger.addRun(piece, order);
      }
      while (merger.next()) this.#write(merger.bytes, merger.start);
    }
    index.endPartition(blocks.length);
  }

  #write(bytes: Buffer, start: number): void {
    const { keys, index, blocks } = this.#options;
    const parent = keys.read(bytes, start + JOINED_PARENT);
    const nameAt = start + JOINED_NAME;
    const nameSize = bytes.readUInt16BE(start + JOINED_NAME_SIZE);
    if (parent !== this.#lastParent) {
      this.#lastParent = parent;
      index.add(parent, blocks.length);
    } else if (nameSize === this.#lastNameSize && this.#isLastName(bytes, nameAt)) {
      return this.#drop(bytes, start);
    }
    this.#rememberName(bytes, nameAt, nameSize);
    this.#lastType = bytes[start + JOINED_ITEM + ENTRY_TYPE]!;
    this.#inodeHigh = bytes.readUInt32BE(start + JOINED_ITEM + ENTRY_INODE);
    this.#inodeLow = bytes.readUInt32BE(start + JOINED_ITEM + ENTRY_INODE + 4);
    blocks.append(bytes, start + JOINED_ITEM, start + bytes.readUInt32BE(start));
  }

  /** An entry whose name came before. */
  #drop(bytes: Buffer, start: number): void {
    const { findings, observer, onDropped } = this.#options;
    const item = start + JOINED_ITEM;
    const isSame = this.#isLastInode(bytes, item);
    observer?.duplicate("edge", bytes.subarray(start + JOINED_PARENT, start + JOINED_PARENT + 8));
    findings.duplicate("edge", isSame, bytes, item + ENTRY_INODE, () => ({
      parent: bytes.readBigUInt64BE(start + JOINED_PARENT),
      name: this.#lastName.subarray(0, this.#lastNameSize),
    }));
    if (!isSame) onDropped?.(bytes, item, start + bytes.readUInt32BE(start));
  }

  #isLastName(bytes: Buffer, at: number): boolean {
    const last = this.#lastName;
    for (let i = this.#lastNameSize - 1; i >= 0; i--) if (bytes[at + i] !== last[i]) return false;
    return true;
  }

  /** What else an entry says: all the rest of an item belongs to its inode. */
  #isLastInode(bytes: Buffer, item: number): boolean {
    return (
      bytes[item + ENTRY_TYPE] === this.#lastType &&
      bytes.readUInt32BE(item + ENTRY_INODE) === this.#inodeHigh &&
      bytes.readUInt32BE(item + ENTRY_INODE + 4) === this.#inodeLow
    );
  }

  #rememberName(bytes: Buffer, at: number, size: number): void {
    if (size > this.#lastName.length) this.#lastName = Buffer.alloc(size * 2);
    const last = this.#lastName;
    for (let i = 0; i < size; i++) last[i] = bytes[at + i]!;
    this.#lastNameSize = size;
  }
}

function compareJoined(a: Buffer, aStart: number, b: Buffer, bStart: number): number {
  const aParent = aStart + JOINED_PARENT;
  const bParent = bStart + JOINED_PARENT;
  return a.compare(b, bParent, bParent + 8, aParent, aParent + 8) || compareNames(a, aStart, b, bStart);
}

/** By name bytes, then by all the rest, so that the order is the same whatever the order of arrival was. */
function compareNames(a: Buffer, aStart: number, b: Buffer, bStart: number): number {
  const aName = aStart + JOINED_NAME;
  const bName = bStart + JOINED_NAME;
  const byName = a.compare(
    b,
    bName,
    bName + b.readUInt16BE(bStart + JOINED_NAME_SIZE),
    aName,
    aName + a.readUInt16BE(aStart + JOINED_NAME_SIZE),
  );
  if (byName !== 0) return byName;
  return a.compare(b, bStart, bStart + b.readUInt32BE(bStart), aStart, aStart + a.readUInt32BE(aStart));
}

/**
 * Orders the joined records of one piece: grouped by parent, by name within a group. Names of one directory mostly share
 * their beginning, so the native sort works on the five bytes after it.
 */
class NameSorter {
  readonly #groups: Map<number, number> = new Map();
  /** One record of each group. */
  #firstStarts: number[] = [];
  #groupOf: Uint32Array = new Uint32Array(4096);
  #starts: Uint32Array = new Uint32Array(4096);
  #order: Uint32Array = new Uint32Array(4096);
  #keys: BigUint64Array = new BigUint64Array(4096);
  #words: Uint32Array = new Uint32Array(this.#keys.buffer);
  #members: Uint32Array = new Uint32Array(4096);

  sort(piece: Buffer, keys: InodeKeys, parentsInByteOrder = false): Uint32Array {
    const count = this.#group(piece, keys);
    const sizes = new Uint32Array(this.#groups.size + 1);
    for (let i = 0; i < count; i++) sizes[this.#groupOf[i]! + 1]!++;
    const slots = parentsInByteOrder ? this.#slotsByParent(piece, sizes) : accumulate(sizes);
    const next = slots.slice();
    for (let i = 0; i < count; i++) this.#order[next[this.#groupOf[i]!]!++] = this.#starts[i]!;
    for (let group = 0; group < this.#groups.size; group++) this.#sortGroup(piece, slots[group]!, next[group]!);
    return this.#order.subarray(0, count);
  }

  /** Finds the records and numbers the parents in order of appearance. */
  #group(piece: Buffer, keys: InodeKeys): number {
    this.#groups.clear();
    this.#firstStarts = [];
    let count = 0;
    let lastParent = -1;
    let lastGroup = 0;
    for (let start = 0; start < piece.length; start += piece.readUInt32BE(start)) {
      if (count === this.#starts.length) this.#grow();
      const parent = keys.read(piece, start + JOINED_PARENT);
      if (parent !== lastParent) {
        lastParent = parent;
        const known = this.#groups.get(parent);
        lastGroup = known ?? this.#groups.size;
        if (known === undefined) {
          this.#groups.set(parent, lastGroup);
          this.#firstStarts.push(start);
        }
      }
      this.#groupOf[count] = lastGroup;
      this.#starts[count++] = start;
    }
    return count;
  }

  /** First slot of each group when the groups stand in the byte order of their parents. */
  #slotsByParent(piece: Buffer, sizes: Uint32Array): Uint32Array {
    const parentAt = this.#firstStarts.map((start) => start + JOINED_PARENT);
    const groups = parentAt.map((_, group) => group);
    groups.sort((a, b) => piece.compare(piece, parentAt[b]!, parentAt[b]! + 8, parentAt[a]!, parentAt[a]! + 8));
    const slots = new Uint32Array(sizes.length);
    let slot = 0;
    for (const group of groups) {
      slots[group] = slot;
      slot += sizes[group + 1]!;
    }
    return slots;
  }

  #sortGroup(piece: Buffer, from: number, to: number): void {
    if (to - from < 2) return;
    if (to - from <= SMALL_GROUP) return sortRange(this.#order, from, to, piece, compareNames);
    const order = this.#order;
    const words = this.#words;
    const members = this.#members;
    const count = to - from;
    const skip = commonPrefix(piece, order, from, to);
    for (let i = 0; i < count; i++) {
      const start = order[from + i]!;
      members[i] = start;
      const name = start + JOINED_NAME;
      const end = name + piece.readUInt16BE(start + JOINED_NAME_SIZE);
      let at = name + skip;
      // Shorter names come first: bytes beyond the end count as 0, and ties are compared.
      const b0 = at < end ? piece[at++]! : 0;
      const b1 = at < end ? piece[at++]! : 0;
      const b2 = at < end ? piece[at++]! : 0;
      const b3 = at < end ? piece[at++]! : 0;
      const b4 = at < end ? piece[at]! : 0;
      words[i * 2 + 1] = ((b0 << 24) | (b1 << 16) | (b2 << 8) | b3) >>> 0;
      words[i * 2] = ((b4 << ORDINAL_BITS) | i) >>> 0;
    }
    this.#keys.subarray(0, count).sort();
    let run = 0;
    for (let i = 0; i < count; i++) {
      order[from + i] = members[words[i * 2]! & ORDINAL_MASK]!;
      const tied =
        words[i * 2 + 1] === words[run * 2 + 1] && words[i * 2]! >>> ORDINAL_BITS === words[run * 2]! >>> ORDINAL_BITS;
      if (tied) continue;
      if (i - run > 1) sortRange(order, from + run, from + i, piece, compareNames);
      run = i;
    }
    if (count - run > 1) sortRange(order, from + run, to, piece, compareNames);
  }

  #grow(): void {
    const size = this.#starts.length * 2;
    const grow = (old: Uint32Array): Uint32Array => {
      const grown = new Uint32Array(size);
      grown.set(old);
      return grown;
    };
    this.#starts = grow(this.#starts);
    this.#groupOf = grow(this.#groupOf);
    this.#order = new Uint32Array(size);
    this.#members = new Uint32Array(size);
    this.#keys = new BigUint64Array(size);
    this.#words = new Uint32Array(this.#keys.buffer);
  }
}

function accumulate(sizes: Uint32Array): Uint32Array {
  const slots = new Uint32Array(sizes.length);
  for (let i = 1; i < sizes.length; i++) slots[i] = slots[i - 1]! + sizes[i]!;
  return slots;
}

/** Length of the beginning that all names of `order[from..to)` share. */
function commonPrefix(piece: Buffer, order: Uint32Array, from: number, to: number): number {
  const first = order[from]!;
  const firstName = first + JOINED_NAME;
  let length = piece.readUInt16BE(first + JOINED_NAME_SIZE);
  for (let i = from + 1; i < to && length > 0; i++) {
    const start = order[i]!;
    const name = start + JOINED_NAME;
    length = Math.min(length, piece.readUInt16BE(start + JOINED_NAME_SIZE));
    let same = 0;
    while (same < length && piece[firstName + same] === piece[name + same]) same++;
    length = same;
  }
  return length;
}
