import { recycle, viewOf } from "../base/bytes.ts";
import { DataError } from "../base/errors.ts";
import { ATTR_LENGTH, ATTR_MIN_BYTES } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import { TRASH_INODE } from "../volume/inode.ts";
import { printableName } from "../volume/path.ts";
import { type RecordBatch, type RecordStream, unpackBatch } from "../volume/records.ts";
import {
  attributeOffset,
  CHUNKS_LIST,
  chunksOffset,
  ENTRY_ATTRIBUTE_SIZE,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_MORE_CHUNKS,
  ENTRY_NAME,
  ENTRY_NAME_SIZE,
  ENTRY_ROOT,
  ENTRY_TRASH_ROOT,
  ENTRY_TYPE,
  ITEM_TAG,
  LEAVE_ACCESS_ACL,
  LEAVE_DEFAULT_ACL,
  LEAVE_XATTRS,
  TREE_CHUNKS,
  TREE_ENTRY,
  TREE_LEAVE,
} from "../volume/tree-item.ts";
import { ChunkDigest } from "./chunk-digest.ts";
import type { EntrySource } from "./entry-facts.ts";
import type { Side } from "./tree-changes.ts";

/** A tree whose entries do not come in the one order in which two trees can be compared. */
export class UnsortedTreeError extends DataError {
  readonly side: Side;

  constructor(code: string, message: string, side: Side, options: { readonly path?: string } = {}) {
    super(code, message, { hint: HINT, ...(options.path === undefined ? {} : { location: { path: options.path } }) });
    this.side = side;
  }
}

const HINT =
  "Two volumes are compared in the order of their names, which dumps of decant and juicefs have. A file of another order is " +
  "sorted first, but a stream can be read only once: give the dump as a file";

const EMPTY = Buffer.alloc(0);

/** What a cursor stands at. `end`: behind the last root. */
export type CursorState = "entry" | "leave" | "end";

/**
 * Goes through the entries of a tree stream, one at a time and without a promise for each: call `fill` whenever `ready` says
 * that more is needed. An entry whose chunks come in several items is put together. ACL rules on the way are kept.
 *
 * Throws `UnsortedTreeError` where names of a directory do not ascend, the trash comes first, or members of a directory come
 * after its entries.
 */
export class TreeCursor implements EntrySource {
  readonly rules: Map<number, Buffer> = new Map();
  /** Entries passed so far. */
  entries = 0;
  state: CursorState = "end";
  /** The item at hand, valid until `advance`. */
  bytes: Buffer = EMPTY;
  view: DataView = viewOf(EMPTY);
  at = 0;
  digest: ChunkDigest | undefined;
  readonly #source: AsyncIterator<RecordBatch>;
  readonly #side: Side;
  #batch: Buffer = EMPTY;
  #batchView: DataView = viewOf(EMPTY);
  /** The item that is read next. */
  #next = 0;
  #isReady = false;
  #isEnded = false;
  /** An entry whose chunks are still being read. */
  #held: Buffer | undefined;
  /** Where the name of the entry before stands, in the directory at hand. */
  #last: Buffer = EMPTY;
  #lastStart = 0;
  #lastEnd = 0;
  /** Names of the directories around the item at hand. */
  readonly #open: Buffer[] = [];
  #roots = 0;
  /** Where clients see the tree at hand. */
  #top = "";

  constructor(source: RecordStream, side: Side) {
    this.#source = source[Symbol.asyncIterator]();
    this.#side = side;
  }

