import { viewOf } from "../base/bytes.ts";
import { FileType } from "../volume/file-type.ts";
import { isTrashInode } from "../volume/inode.ts";
import { printablePath } from "../volume/path.ts";
import type { RecordBatch, RecordStream } from "../volume/records.ts";
import {
  attributeOffset,
  CHUNKS_LIST,
  ENTRY_ATTRIBUTE_SIZE,
  ENTRY_CHUNKS_SIZE,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_MORE_CHUNKS,
  ENTRY_NAME,
  ENTRY_NAME_SIZE,
  ENTRY_ROOT,
  ENTRY_SYMLINK_SIZE,
  ENTRY_TRASH_ROOT,
  ENTRY_TYPE,
  ENTRY_XATTRS_SIZE,
  ITEM_TAG,
  LEAVE_XATTRS,
  symlinkOffset,
  TREE_CHUNKS,
  TREE_ENTRY,
  xattrsOffset,
} from "../volume/tree-item.ts";
import type { UnsupportedValue, ValueLimits } from "../volume/value-limits.ts";
import { type FoundValue, UnsupportedRules } from "./unsupported-rules.ts";

/** u16 nameSize, u32 valueSize */
const XATTR_HEAD_BYTES = 6;
/** u32 index, u32 slicesSize */
const CHUNK_HEAD_BYTES = 8;
const TRASH_NAME = Buffer.from(".trash");

/** An open directory, or a file whose chunks go on. */
export interface Place {
  /** Undefined for the root. */
  readonly name: Buffer | undefined;
  readonly inode: bigint;
}

/** Hands on records without what a database cannot hold, and tells of it. */
export type UnsupportedStage = (
  records: RecordStream,
  limits: ValueLimits,
  onValue: (value: UnsupportedValue) => void,
) => RecordStream;

/**
 * A stage between a tree and what consolidates it: tells of every value that a database cannot hold, and leaves it out.
 *
 *   uid, gid            the file belongs to OVERFLOW_OWNER, without the set-id bit that would give away that owner's rights
 *   rdev                a device is left out as a whole; other types have no use for the number
 *   symlink             the link is left out
 *   extended attribute  the attribute is left out
 *   chunk               its list of slices is left out: the file reads as zeros there
 *
 * Items only get smaller, so batches are changed in place. What has several places is treated alike at each of them.
 */
export async function* leaveOutUnsupported(
  records: RecordStream,
  limits: ValueLimits,
  onValue: (value: UnsupportedValue) => void,
): RecordStream {
  const filter = new UnsupportedFilter(limits, onValue);
  for await (const batch of records) {
    if (batch.kind !== "tree") {
      yield batch;
      continue;
    }
    await filter.askForNames(batch.bytes);
    yield filter.apply(batch);
  }
}

class UnsupportedFilter {
  readonly #rules: UnsupportedRules;
  readonly #onValue: (value: UnsupportedValue) => void;
  readonly #directories: Place[] = [];
  #openFile: Place | undefined;
  /** Where the next bytes that are kept go. */
  #to = 0;

  constructor(limits: ValueLimits, onValue: (value: UnsupportedValue) => void) {
    this.#rules = new UnsupportedRules(limits);
    this.#onValue = onValue;
  }

