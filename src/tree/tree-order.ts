import { setImmediate as nextTurn } from "node:timers/promises";
import { ByteWriter, recycle } from "../base/bytes.ts";
import type { PhaseProgress } from "../base/progress.ts";
import { FileType } from "../volume/file-type.ts";
import { BATCH_BYTES, packBatch, type RecordBatch, type RecordStream } from "../volume/records.ts";
import {
  attributeOffset,
  CHUNKS_ITEM_BYTES,
  CHUNKS_LIST,
  chunksOffset,
  ENTRY_CHUNKS_SIZE,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_MORE_CHUNKS,
  ENTRY_NAME,
  ENTRY_NAME_SIZE,
  ENTRY_REPEATED,
  ENTRY_ROOT,
  ENTRY_TYPE,
  ITEM_TAG,
  LEAVE_XATTRS,
  symlinkOffset,
  TREE_CHUNKS,
  TREE_LEAVE,
  xattrsOffset,
} from "../volume/tree-item.ts";
import { BlockStore } from "./block-store.ts";
import { type DirectoryBlock, DirectoryIndex } from "./directory-index.ts";
import { DirectorySort } from "./directory-sort.ts";
import { InodeJoin, type JoinedSink } from "./inode-join.ts";
import { InodeKeys } from "./inode-key.ts";
import type { InodeObserver } from "./inode-observer.ts";
import { MemoryBudget, PAGE_BYTES } from "./memory-budget.ts";
import { MAX_PIECE_BYTES } from "./piece-sorter.ts";
import { SpillFile } from "./spill-file.ts";
import type { TreeFindings } from "./tree-findings.ts";

/** The parent of the roots: no inode of that number can have entries. */
export const ROOTS_PARENT = 0xffff_ffff_ffff_ffffn;

export interface TreeOrderOptions {
  /** Roots of the trees to give, in order: 1 and the trash root, or the top of a part of the volume. */
  readonly roots: readonly { readonly inode: bigint; readonly type: number }[];
  /** Ceiling of memory in bytes; what does not fit is spilled into `tmpDir`. */
  readonly maxBytes: number;
  readonly tmpDir: string;
  readonly signal: AbortSignal;
  /** Filled while the stream is read. */
  readonly findings: TreeFindings;
  /** Called when all has been read and sorting begins, whose bytes are counted in what it returns. */
  readonly beginSorting?: () => PhaseProgress;
  /** For checks that need to see more than the trees. */
  readonly observer?: InodeObserver;
}

/**
 * Turns flat records into tree order within a memory ceiling: batches of node, edge, chunk, symlink and xattr come out as
 * `tree` batches after everything else, which is passed on as it comes.
 *
 * Works in three passes over partitioned, spillable stores: by inode (inode-join.ts), by parent (directory-sort.ts), then
 * depth first through the blocks of the directories. A directory met twice is given once (ENTRY_REPEATED at the second
 * place), so damaged volumes with cycles end.
 */
export async function* treeOrder(records: RecordStream, options: TreeOrderOptions): AsyncGenerator<RecordBatch> {
  const index = new RecordIndex(options);
  try {
    for await (const batch of records) {
      if (RecordIndex.takes(batch)) {
        index.add(batch);
        recycle(batch.bytes);
      } else {
        yield batch;
      }
    }
    options.signal.throwIfAborted();
    await index.build();
    yield* index.walk();
    if (options.observer !== undefined) {
      index.showRest(options.observer);
      if (options.observer.wantsAnotherWalk()) yield* index.walkAgain();
    }
  } finally {
    index.close();
  }
}

/** One directory that is being walked: `address` is its next entry, `window` holds the bytes from there on, if any. */
interface Frame {
  address: number;
  readonly end: number;
  window: Buffer | undefined;
  windowAt: number;
  windowEnd: number;
}

/** The stores of one tree on its way into order: fill, `build`, `walk`, and `close` in any case. */
export class RecordIndex {
  static takes(batch: RecordBatch): boolean {
    return INDEXED.has(batch.kind);
  }

  readonly #options: TreeOrderOptions;
  readonly #budget: MemoryBudget;
  readonly #spill: SpillFile;
  readonly keys: InodeKeys = new InodeKeys();
  readonly #blocks: BlockStore;
  readonly #index: DirectoryIndex;
  readonly #join: InodeJoin;
  readonly #sort: DirectorySort;
  readonly #partitions: number;
  readonly #out: ByteWriter = new ByteWriter(BATCH_BYTES + 65536);
  #outCount = 0;

