import { viewOf } from "../base/bytes.ts";
import { ATTR_GID, ATTR_RDEV, ATTR_TYPE_MODE, ATTR_UID } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import { isTrashInode } from "../volume/inode.ts";
import { printablePath } from "../volume/path.ts";
import type { RecordBatch, RecordStream } from "../volume/records.ts";
import { SLICE_BYTES } from "../volume/slices.ts";
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
import { OVERFLOW_OWNER, type UnsupportedValue, type ValueLimits } from "../volume/value-limits.ts";

/** Answers about lists of names are kept: most inodes of a volume have the same few. */
const MAX_KNOWN_LISTS = 10_000;
const SET_USER_ID = 0o4000;
const SET_GROUP_ID = 0o2000;
/** u16 nameSize, u32 valueSize */
const XATTR_HEAD_BYTES = 6;
/** u32 index, u32 slicesSize */
const CHUNK_HEAD_BYTES = 8;
const TRASH_NAME = Buffer.from(".trash");

type NameProblems = ReadonlyMap<number, string>;
type Found = Omit<UnsupportedValue, "path" | "inode">;

/** An open directory, or a file whose chunks go on. */
interface Place {
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
  readonly #limits: ValueLimits;
  readonly #onValue: (value: UnsupportedValue) => void;
  /** By the names of one inode. */
  readonly #knownLists = new Map<string, NameProblems>();
  readonly #directories: Place[] = [];
  #openFile: Place | undefined;
  /** Where the next bytes that are kept go. */
  #to = 0;

  constructor(limits: ValueLimits, onValue: (value: UnsupportedValue) => void) {
    this.#limits = limits;
    this.#onValue = onValue;
  }

  /** Finds out about all lists of names in a batch of which nothing is known yet, with one question. */
  async askForNames(bytes: Buffer): Promise<void> {
    const unknown = new Map<string, Buffer[]>();
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; at += view.getUint32(at)) {
      const tag = view.getUint8(at + ITEM_TAG);
      if (tag === TREE_CHUNKS) continue;
      const isEntry = tag === TREE_ENTRY;
      const size = isEntry ? view.getUint32(at + ENTRY_XATTRS_SIZE) : view.getUint32(at) - LEAVE_XATTRS;
      if (size === 0) continue;
      const start = isEntry ? xattrsOffset(bytes, at) : at + LEAVE_XATTRS;
      const names = xattrNames(bytes, view, start, start + size);
      const key = keyOf(names);
      if (!this.#knownLists.has(key)) unknown.set(key, names);
    }
    if (unknown.size === 0) return;
    const problems = await this.#limits.xattrNameProblems([...unknown.values()]);
    if (this.#knownLists.size > MAX_KNOWN_LISTS) this.#knownLists.clear();
    let i = 0;
    for (const key of unknown.keys()) this.#knownLists.set(key, problems[i++]!);
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
    if (targetSize > this.#limits.maxSymlinkBytes) return this.#symlink(bytes, at);
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
    const { maxNumber } = this.#limits;
    const uid = view.getUint32(attributes + ATTR_UID);
    const gid = view.getUint32(attributes + ATTR_GID);
    const rdev = view.getUint32(attributes + ATTR_RDEV);
    if (uid <= maxNumber && gid <= maxNumber && rdev <= maxNumber) return true;
    const reason = `the largest number is ${maxNumber}`;
    const isDirectory = type === FileType.directory;
    if (uid > maxNumber) {
      this.#found(bytes, at, { kind: "uid", value: uid, reason });
      view.setUint32(attributes + ATTR_UID, OVERFLOW_OWNER);
      if (!isDirectory) clearMode(view, attributes, SET_USER_ID);
    }
    if (gid > maxNumber) {
      this.#found(bytes, at, { kind: "gid", value: gid, reason });
      view.setUint32(attributes + ATTR_GID, OVERFLOW_OWNER);
      if (!isDirectory) clearMode(view, attributes, SET_GROUP_ID);
    }
    if (rdev <= maxNumber) return true;
    this.#found(bytes, at, { kind: "rdev", value: rdev, reason });
    view.setUint32(attributes + ATTR_RDEV, 0);
    return type !== FileType.blockdev && type !== FileType.chardev;
  }

  #symlink(bytes: Buffer, at: number): void {
    const value = Buffer.from(bytes.subarray(symlinkOffset(bytes, at), xattrsOffset(bytes, at)));
    const reason = `it has ${value.length} bytes, ${this.#limits.maxSymlinkBytes} are possible`;
    this.#found(bytes, at, { kind: "symlink", value, reason });
  }

  /** `entry`: where the item at hand is kept; without one the list is that of the innermost open directory. */
  #xattrs(bytes: Buffer, view: DataView, start: number, end: number, entry: number | undefined): void {
    const { maxXattrValueBytes } = this.#limits;
    const problems = this.#knownLists.get(keyOf(xattrNames(bytes, view, start, end)));
    for (let at = start, i = 0; at < end; i++) {
      const value = at + XATTR_HEAD_BYTES + view.getUint16(at);
      const size = view.getUint32(at + 2);
      const next = value + size;
      const tooLong = `it has ${size} bytes, ${maxXattrValueBytes} are possible`;
      const reason = problems?.get(i) ?? (size > maxXattrValueBytes ? tooLong : undefined);
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
    const { maxSlicesBytes } = this.#limits;
    for (let at = start; at < end; ) {
      const slices = at + CHUNK_HEAD_BYTES;
      const size = view.getUint32(at + 4);
      const next = slices + size;
      if (size <= maxSlicesBytes) {
        this.#keep(bytes, at, next);
      } else {
        const reason = `it has ${size / SLICE_BYTES} slices, ${Math.floor(maxSlicesBytes / SLICE_BYTES)} are possible`;
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
  #found(bytes: Buffer, entry: number | undefined, value: Found): void {
    const open = this.#directories;
    const own = entry === undefined ? this.#openFile : placeOf(bytes, entry);
    const names = [...open, ...(own === undefined ? [] : [own])].map(({ name }) => name);
    const { inode } = own ?? open[open.length - 1]!;
    this.#onValue({ path: printablePath(names.filter((name) => name !== undefined)), inode, ...value });
  }
}

/** Copies: what they came from moves on. */
function placeOf(bytes: Buffer, at: number): Place {
  const flags = bytes[at + ENTRY_FLAGS]!;
  const name = Buffer.from(bytes.subarray(at + ENTRY_NAME, attributeOffset(bytes, at)));
  const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
  const inTrash = (flags & ENTRY_TRASH_ROOT) !== 0 || isTrashInode(inode);
  return { name: (flags & ENTRY_ROOT) === 0 ? name : inTrash ? TRASH_NAME : undefined, inode };
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

/** Names may have any byte, so each is preceded by its length. */
function keyOf(names: readonly Buffer[]): string {
  return names.map((name) => `${name.length}:${name.toString("latin1")}`).join("");
}

function clearMode(view: DataView, attributes: number, bit: number): void {
  view.setUint16(attributes + ATTR_TYPE_MODE, view.getUint16(attributes + ATTR_TYPE_MODE) & ~bit);
}
