import { ByteWriter } from "../base/bytes.ts";
import { FileType } from "../volume/file-type.ts";
import { BATCH_BYTES, type RecordBatch } from "../volume/records.ts";
import {
  CHUNKS_ITEM_BYTES,
  CHUNKS_LIST,
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
  TREE_CHUNKS,
  TREE_LEAVE,
} from "../volume/tree-item.ts";
import type { BlockStore } from "./block-store.ts";
import type { DirectoryBlock, DirectoryIndex } from "./directory-index.ts";
import type { InodeKeys } from "./inode-key.ts";
import { InodeSet } from "./inode-set.ts";
import type { BlockParts, LostPlace } from "./lost-found.ts";
import type { TreeFindings } from "./tree-findings.ts";

export interface TreeWalkOptions {
  readonly blocks: BlockStore;
  readonly index: DirectoryIndex;
  readonly keys: InodeKeys;
  readonly partitions: number;
  readonly signal: AbortSignal;
  /** Leaves out the entries of directories that stand in two places, but for one. */
  readonly salvage?: WalkSalvage | undefined;
}

export interface WalkSalvage {
  readonly findings: TreeFindings;
  /** `lost+found`, where there is one. */
  readonly lost: LostPlace | undefined;
}

/** One directory that is being walked: `address` is its next entry, `window` holds the bytes from there on, if any. */
interface Frame {
  address: number;
  end: number;
  window: Buffer | undefined;
  windowAt: number;
  windowEnd: number;
  /** Where its entries go on behind `end`. */
  rest: BlockParts;
}

/** Gives the entries of directories as items of tree batches, depth first. */
export class TreeWalk {
  readonly #options: TreeWalkOptions;
  readonly #blocks: BlockStore;
  readonly #index: DirectoryIndex;
  readonly #out: ByteWriter = new ByteWriter(BATCH_BYTES + 65536);
  #outCount = 0;
  /** The directory `lost+found` while it is being walked. */
  #lostFrame: Frame | undefined;
  /** Directories without entries that were met, when something is salvaged: those with entries are marked in the index. */
  readonly #empty: InodeSet = new InodeSet();

  constructor(options: TreeWalkOptions) {
    this.#options = options;
    this.#blocks = options.blocks;
    this.#index = options.index;
  }

  /** From the parent of the roots. A window on the deepest directory is kept; what stands above is read again. */
  async *from(roots: DirectoryBlock | undefined): AsyncGenerator<RecordBatch> {
    const frames: Frame[] = [];
    if (roots !== undefined) {
      this.#index.markVisited(roots.position);
      frames.push(openFrame(roots));
    }
    while (frames.length > 0) {
      const frame = frames[frames.length - 1]!;
      const child = this.#advance(frames, frame);
      if (child !== undefined) {
        frames.push(child);
      } else if (frame.address >= frame.end && !this.#goesOn(frame)) {
        this.#close(frame);
        frames.pop();
        if (frames.length > 0) this.#leave();
      }
      if (this.#out.length >= BATCH_BYTES) {
        yield this.#takeBatch();
        this.#options.signal.throwIfAborted();
      }
    }
    if (this.#outCount > 0) yield this.#takeBatch();
  }

  #goesOn(frame: Frame): boolean {
    const [next, ...rest] = frame.rest;
    if (next === undefined) return false;
    this.#dropWindow(frame);
    Object.assign(frame, { ...next, windowAt: 0, windowEnd: 0, rest });
    return true;
  }

  #close(frame: Frame): void {
    this.#dropWindow(frame);
    if (frame === this.#lostFrame) this.#lostFrame = undefined;
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
    const { salvage } = this.#options;
    const isDirectory = window[at + ENTRY_TYPE] === FileType.directory;
    if (isDirectory && salvage !== undefined) return this.#emitOnce(salvage, window, at, size, atRoots);
    const out = this.#write(window, at, size, atRoots);
    if (!isDirectory) return undefined;
    const block = this.#findBytes(window, at + ENTRY_INODE);
    if (block === undefined || !this.#index.markVisited(block.position)) {
      if (block !== undefined) this.#out.buffer[out + ENTRY_FLAGS]! |= ENTRY_REPEATED;
      this.#leave();
      return undefined;
    }
    return openFrame(block);
  }

  /** The same for a directory when something is salvaged: it is given at one place only. */
  #emitOnce(salvage: WalkSalvage, window: Buffer, at: number, size: number, atRoots: boolean): Frame | undefined {
    const { findings, lost } = salvage;
    const key = this.#options.keys.read(window, at + ENTRY_INODE);
    const block = lost?.key === key ? lost.block : this.#findBytes(window, at + ENTRY_INODE);
    if (this.#isElsewhere(block) || !this.#isFirst(window, at, block)) {
      const nameEnd = at + ENTRY_NAME + window.readUInt16BE(at + ENTRY_NAME_SIZE);
      const name = () => Buffer.from(window.subarray(at + ENTRY_NAME, nameEnd));
      findings.repeated(window.readBigUInt64BE(at + ENTRY_INODE), name);
      return undefined;
    }
    this.#write(window, at, size, atRoots);
    if (atRoots && lost?.rootKey === key) return openParts(lost.rootParts);
    if (block === undefined) {
      this.#leave();
      return undefined;
    }
    const frame = openFrame(block);
    if (lost?.key === key) this.#lostFrame = frame;
    return frame;
  }

  /** Whether a directory below `lost+found` stands in the trees, too, where it is left. */
  #isElsewhere(block: DirectoryBlock | undefined): boolean {
    return block !== undefined && this.#lostFrame !== undefined && this.#index.wasVisitedBefore(block.position);
  }

  #isFirst(window: Buffer, at: number, block: DirectoryBlock | undefined): boolean {
    return block === undefined ? !this.#empty.add(window, at + ENTRY_INODE) : this.#index.markVisited(block.position);
  }

  /** Writes an entry and its chunks; returns where it stands. */
  #write(window: Buffer, at: number, size: number, atRoots: boolean): number {
    const out = this.#out.reserve(size);
    this.#out.writeSlice(window, at, at + size);
    this.#outCount++;
    if (atRoots) this.#dropName(out, window.readUInt16BE(at + ENTRY_NAME_SIZE));
    if ((window[at + ENTRY_FLAGS]! & ENTRY_MORE_CHUNKS) !== 0) this.#expandChunks(out);
    return out;
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

  #findBytes(bytes: Buffer, at: number): DirectoryBlock | undefined {
    const { keys, partitions } = this.#options;
    return this.#index.find(keys.read(bytes, at), bytes[at + 7]! & (partitions - 1));
  }

  #takeBatch(): RecordBatch {
    const batch: RecordBatch = { kind: "tree", count: this.#outCount, bytes: this.#out.take() };
    this.#outCount = 0;
    return batch;
  }
}

/** Bytes of a directory that are read at a time. */
const WINDOW_BYTES = 64 * 1024;

/** So many of the deepest directories keep a window. */
const MAX_WINDOWS = 64;

function openFrame(block: { readonly address: number; readonly end: number }): Frame {
  return { address: block.address, end: block.end, window: undefined, windowAt: 0, windowEnd: 0, rest: [] };
}

function openParts([first, ...rest]: BlockParts): Frame {
  return { ...openFrame(first ?? { address: 0, end: 0 }), rest };
}