  constructor(options: TreeOrderOptions) {
    this.#options = options;
    const budget = new MemoryBudget(options.maxBytes);
    this.#budget = budget;
    // Each partition keeps one page open in two stores: a quarter of the ceiling at the most.
    this.#partitions = Math.min(256, 2 ** Math.max(2, Math.floor(Math.log2(options.maxBytes / (PAGE_BYTES * 8)))));
    const pieceBytes = Math.min(MAX_PIECE_BYTES, Math.max(PAGE_BYTES * 4, Math.floor(options.maxBytes / 8)));
    const spill = new SpillFile(options.tmpDir);
    this.#spill = spill;
    this.#blocks = new BlockStore(budget, spill, Math.floor(options.maxBytes / 2));
    this.#index = new DirectoryIndex(budget);
    const { findings, observer } = options;
    const shared = { partitions: this.#partitions, budget, spill, pieceBytes, findings, observer };
    this.#sort = new DirectorySort({
      ...shared,
      keys: this.keys,
      blocks: this.#blocks,
      index: this.#index,
    });
    this.#join = new InodeJoin({ ...shared, overflow: this.#blocks, sink: this.#sort });
    this.add(
      packBatch(
        "edge",
        options.roots.map((root, i) => ({
          parent: ROOTS_PARENT,
          inode: root.inode,
          type: root.type,
          name: Buffer.of(i),
        })),
      ),
    );
  }

  add(batch: RecordBatch): void {
    this.#join.add(batch);
  }

  /** For entries that come with all that belongs to their inodes: they need no join. */
  get entries(): JoinedSink {
    return this.#sort;
  }

  /** Where long lists of chunks stand; to be filled before `build`. */
  get overflow(): BlockStore {
    return this.#blocks;
  }

  close(): void {
    this.#spill.close();
    this.#budget.close();
  }

  async build(): Promise<void> {
    const phase = this.#options.beginSorting?.();
    const joining = this.#join.totalBytes;
    if (phase !== undefined) phase.totalBytes = joining * 2;
    for (let partition = 0; partition < this.#partitions; partition++) {
      this.#join.joinPartition(partition);
      await this.#pause();
      if (phase !== undefined) phase.bytes = joining - this.#join.totalBytes;
    }
    const sorting = this.#sort.totalBytes;
    if (phase !== undefined) phase.totalBytes = joining + sorting;
    for (let partition = 0; partition < this.#partitions; partition++) {
      this.#sort.sortPartition(partition);
      await this.#pause();
      if (phase !== undefined) phase.bytes = joining + sorting - this.#sort.totalBytes;
    }
  }

  async #pause(): Promise<void> {
    await nextTurn();
    this.#options.signal.throwIfAborted();
  }

  /** Depth first through the blocks. A window on the deepest directory is kept; what stands above is read again. */
  async *walk(): AsyncGenerator<RecordBatch> {
    const frames: Frame[] = [];
    const roots = this.#find(ROOTS_PARENT);
    if (roots !== undefined) {
      this.#index.markVisited(roots.position);
      frames.push(openFrame(roots));
    }
    while (frames.length > 0) {
      const frame = frames[frames.length - 1]!;
      const child = this.#advance(frames, frame);
      if (child !== undefined) {
        frames.push(child);
      } else if (frame.address >= frame.end) {
        this.#dropWindow(frame);
        frames.pop();
        if (frames.length > 0) this.#leave();
      }
      if (this.#out.length >= BATCH_BYTES) {
        yield this.#takeBatch();
        this.#options.signal.throwIfAborted();
      }
    }
    if (this.#outCount > 0) yield this.#takeBatch();
    this.#reportUnreachable();
  }

  walkAgain(): AsyncGenerator<RecordBatch> {
    this.#index.forgetVisits();
    return this.walk();
  }

  /** Shows what the walk has not met. Where an inode is no directory, all below hangs on that: it is not shown. */
  showRest(observer: InodeObserver): void {
    for (const inode of observer.detachedDirectories()) this.#visitBelow(this.#find(inode));
    const inode = Buffer.alloc(8);
    for (const needsDirectory of [false, true]) {
      for (const block of this.#index.unvisited()) {
        inode.writeBigUInt64BE(this.keys.inodeOf(block.key));
        if (observer.isDirectory(inode) !== needsDirectory) continue;
        observer.notMet(inode, this.#countEntries(block));
        if (!needsDirectory) this.#visitBelow(this.#findBytes(inode, 0));
      }
    }
  }

  #visitBelow(top: DirectoryBlock | undefined): void {
    const waiting = [top];
    const entry = Buffer.alloc(ENTRY_NAME);
    while (waiting.length > 0) {
      const block = waiting.pop();
      if (block === undefined || !this.#index.markVisited(block.position)) continue;
      for (let address = block.address; address < block.end; address += entry.readUInt32BE(0)) {
        this.#blocks.read(address, entry, ENTRY_NAME);
        if (entry[ENTRY_TYPE] === FileType.directory) waiting.push(this.#findBytes(entry, ENTRY_INODE));
      }
    }
  }

  /** Windows that no frame uses. */
  readonly #freeWindows: Buffer[] = [];

  /** Emits entries of a directory until one has to be entered, the output is full or the directory ends. */
  #advance(frames: Frame[], frame: Frame): Frame | undefined {
    const atRoots = frames.length === 1;
    while (frame.address < frame.end && this.#out.length < BATCH_BYTES) {
      const window = this.#holdEntry(frames, frame);
      if (!atRoots && this.#emitPlain(window, frame)) continue;
      const at = frame.windowAt;
      const size = window.readUInt32BE(at);
      frame.address += size;
      frame.windowAt += size;
      const child = this.#emit(window, at, size, atRoots);
      if (child !== undefined) return child;
    }
    return undefined;
  }

  /** Copies a run of neighbouring entries that need no more than that, as far as the window and the batch go. */
  #emitPlain(window: Buffer, frame: Frame): boolean {
    const start = frame.windowAt;
    const limit = Math.min(frame.windowEnd, start + BATCH_BYTES - this.#out.length);
    let at = start;
    while (
      at + ENTRY_NAME <= limit &&
      window[at + ENTRY_FLAGS] === 0 &&
      window[at + ENTRY_TYPE] !== FileType.directory
    ) {
      const next = at + window.readUInt32BE(at);
      if (next > frame.windowEnd) break;
      at = next;
      this.#outCount++;
    }
    if (at === start) return false;
    this.#out.writeSlice(window, start, at);
    frame.address += at - start;
    frame.windowAt = at;
    return true;
  }

  /** Makes the frame's next entry complete in its window. */
  #holdEntry(frames: Frame[], frame: Frame): Buffer {
    const held = frame.windowEnd - frame.windowAt;
    const window = frame.window;
    if (window !== undefined && held >= 4 && held >= window.readUInt32BE(frame.windowAt)) return window;
    const target = window ?? this.#takeWindow(frames);
    return this.#fillWindow(frame, target);
  }

  #fillWindow(frame: Frame, target: Buffer): Buffer {
    const size = Math.min(target.length, frame.end - frame.address);
    this.#blocks.read(frame.address, target, size);
    frame.window = target;
    frame.windowAt = 0;
    frame.windowEnd = size;
    const first = target.readUInt32BE(0);
    if (first <= size) return target;
    return this.#fillWindow(frame, Buffer.allocUnsafeSlow(first));
  }

  /** A free window, or that of the frame farthest from the end: it is read again when the walk comes back to it. */
  #takeWindow(frames: Frame[]): Buffer {
    const free = this.#freeWindows.pop();
    if (free !== undefined) return free;
    const victim = frames.length - 1 - MAX_WINDOWS;
    if (victim >= 0) {
      const window = frames[victim]!.window;
      frames[victim]!.window = undefined;
      if (window !== undefined) return window;
    }
    return Buffer.allocUnsafeSlow(WINDOW_BYTES);
  }

  #dropWindow(frame: Frame): void {
    if (frame.window?.length === WINDOW_BYTES) this.#freeWindows.push(frame.window);
    frame.window = undefined;
  }

  /** Emits an entry that needs more than a copy; returns the frame of a directory that is to be walked now. */
  #emit(window: Buffer, at: number, size: number, atRoots: boolean): Frame | undefined {
    const out = this.#out.reserve(size);
    const isDirectory = window[at + ENTRY_TYPE] === FileType.directory;
    this.#out.writeSlice(window, at, at + size);
    this.#outCount++;
    if (atRoots) this.#dropName(out, window.readUInt16BE(at + ENTRY_NAME_SIZE));
    if ((window[at + ENTRY_FLAGS]! & ENTRY_MORE_CHUNKS) !== 0) this.#expandChunks(out);
    if (!isDirectory) return undefined;
    const block = this.#findBytes(window, at + ENTRY_INODE);
    if (block === undefined || !this.#index.markVisited(block.position)) {
      if (block !== undefined) this.#out.buffer[out + ENTRY_FLAGS]! |= ENTRY_REPEATED;
      this.#leave();
      return undefined;
    }
    return openFrame(block);
  }

  #dropName(out: number, nameSize: number): void {
    const buffer = this.#out.buffer;
    buffer.copyWithin(out + ENTRY_NAME, out + ENTRY_NAME + nameSize, this.#out.length);
    this.#out.length -= nameSize;
    buffer.writeUInt16BE(0, out + ENTRY_NAME_SIZE);
    buffer.writeUInt32BE(this.#out.length - out, out);
    buffer[out + ENTRY_FLAGS]! |= ENTRY_ROOT;
  }

  /** Replaces the reference to the overflow store by `chunks` items. */
  #expandChunks(out: number): void {
    const buffer = this.#out.buffer;
    const referenceAt = this.#out.length - 16;
    let address = Number(buffer.readBigUInt64BE(referenceAt));
    const end = address + Number(buffer.readBigUInt64BE(referenceAt + 8));
    this.#out.length = referenceAt;
    buffer.writeUInt32BE(0, out + ENTRY_CHUNKS_SIZE);
    buffer.writeUInt32BE(referenceAt - out, out);
    const head = Buffer.alloc(8);
    while (address < end) {
      let size = 0;
      do {
        this.#blocks.read(address + size, head, 8);
        size += 8 + head.readUInt32BE(4);
      } while (address + size < end && size < CHUNKS_ITEM_BYTES);
      const item = this.#out.reserve(CHUNKS_LIST + size);
      this.#out.buffer.writeUInt32BE(CHUNKS_LIST + size, item);
      this.#out.buffer[item + ITEM_TAG] = TREE_CHUNKS;
      this.#blocks.read(address, this.#out.buffer.subarray(item + CHUNKS_LIST), size);
      this.#out.length = item + CHUNKS_LIST + size;
      this.#outCount++;
      address += size;
    }
  }

  #leave(): void {
    const at = this.#out.reserve(LEAVE_XATTRS);
    const buffer = this.#out.buffer;
    buffer.fill(0xff, at, at + LEAVE_XATTRS);
    buffer.writeUInt32BE(LEAVE_XATTRS, at);
    buffer[at + ITEM_TAG] = TREE_LEAVE;
    this.#out.length = at + LEAVE_XATTRS;
    this.#outCount++;
  }

  #find(inode: bigint): DirectoryBlock | undefined {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(inode);
    return this.#findBytes(bytes, 0);
  }

  #findBytes(bytes: Buffer, at: number): DirectoryBlock | undefined {
    return this.#index.find(this.keys.read(bytes, at), bytes[at + 7]! & (this.#partitions - 1));
  }

  #takeBatch(): RecordBatch {
    const batch: RecordBatch = { kind: "tree", count: this.#outCount, bytes: this.#out.take() };
    this.#outCount = 0;
    return batch;
  }

  #reportUnreachable(): void {
    for (const block of this.#index.unvisited()) {
      this.#options.findings.unreachable(this.keys.inodeOf(block.key), this.#countEntries(block));
    }
  }

  #countEntries(block: { readonly address: number; readonly end: number }): number {
    let entries = 0;
    const head = Buffer.alloc(4);
    for (let address = block.address; address < block.end; address += head.readUInt32BE(0)) {
      this.#blocks.read(address, head, 4);
      entries++;
    }
    return entries;
  }
}

