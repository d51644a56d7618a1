import { viewOf } from "../../base/bytes.ts";
import { entryName } from "../../tree/check-paths.ts";
import { FileType } from "../../volume/file-type.ts";
import { printablePath } from "../../volume/path.ts";
import type { RecordBatch, RecordStream } from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import {
  CHUNKS_LIST,
  chunksOffset,
  ENTRY_CHUNKS_SIZE,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_MORE_CHUNKS,
  ENTRY_TYPE,
  ITEM_TAG,
  TREE_CHUNKS,
  TREE_ENTRY,
} from "../../volume/tree-item.ts";

/** A slice that was drawn, and the file that it was seen in. */
export interface SampledSlice {
  readonly inode: bigint;
  /** Printable; undefined where the records tell no names. */
  readonly path: string | undefined;
  readonly id: bigint;
  /** Bytes of the slice, and the part of it that the file uses. */
  readonly size: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * Draws slices at random from records that pass, each with the same chance, without knowing how many there will be (reservoir
 * sampling, algorithm L: the next one to be taken is known ahead, so the others cost a comparison). Holes are no slices. A file with
 * several places in a tree counts at each.
 */
export class SliceSample {
  readonly slices: SampledSlice[] = [];
  /** Slices seen so far. */
  total = 0;

  readonly #capacity: number;
  /** Above 0, at most 1. */
  readonly #random: () => number;
  #weight = 1;
  #nextTaken = Number.POSITIVE_INFINITY;
  /** Names of the directories around; an empty one for the root. */
  readonly #names: Buffer[] = [];
  /** Where the file at hand gets its path from: an entry of the batch at hand, or its name when that has passed. */
  #entry: { readonly bytes: Buffer; readonly at: number } | Buffer | undefined;

  constructor(capacity: number, random: () => number = () => 1 - Math.random()) {
    this.#capacity = capacity;
    this.#random = random;
    this.#begin();
  }

  #begin(): void {
    this.slices.length = 0;
    this.total = 0;
    this.#weight = 1;
    this.#names.length = 0;
    if (this.#capacity === 0) return;
    this.#nextTaken = this.#capacity;
    this.#skip();
  }

  /** Passes the records on. Called once more, it forgets what it has drawn: a load has begun again. */
  async *watch(records: RecordStream): RecordStream {
    if (this.total > 0) this.#begin();
    for await (const batch of records) {
      if (batch.kind === "tree") this.#readTree(batch);
      else if (batch.kind === "chunk") this.#readChunks(batch);
      yield batch;
    }
  }

  #readChunks({ bytes }: RecordBatch): void {
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; ) {
      const end = at + 16 + view.getUint32(at + 12);
      this.#readSlices(view, at + 16, end, view, at);
      at = end;
    }
  }

  #readTree({ bytes }: RecordBatch): void {
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; at += view.getUint32(at)) {
      const tag = bytes[at + ITEM_TAG];
      if (tag === TREE_ENTRY) this.#readEntry(bytes, view, at);
      else if (tag === TREE_CHUNKS) this.#readList(view, at + CHUNKS_LIST, at + view.getUint32(at), this.#inode, 0);
      else this.#names.pop();
    }
  }

  readonly #inode: DataView = new DataView(new ArrayBuffer(8));

  #readEntry(bytes: Buffer, view: DataView, at: number): void {
    if (bytes[at + ENTRY_TYPE] === FileType.directory) {
      this.#names.push(entryName(bytes, at));
      return;
    }
    const size = view.getUint32(at + ENTRY_CHUNKS_SIZE);
    const isContinued = (bytes[at + ENTRY_FLAGS]! & ENTRY_MORE_CHUNKS) !== 0;
    if (size === 0 && !isContinued) return;
    this.#entry = { bytes, at };
    const start = chunksOffset(bytes, at);
    this.#readList(view, start, start + size, view, at + ENTRY_INODE);
    if (!isContinued) return;
    this.#entry = entryName(bytes, at);
    this.#inode.setBigUint64(0, view.getBigUint64(at + ENTRY_INODE));
  }

  /** n × (u32 index, u32 slicesSize, slices) */
  #readList(view: DataView, start: number, end: number, inode: DataView, inodeAt: number): void {
    for (let at = start; at < end; ) {
      const next = at + 8 + view.getUint32(at + 4);
      this.#readSlices(view, at + 8, next, inode, inodeAt);
      at = next;
    }
  }

  #readSlices(view: DataView, start: number, end: number, inode: DataView, inodeAt: number): void {
    for (let at = start; at < end; at += SLICE_BYTES) {
      if (view.getUint32(at + 4) === 0 && view.getUint32(at + 8) === 0) continue;
      const number = this.total++;
      if (number < this.#capacity) this.slices.push(this.#slice(view, at, inode.getBigUint64(inodeAt)));
      else if (number === this.#nextTaken) {
        const place = Math.min(Math.floor((1 - this.#random()) * this.#capacity), this.#capacity - 1);
        this.slices[place] = this.#slice(view, at, inode.getBigUint64(inodeAt));
        this.#nextTaken++;
        this.#skip();
      }
    }
  }

  /** Moves on to the next slice that takes the place of one. */
  #skip(): void {
    this.#weight *= Math.exp(Math.log(this.#random()) / this.#capacity);
    this.#nextTaken += Math.floor(Math.log(this.#random()) / Math.log1p(-this.#weight));
  }

  #slice(view: DataView, at: number, inode: bigint): SampledSlice {
    return {
      inode,
      path: this.#path(),
      id: view.getBigUint64(at + 4),
      size: view.getUint32(at + 12),
      offset: view.getUint32(at + 16),
      length: view.getUint32(at + 20),
    };
  }

  #path(): string | undefined {
    if (this.#entry === undefined) return undefined;
    const name = Buffer.isBuffer(this.#entry) ? this.#entry : entryName(this.#entry.bytes, this.#entry.at);
    return printablePath([...this.#names, name].filter(({ length }) => length > 0));
  }
}