  /** Finds out about all lists of names in a batch of which nothing is known yet, with one question. */
  async askForNames(bytes: Buffer): Promise<void> {
    const lists: Buffer[][] = [];
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; at += view.getUint32(at)) {
      const tag = view.getUint8(at + ITEM_TAG);
      if (tag === TREE_CHUNKS) continue;
      const isEntry = tag === TREE_ENTRY;
      const size = isEntry ? view.getUint32(at + ENTRY_XATTRS_SIZE) : view.getUint32(at) - LEAVE_XATTRS;
      if (size === 0) continue;
      const start = isEntry ? xattrsOffset(bytes, at) : at + LEAVE_XATTRS;
      lists.push(xattrNames(bytes, view, start, start + size));
    }
    await this.#rules.learnNames(lists);
  }

  apply(batch: RecordBatch): RecordBatch {
    const { bytes } = batch;
    const view = viewOf(bytes);
    let count = 0;
    this.#to = 0;
    for (let at = 0; at < bytes.length; ) {
      const end = at + view.getUint32(at);
      const start = this.#to;
      const tag = view.getUint8(at + ITEM_TAG);
      if (tag === TREE_ENTRY) this.#entry(bytes, view, at, end);
      else if (tag === TREE_CHUNKS) this.#moreChunks(bytes, view, at, end);
      else this.#leave(bytes, view, at, end);
      if (this.#to > start) count++;
      at = end;
    }
    return this.#to === bytes.length ? batch : { kind: "tree", count, bytes: bytes.subarray(0, this.#to) };
  }

  #entry(bytes: Buffer, view: DataView, at: number, end: number): void {
    this.#openFile = undefined;
    const type = view.getUint8(at + ENTRY_TYPE);
    const attributes = at + ENTRY_NAME + view.getUint16(at + ENTRY_NAME_SIZE);
    const attributeSize = view.getUint16(at + ENTRY_ATTRIBUTE_SIZE);
    if (attributeSize > 0 && !this.#owners(bytes, view, attributes, at, type)) return;
    const targetSize = view.getUint32(at + ENTRY_SYMLINK_SIZE);
    const tooLong = this.#rules.symlink(targetSize);
    if (tooLong !== undefined) return this.#symlink(bytes, at, tooLong);
    const xattrsSize = view.getUint32(at + ENTRY_XATTRS_SIZE);
    const contents = attributes + attributeSize + targetSize;
    const to = this.#to;
    this.#keep(bytes, at, contents);
    if (type === FileType.directory) this.#directories.push(placeOf(bytes, to));
    else if ((view.getUint8(to + ENTRY_FLAGS) & ENTRY_MORE_CHUNKS) !== 0) this.#openFile = placeOf(bytes, to);
    if (contents === end) return;
    const owner = type === FileType.directory ? undefined : to;
    const xattrsTo = this.#to;
    if (xattrsSize > 0) this.#xattrs(bytes, view, contents, contents + xattrsSize, owner);
    const chunksTo = this.#to;
    this.#chunks(bytes, view, contents + xattrsSize, end, owner);
    view.setUint32(to, this.#to - to);
    view.setUint32(to + ENTRY_XATTRS_SIZE, chunksTo - xattrsTo);
    view.setUint32(to + ENTRY_CHUNKS_SIZE, this.#to - chunksTo);
  }

  #moreChunks(bytes: Buffer, view: DataView, at: number, end: number): void {
    const to = this.#to;
    this.#keep(bytes, at, at + CHUNKS_LIST);
    this.#chunks(bytes, view, at + CHUNKS_LIST, end, undefined);
    view.setUint32(to, this.#to - to);
  }

  #leave(bytes: Buffer, view: DataView, at: number, end: number): void {
    this.#openFile = undefined;
    const to = this.#to;
    this.#keep(bytes, at, at + LEAVE_XATTRS);
    if (end > at + LEAVE_XATTRS) this.#xattrs(bytes, view, at + LEAVE_XATTRS, end, undefined);
    view.setUint32(to, this.#to - to);
    this.#directories.pop();
  }

  /** Uid, gid and device number; false when the entry is left out. */
  #owners(bytes: Buffer, view: DataView, attributes: number, at: number, type: number): boolean {
    const isDirectory = type === FileType.directory;
    const noDevice = this.#rules.replaceNumbers(view, attributes, isDirectory, (value) =>
      this.#found(bytes, at, value),
    );
    return !noDevice || (type !== FileType.blockdev && type !== FileType.chardev);
  }

  #symlink(bytes: Buffer, at: number, reason: string): void {
    const value = Buffer.from(bytes.subarray(symlinkOffset(bytes, at), xattrsOffset(bytes, at)));
    this.#found(bytes, at, { kind: "symlink", value, reason });
  }

  /** `entry`: where the item at hand is kept; without one the list is that of the innermost open directory. */
  #xattrs(bytes: Buffer, view: DataView, start: number, end: number, entry: number | undefined): void {
    const problems = this.#rules.nameProblems(xattrNames(bytes, view, start, end));
    for (let at = start, i = 0; at < end; i++) {
      const value = at + XATTR_HEAD_BYTES + view.getUint16(at);
      const size = view.getUint32(at + 2);
      const next = value + size;
      const reason = problems?.get(i) ?? this.#rules.xattrValue(size);
      if (reason === undefined) {
        this.#keep(bytes, at, next);
      } else {
        const name = Buffer.from(bytes.subarray(at + XATTR_HEAD_BYTES, value));
        this.#found(bytes, entry, { kind: "xattr", name, value: Buffer.from(bytes.subarray(value, next)), reason });
      }
      at = next;
    }
  }

  #chunks(bytes: Buffer, view: DataView, start: number, end: number, entry: number | undefined): void {
    for (let at = start; at < end; ) {
      const slices = at + CHUNK_HEAD_BYTES;
      const size = view.getUint32(at + 4);
      const next = slices + size;
      const reason = this.#rules.slices(size);
      if (reason === undefined) {
        this.#keep(bytes, at, next);
      } else {
        const value = Buffer.from(bytes.subarray(slices, next));
        this.#found(bytes, entry, { kind: "chunk", index: view.getUint32(at), value, reason });
      }
      at = next;
    }
  }

  /** Moves `[at..end)` to where it is kept. */
  #keep(bytes: Buffer, at: number, end: number): void {
    if (this.#to !== at) bytes.copyWithin(this.#to, at, end);
    this.#to += end - at;
  }

  /** `entry`: where the item at hand stands, when it is no open directory. */
  #found(bytes: Buffer, entry: number | undefined, value: FoundValue): void {
    const open = this.#directories;
    const own = entry === undefined ? this.#openFile : placeOf(bytes, entry);
    const { inode } = own ?? open[open.length - 1]!;
    this.#onValue({ path: pathOf(own === undefined ? open : [...open, own]), inode, ...value });
  }
}

/** Copies: what they came from moves on. */
export function placeOf(bytes: Buffer, at: number): Place {
  const flags = bytes[at + ENTRY_FLAGS]!;
  const name = Buffer.from(bytes.subarray(at + ENTRY_NAME, attributeOffset(bytes, at)));
  const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
  const inTrash = (flags & ENTRY_TRASH_ROOT) !== 0 || isTrashInode(inode);
  return { name: (flags & ENTRY_ROOT) === 0 ? name : inTrash ? TRASH_NAME : undefined, inode };
}

/** The printable path of the innermost of nested places. */
export function pathOf(places: readonly Place[]): string {
  return printablePath(places.map(({ name }) => name).filter((name) => name !== undefined));
}

/** Copies of the names in a list of extended attributes. */
function xattrNames(bytes: Buffer, view: DataView, start: number, end: number): Buffer[] {
  const names: Buffer[] = [];
  for (let at = start; at < end; ) {
    const value = at + XATTR_HEAD_BYTES + view.getUint16(at);
    names.push(Buffer.from(bytes.subarray(at + XATTR_HEAD_BYTES, value)));
    at = value + view.getUint32(at + 2);
  }
  return names;
}