const INDEXED: ReadonlySet<string> = new Set(["node", "edge", "chunk", "symlink", "xattr"]);

/** Bytes of a directory that are read at a time. */
const WINDOW_BYTES = 64 * 1024;

/** So many of the deepest directories keep a window. */
const MAX_WINDOWS = 64;

function openFrame(block: DirectoryBlock): Frame {
  return { address: block.address, end: block.end, window: undefined, windowAt: 0, windowEnd: 0 };
}

/** The parts of an entry. For code that is not hot. */
export interface EntryParts {
  readonly name: Buffer;
  readonly attribute: Buffer;
  readonly symlink: Buffer;
  readonly xattrs: Buffer;
  readonly chunks: Buffer;
}

/** Cuts an entry into its parts: views of `bytes`. */
export function entryParts(bytes: Buffer, at: number): EntryParts {
  return {
    name: bytes.subarray(at + ENTRY_NAME, attributeOffset(bytes, at)),
    attribute: bytes.subarray(attributeOffset(bytes, at), symlinkOffset(bytes, at)),
    symlink: bytes.subarray(symlinkOffset(bytes, at), xattrsOffset(bytes, at)),
    xattrs: bytes.subarray(xattrsOffset(bytes, at), chunksOffset(bytes, at)),
    chunks: bytes.subarray(chunksOffset(bytes, at), at + bytes.readUInt32BE(at)),
  };
}
