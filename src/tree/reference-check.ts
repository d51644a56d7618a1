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
    let at = 0;
    for (let i = 0; i < count; i++) {
      const type = bytes[at + 10 + ATTR_TYPE_MODE]! >> 4;
      const isDirectory = type === FileType.directory;
      const isLinked = bytes.readUInt32BE(at + 10 + ATTR_NLINK) > 1;
      if (isDirectory) this.directories++;
      this.#marks.set(bytes, at, HAS_NODE | (isDirectory ? IS_DIRECTORY : 0) | (isLinked ? IS_LINKED : 0));
      this.#noteInode(bytes, at);
      at += 10 + bytes.readUInt16BE(at + 8);
    }
    this.nodes += count;
  }

  #noteInode(bytes: Buffer, at: number): void {
    const high = bytes.readUInt32BE(at);
    const low = bytes.readUInt32BE(at + 4);
    if (high < this.#inodeHigh || (high === this.#inodeHigh && low <= this.#inodeLow)) return;
    if (high >= TRASH_INODE_HIGH && isTrashInode(bytes.readBigUInt64BE(at))) {
      const number = BigInt(low - TRASH_INODE_LOW);
      if (high === TRASH_INODE_HIGH && number > this.largestTrash) this.largestTrash = number;
      return;
    }
    this.#inodeHigh = high;
    this.#inodeLow = low;
  }

  #addEdges({ bytes, count }: RecordBatch): void {
    let at = 0;
    for (let i = 0; i < count; i++) {
      this.#marks.set(bytes, at, HAS_ENTRIES);
      if ((this.#marks.set(bytes, at + 8, IS_NAMED) & IS_NAMED) !== 0) this.#marks.set(bytes, at + 8, IS_NAMED_AGAIN);
      at += EDGE_HEADER + bytes.readUInt16BE(at + 17);
    }
  }

  #addChunks({ bytes, count }: RecordBatch): void {
    let at = 0;
    for (let i = 0; i < count; i++) {
      const end = at + CHUNK_HEADER + bytes.readUInt32BE(at + 12);
      for (let slice = at + CHUNK_HEADER; slice < end; slice += SLICE_BYTES) {
        const high = bytes.readUInt32BE(slice + 4);
        const low = bytes.readUInt32BE(slice + 8);
        if (high > this.#sliceHigh || (high === this.#sliceHigh && low > this.#sliceLow)) {
          this.#sliceHigh = high;
          this.#sliceLow = low;
        }
      }
      at = end;
    }
  }

  #addAll({ bytes, count }: RecordBatch, size: number, inodeAt: number, mark: number): void {
    for (let i = 0; i < count; i++) this.#marks.set(bytes, i * size + inodeAt, mark);
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
