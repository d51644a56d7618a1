import { viewOf } from "../base/bytes.ts";
import { ATTR_NLINK, ATTR_TYPE_MODE } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import type { FindingList } from "../volume/findings.ts";
import { isTrashInode, ROOT_INODE, TRASH_INODE, TRASH_INODE_HIGH, TRASH_INODE_LOW } from "../volume/inode.ts";
import type { RecordBatch } from "../volume/records.ts";
import { SLICE_BYTES } from "../volume/slices.ts";
import { InodeMarks } from "./inode-marks.ts";

/** Marks of an inode. */
const HAS_NODE = 1;
const IS_DIRECTORY = 2;
/** Its link count is above 1. */
const IS_LINKED = 4;
/** An entry names it; more than one does. */
const IS_NAMED = 8;
const IS_NAMED_AGAIN = 16;
/** It is the parent of an entry; a quota is set for it. */
const HAS_ENTRIES = 32;
const HAS_QUOTA = 64;
/** It waits for deletion, or was open when it was deleted: no entry names it. */
const IS_DELETED = 128;

const EDGE_HEADER = 19;
const CHUNK_HEADER = 16;

/**
 * Looks at flat records in passing, in any order, whether they fit each other: a damaged volume is copied as it is, but not
 * in silence. Also finds the largest numbers in use, for the counters. Memory: about one byte per inode.
 */
export class ReferenceCheck {
  /** Largest inode below the trash, number of the last directory in it, and largest slice. */
  largestInode: bigint = ROOT_INODE;
  largestTrash = 0n;
  directories = 0;
  nodes = 0;
  readonly #marks = new InodeMarks();
  #inodeHigh = 0;
  #inodeLow = 0;
  #sliceHigh = 0;
  #sliceLow = 0;

  get largestSlice(): bigint {
    return (BigInt(this.#sliceHigh) << 32n) | BigInt(this.#sliceLow);
  }

  add(batch: RecordBatch): void {
    switch (batch.kind) {
      case "node":
        return this.#addNodes(batch);
      case "edge":
        return this.#addEdges(batch);
      case "chunk":
        return this.#addChunks(batch);
      case "sustained":
        return this.#addAll(batch, 16, 8, IS_DELETED);
      case "delFile":
        return this.#addAll(batch, 24, 0, IS_DELETED);
      case "quota":
        return this.#addAll(batch, 40, 0, HAS_QUOTA);
      default:
        return;
    }
  }

  /** To be called once, when all records have passed. */
  end(findings: FindingList): void {
    const inode = (BigInt(this.#inodeHigh) << 32n) | BigInt(this.#inodeLow);
    if (inode > this.largestInode) this.largestInode = inode;
    this.#marks.forEach((marks, inodeOf) => {
      const number = (): string => `inode ${inodeOf()}`;
      if ((marks & HAS_NODE) === 0) this.#withoutNode(marks, number, findings);
      else this.#withNode(marks, inodeOf, findings);
    });
  }

  #addNodes({ bytes, count }: RecordBatch): void {
    const view = viewOf(bytes);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const high = view.getUint32(at);
      const low = view.getUint32(at + 4);
      const isDirectory = view.getUint8(at + 10 + ATTR_TYPE_MODE) >> 4 === FileType.directory;
      const isLinked = view.getUint32(at + 10 + ATTR_NLINK) > 1;
      if (isDirectory) this.directories++;
      this.#marks.set(high, low, HAS_NODE | (isDirectory ? IS_DIRECTORY : 0) | (isLinked ? IS_LINKED : 0));
      this.#noteInode(high, low);
      at += 10 + view.getUint16(at + 8);
    }
    this.nodes += count;
  }

  #noteInode(high: number, low: number): void {
    if (high < this.#inodeHigh || (high === this.#inodeHigh && low <= this.#inodeLow)) return;
    if (high >= TRASH_INODE_HIGH && isTrashInode((BigInt(high) << 32n) | BigInt(low))) {
      const number = BigInt(low - TRASH_INODE_LOW);
      if (high === TRASH_INODE_HIGH && number > this.largestTrash) this.largestTrash = number;
      return;
    }
    this.#inodeHigh = high;
    this.#inodeLow = low;
  }

  #addEdges({ bytes, count }: RecordBatch): void {
    const view = viewOf(bytes);
    const marks = this.#marks;
    let parentHigh = -1;
    let parentLow = -1;
    let at = 0;
    for (let i = 0; i < count; i++) {
      const [high, low] = [view.getUint32(at), view.getUint32(at + 4)];
      // Entries of a directory mostly stand together.
      if (high !== parentHigh || low !== parentLow) marks.set(high, low, HAS_ENTRIES);
      parentHigh = high;
      parentLow = low;
      const [inodeHigh, inodeLow] = [view.getUint32(at + 8), view.getUint32(at + 12)];
      const before = marks.set(inodeHigh, inodeLow, IS_NAMED);
      if ((before & (IS_NAMED | IS_NAMED_AGAIN)) === IS_NAMED) marks.set(inodeHigh, inodeLow, IS_NAMED_AGAIN);
      at += EDGE_HEADER + view.getUint16(at + 17);
    }
  }

  #addChunks({ bytes, count }: RecordBatch): void {
    const view = viewOf(bytes);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const end = at + CHUNK_HEADER + view.getUint32(at + 12);
      for (let slice = at + CHUNK_HEADER; slice < end; slice += SLICE_BYTES) {
        const high = view.getUint32(slice + 4);
        const low = view.getUint32(slice + 8);
        if (high > this.#sliceHigh || (high === this.#sliceHigh && low > this.#sliceLow)) {
          this.#sliceHigh = high;
          this.#sliceLow = low;
        }
      }
      at = end;
    }
  }

  #addAll({ bytes, count }: RecordBatch, size: number, inodeAt: number, mark: number): void {
    const view = viewOf(bytes);
    for (let at = inodeAt, i = 0; i < count; i++, at += size) {
      this.#marks.set(view.getUint32(at), view.getUint32(at + 4), mark);
    }
  }

  #withoutNode(marks: number, number: () => string, findings: FindingList): void {
    if ((marks & IS_NAMED) !== 0) findings.add("entry-without-node", number);
    if ((marks & HAS_ENTRIES) !== 0) findings.add("entry-without-parent", number);
    if ((marks & HAS_QUOTA) !== 0) findings.add("quota-of-nothing", number);
  }

  #withNode(marks: number, inodeOf: () => bigint, findings: FindingList): void {
    const number = (): string => `inode ${inodeOf()}`;
    const isDirectory = (marks & IS_DIRECTORY) !== 0;
    if ((marks & HAS_ENTRIES) !== 0 && !isDirectory) findings.add("entry-without-parent", number);
    if ((marks & IS_NAMED) === 0) {
      const isRoot = inodeOf() === ROOT_INODE || inodeOf() === TRASH_INODE;
      if (!isRoot && (marks & IS_DELETED) === 0) findings.add("node-without-name", number);
      return;
    }
    const isRoot = isDirectory && (inodeOf() === ROOT_INODE || inodeOf() === TRASH_INODE);
    const isAgain = (marks & IS_NAMED_AGAIN) !== 0;
    if (isDirectory && (isAgain || isRoot)) findings.add("directory-named-twice", number);
    else if (isAgain && (marks & IS_LINKED) === 0) findings.add("link-count-too-low", number);
  }
}