  /** Makes an item known; false when `fill` must be called first. */
  ready(): boolean {
    while (!this.#isReady) {
      if (this.#next >= this.#batch.length) {
        if (!this.#isEnded) return false;
        if (this.#held === undefined) this.state = "end";
        else this.#releaseHeld();
        this.#isReady = true;
      } else {
        this.#read(this.#next);
      }
    }
    return true;
  }

  /** Takes the next batch. */
  async fill(): Promise<void> {
    this.#keepLast(Buffer.from(this.#last.subarray(this.#lastStart, this.#lastEnd)));
    // Once: a buffer given back twice would be written by two.
    if (this.#batch.length > 0) recycle(this.#batch);
    this.#batch = EMPTY;
    this.#next = 0;
    for (;;) {
      const next = await this.#source.next();
      if (next.done) {
        this.#isEnded = true;
        return;
      }
      const batch = next.value;
      if (batch.kind === "acl") {
        for (const { id, rule } of unpackBatch("acl", batch)) this.rules.set(id, Buffer.from(rule));
      } else if (batch.kind === "tree") {
        this.#batch = batch.bytes;
        this.#batchView = viewOf(batch.bytes);
        return;
      }
    }
  }

  /** Leaves the item at hand. */
  advance(): void {
    if (this.state === "entry") {
      this.entries++;
      if (this.isDirectory) {
        if (this.#open.length === 0) this.#top = this.isTrash ? "/.trash" : "";
        this.#open.push(Buffer.from(this.name));
        this.#keepLast(EMPTY);
      } else {
        this.#last = this.bytes;
        this.#lastStart = this.at + ENTRY_NAME;
        this.#lastEnd = this.#lastStart + this.view.getUint16(this.at + ENTRY_NAME_SIZE);
      }
    } else if (this.state === "leave") {
      this.#keepLast(this.#open.pop() ?? EMPTY);
    }
    this.digest = undefined;
    this.#isReady = false;
  }

  #keepLast(name: Buffer): void {
    this.#last = name;
    this.#lastStart = 0;
    this.#lastEnd = name.length;
  }

  /** Ends the stream early. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }

  get name(): Buffer {
    const start = this.at + ENTRY_NAME;
    return this.bytes.subarray(start, start + this.view.getUint16(this.at + ENTRY_NAME_SIZE));
  }

  get isDirectory(): boolean {
    return this.view.getUint8(this.at + ENTRY_TYPE) === FileType.directory;
  }

  get inode(): bigint {
    return this.view.getBigUint64(this.at + ENTRY_INODE);
  }

  get flags(): number {
    return this.view.getUint8(this.at + ENTRY_FLAGS);
  }

  /** For a root: whether it is that of the trash. */
  get isTrash(): boolean {
    return (this.flags & ENTRY_TRASH_ROOT) !== 0 || this.inode === TRASH_INODE;
  }

  #read(at: number): void {
    const view = this.#batchView;
    const tag = view.getUint8(at + ITEM_TAG);
    const size = view.getUint32(at);
    if (tag === TREE_CHUNKS) {
      this.digest?.add(this.#batch, at + CHUNKS_LIST, at + size);
      this.#next = at + size;
      return;
    }
    if (this.#held !== undefined) {
      this.#releaseHeld();
      return;
    }
    this.#next = at + size;
    if (tag === TREE_ENTRY) this.#takeEntry(at, size);
    else if (tag === TREE_LEAVE) this.#takeLeave(at, size);
  }

  #takeEntry(at: number, size: number): void {
    const batch = this.#batch;
    this.#checkOrder(at);
    if ((this.#batchView.getUint8(at + ENTRY_FLAGS) & ENTRY_MORE_CHUNKS) === 0) {
      this.bytes = batch;
      this.view = this.#batchView;
      this.at = at;
      this.state = "entry";
      this.#isReady = true;
      return;
    }
    const attribute = attributeOffset(batch, at);
    const hasLength = batch.readUInt16BE(at + ENTRY_ATTRIBUTE_SIZE) >= ATTR_MIN_BYTES;
    this.digest = new ChunkDigest(hasLength ? batch.readBigUInt64BE(attribute + ATTR_LENGTH) : 0n);
    this.digest.add(batch, chunksOffset(batch, at), at + size);
    this.#held = Buffer.from(batch.subarray(at, at + size));
  }

  #releaseHeld(): void {
    this.bytes = this.#held!;
    this.view = viewOf(this.bytes);
    this.at = 0;
    this.#held = undefined;
    this.state = "entry";
    this.#isReady = true;
  }

  #takeLeave(at: number, size: number): void {
    const view = this.#batchView;
    const keeps = (view.getUint32(at + LEAVE_ACCESS_ACL) & view.getUint32(at + LEAVE_DEFAULT_ACL)) === -1;
    if (!keeps || size > LEAVE_XATTRS) throw this.#unsorted("has members behind its entries");
    this.state = "leave";
    this.#isReady = true;
  }

  #checkOrder(at: number): void {
    const batch = this.#batch;
    if (this.#open.length === 0) {
      const flags = batch[at + ENTRY_FLAGS]!;
      const isTrash = (flags & ENTRY_TRASH_ROOT) !== 0 || batch.readBigUInt64BE(at + ENTRY_INODE) === TRASH_INODE;
      if ((flags & ENTRY_ROOT) === 0 || this.#roots++ > (isTrash ? 1 : 0)) {
        throw new UnsortedTreeError("DECANT_E_TREE_ORDER", "The trash stands before the tree of files", this.#side);
      }
      return;
    }
    const start = at + ENTRY_NAME;
    const end = start + this.#batchView.getUint16(at + ENTRY_NAME_SIZE);
    if (batch.compare(this.#last, this.#lastStart, this.#lastEnd, start, end) < 0) {
      const name = printableName(batch.subarray(start, end));
      const before = this.#last.subarray(this.#lastStart, this.#lastEnd);
      throw this.#unsorted(`has the name "${name}" behind "${printableName(before)}"`);
    }
  }

  #unsorted(problem: string): UnsortedTreeError {
    const path = `${this.#top}/${this.#open.slice(1).map(printableName).join("/")}`;
    return new UnsortedTreeError("DECANT_E_TREE_ORDER", `The directory ${path} ${problem}`, this.#side, { path });
  }
}

/** Reads a tree to its end. Throws `UnsortedTreeError` where it is not in order. */
export async function assertTreeOrder(tree: RecordStream, side: Side, signal: AbortSignal): Promise<void> {
  const cursor = new TreeCursor(tree, side);
  try {
    for (;;) {
      while (cursor.ready()) {
        if (cursor.state === "end") return;
        cursor.advance();
      }
      await cursor.fill();
      signal.throwIfAborted();
    }
  } finally {
    await cursor.close();
  }
}
