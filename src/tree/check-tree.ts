import { viewOf } from "../base/bytes.ts";
import { ATTR_LENGTH, ATTR_NLINK, ATTR_PARENT, ATTR_TAIL } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import { isTrashInode, ROOT_INODE, TRASH_INODE, TRASH_INODE_HIGH, TRASH_INODE_LOW } from "../volume/inode.ts";
import { printablePath } from "../volume/path.ts";
import type { RecordBatch } from "../volume/records.ts";
import {
  attributeOffset,
  CHUNKS_LIST,
  chunksOffset,
  ENTRY_ATTRIBUTE_SIZE,
  ENTRY_CHUNKS_SIZE,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_MORE_CHUNKS,
  ENTRY_NAME,
  ENTRY_NAME_SIZE,
  ENTRY_NODE_MISSING,
  ENTRY_REPEATED,
  ENTRY_ROOT,
  ENTRY_SYMLINK_SIZE,
  ENTRY_TRASH_ROOT,
  ENTRY_TYPE,
  ENTRY_XATTRS_SIZE,
  ITEM_TAG,
  KEEP_ACL_ID,
  LEAVE_ACCESS_ACL,
  LEAVE_DEFAULT_ACL,
  LEAVE_XATTRS,
  symlinkOffset,
  TREE_CHUNKS,
  TREE_ENTRY,
  xattrsOffset,
} from "../volume/tree-item.ts";
import { CheckFrame } from "./check-frame.ts";
import { hasAclIds, hasBadXattr, type InodeParts, inodeFaults, isBadName, kindsOf } from "./check-inode.ts";
import type { Ledger } from "./check-ledger.ts";
import type { PlaceChecks } from "./check-places.ts";
import type { ProblemKind, ProblemList, ProblemPlace } from "./check-problems.ts";
import type { SliceChecks } from "./check-slices.ts";
import { hashBytes } from "./hash-bytes.ts";
import type { InodeKeys } from "./inode-key.ts";
import { InodeSet } from "./inode-set.ts";

export interface TreeCheckerOptions {
  readonly problems: ProblemList;
  readonly ledger: Ledger;
  readonly keys: InodeKeys;
  /** Whether an ACL rule is there that an inode names. */
  readonly hasAcl: (id: number) => boolean;
  /** Directories for which the ledger wants sums. */
  readonly wantsSums: (bytes: Buffer, at: number) => boolean;
  /**
   * Where all that is known of inodes comes with the tree, as from a JSON dump; undefined where every inode was looked at
   * before, with what belongs to it (check-flat.ts).
   */
  readonly inodes: { readonly slices: SliceChecks; readonly places: PlaceChecks } | undefined;
}

/** A place of a file with several, waiting for the rest of its chunks. */
interface OpenPlace {
  readonly inode: bigint;
  readonly attributeHash: number;
  contentHash: number;
  readonly links: number;
  readonly isSpecial: boolean;
}

/** Checks a tree, entry by entry. */
export class TreeChecker {
  /** Inodes that entries name. */
  readonly seen: InodeSet;
  readonly directorySet: InodeSet;
  readonly counts = { directory: 0, file: 0, symlink: 0, xattr: 0, chunk: 0 };
  /** Inodes but the roots, and their blocks of 4096 bytes. */
  inodes = 0;
  blocks = 0;
  hasTrash = false;
  /** Inode of the first tree's root. */
  rootInode: bigint | undefined;
  largestTrash = 0n;

  readonly #options: TreeCheckerOptions;
  readonly #problems: ProblemList;
  readonly #frames: CheckFrame[] = [];
  readonly #parts: InodeParts;
  #source: DataView = new DataView(new ArrayBuffer(0));
  /** Depth of directories whose content stands elsewhere. */
  #skipping = 0;
  /** The entry at hand is a directory with a frame of its own. */
  #isEntered = false;
  #largestHigh = 0;
  #largestLow = 1;
  #chunksOf: DataView | undefined;
  #openPlace: OpenPlace | undefined;

  constructor(options: TreeCheckerOptions) {
    this.#options = options;
    this.#problems = options.problems;
    this.seen = new InodeSet(options.keys);
    this.directorySet = new InodeSet(options.keys);
    this.#parts = { symlinkSize: 0, hasChunks: false, hasLength: false, mayBeEmpty: false };
  }

  /** Largest inode below the trash, at least that of the root. */
  get largestInode(): bigint {
    return (BigInt(this.#largestHigh) << 32n) | BigInt(this.#largestLow);
  }

  write({ bytes }: RecordBatch): void {
    const source = viewOf(bytes);
    this.#source = source;
    for (let at = 0; at < bytes.length; at += source.getUint32(at)) {
      const tag = source.getUint8(at + ITEM_TAG);
      if (tag === TREE_ENTRY) this.#entry(bytes, at);
      else if (tag === TREE_CHUNKS) this.#continueChunks(bytes, at);
      else this.#leave(bytes, at);
    }
  }

  end(): void {
    this.#closePlace();
  }

  #entry(bytes: Buffer, at: number): void {
    if (this.#openPlace !== undefined) this.#closePlace();
    this.#chunksOf = undefined;
    this.#isEntered = false;
    const flags = bytes[at + ENTRY_FLAGS]!;
    const isDirectory = bytes[at + ENTRY_TYPE] === FileType.directory;
    if (this.#skipping > 0) {
      if (isDirectory) this.#skipping++;
      return;
    }
    if ((flags & ENTRY_ROOT) !== 0) return this.#root(bytes, at);
    const parent = this.#frames[this.#frames.length - 1]!;
    this.#checkPlace(bytes, at, parent, isDirectory);
    if (this.#options.inodes === undefined) {
      const nameEnd = at + ENTRY_NAME + this.#source.getUint16(at + ENTRY_NAME_SIZE);
      if (isBadName(bytes, at + ENTRY_NAME, nameEnd)) this.#report("bad-name", bytes, at);
    }
    if (isDirectory) this.#directory(bytes, at, parent);
    else this.#file(bytes, at, parent);
  }

  #root(bytes: Buffer, at: number): void {
    const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
    const inTrash = (bytes[at + ENTRY_FLAGS]! & ENTRY_TRASH_ROOT) !== 0 || isTrashInode(inode);
    if (inTrash) {
      this.hasTrash = true;
      if (inode !== TRASH_INODE)
        this.#problems.add("root-inode", () => ({ path: "/.trash", detail: `inode ${inode}` }));
    } else {
      this.rootInode = inode;
    }
    const expected = Buffer.alloc(8);
    expected.writeBigUInt64BE(inTrash ? TRASH_INODE : ROOT_INODE);
    // A part of a volume may hold other entries under these numbers only if it is damaged.
    this.seen.add(expected, 0);
    this.directorySet.add(expected, 0);
    this.seen.add(bytes, at + ENTRY_INODE);
    this.directorySet.add(bytes, at + ENTRY_INODE);
    this.counts.directory++;
    this.#enter(bytes, at, undefined, inTrash);
    if (this.#options.inodes !== undefined) this.#inode(bytes, at, FileType.directory, true);
    this.#xattrs(bytes, at, xattrsOffset(bytes, at), chunksOffset(bytes, at));
  }

  #enter(bytes: Buffer, at: number, name: Buffer | undefined, inTrash: boolean): void {
    this.#isEntered = true;
    const isMissing = (bytes[at + ENTRY_FLAGS]! & ENTRY_NODE_MISSING) !== 0;
    const links = isMissing ? undefined : bytes.readUInt32BE(attributeOffset(bytes, at) + ATTR_NLINK);
    this.#frames.push(new CheckFrame(bytes.readBigUInt64BE(at + ENTRY_INODE), name, inTrash, links));
  }

  /** Whether the inode's number may stand here. */
  #checkPlace(bytes: Buffer, at: number, parent: CheckFrame, isDirectory: boolean): void {
    const high = this.#source.getUint32(at + ENTRY_INODE);
    const low = this.#source.getUint32(at + ENTRY_INODE + 4);
    const inTrashRange = high > TRASH_INODE_HIGH || (high === TRASH_INODE_HIGH && low >= TRASH_INODE_LOW);
    if (!inTrashRange) {
      if (high > this.#largestHigh || (high === this.#largestHigh && low > this.#largestLow)) {
        this.#largestHigh = high;
        this.#largestLow = low;
      }
      const isHourDirectory = isDirectory && parent.inTrash && parent.name === undefined;
      if ((high === 0 && low === 0) || isHourDirectory) this.#report("inode-place", bytes, at);
      return;
    }
    const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
    if (!parent.inTrash || inode === TRASH_INODE) this.#report("inode-place", bytes, at);
    else if (inode - TRASH_INODE > this.largestTrash) this.largestTrash = inode - TRASH_INODE;
  }

  #directory(bytes: Buffer, at: number, parent: CheckFrame): void {
    parent.addDirectory();
    if (this.seen.add(bytes, at + ENTRY_INODE) || (bytes[at + ENTRY_FLAGS]! & ENTRY_REPEATED) !== 0) {
      const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
      const isCycle = this.#frames.some((frame) => frame.inode === inode) || inode === ROOT_INODE;
      const isDirectory = this.directorySet.has(bytes, at + ENTRY_INODE);
      this.#report(isCycle ? "directory-cycle" : isDirectory ? "directory-repeated" : "two-types", bytes, at);
      this.#skipping = 1;
      return;
    }
    this.directorySet.add(bytes, at + ENTRY_INODE);
    this.counts.directory++;
    this.inodes++;
    this.blocks++;
    const name = Buffer.from(bytes.subarray(at + ENTRY_NAME, attributeOffset(bytes, at)));
    this.#enter(bytes, at, name, parent.inTrash);
    if (this.#options.inodes !== undefined) this.#inode(bytes, at, FileType.directory, false);
    this.#xattrs(bytes, at, xattrsOffset(bytes, at), chunksOffset(bytes, at));
  }

  #leave(bytes: Buffer, at: number): void {
    if (this.#openPlace !== undefined) this.#closePlace();
    this.#chunksOf = undefined;
    if (this.#skipping > 0) {
      this.#skipping--;
      return;
    }
    const frame = this.#frames.pop()!;
    this.#lateMembers(bytes, at, frame);
    // The trash root and hour directories always have 2 links (docs/spec/json-dump.md §11).
    const isFixed = frame.inTrash && (frame.name === undefined || isTrashInode(frame.inode));
    const links = isFixed ? 2 : 2 + frame.subdirectories;
    if (frame.links !== undefined && frame.links !== links) {
      const detail = `${frame.links} links, ${frame.subdirectories} directories in it`;
      this.#problems.add("link-count", () => ({ path: this.#framePath(frame), detail }));
    }
    frame.addTo(this.#frames[this.#frames.length - 1]);
    const inode = Buffer.alloc(8);
    inode.writeBigUInt64BE(frame.inode);
    if (!this.#options.wantsSums(inode, 0)) return;
    const space = BigInt(frame.belowBlocks) * 4096n;
    // Quotas of directories in the trash count nothing (docs/spec/json-dump.md §11).
    this.#options.ledger.directory(
      frame.statistics(),
      frame.inTrash ? 0n : space,
      frame.inTrash ? 0n : BigInt(frame.belowInodes),
    );
  }

  #lateMembers(bytes: Buffer, at: number, frame: CheckFrame): void {
    for (const offset of [LEAVE_ACCESS_ACL, LEAVE_DEFAULT_ACL]) {
      const id = bytes.readUInt32BE(at + offset);
      if (id !== KEEP_ACL_ID && id !== 0 && !this.#options.hasAcl(id)) {
        this.#problems.add("missing-acl", () => ({ path: this.#framePath(frame) }));
      }
    }
    const end = at + bytes.readUInt32BE(at);
    if (end > at + LEAVE_XATTRS) this.#countXattrs(at + LEAVE_XATTRS, end);
    if (hasBadXattr(this.#source, at + LEAVE_XATTRS, end)) {
      this.#problems.add("bad-xattr", () => ({ path: this.#framePath(frame) }));
    }
  }

  #file(bytes: Buffer, at: number, parent: CheckFrame): void {
    const source = this.#source;
    const type = source.getUint8(at + ENTRY_TYPE);
    const repeated = this.seen.add(bytes, at + ENTRY_INODE);
    this.counts.file++;
    if (type === FileType.symlink && source.getUint32(at + ENTRY_SYMLINK_SIZE) > 0) this.counts.symlink++;
    if (repeated && this.directorySet.has(bytes, at + ENTRY_INODE)) {
      this.#report("two-types", bytes, at);
      return;
    }
    const attribute = at + ENTRY_NAME + source.getUint16(at + ENTRY_NAME_SIZE);
    const size = source.getUint16(at + ENTRY_ATTRIBUTE_SIZE);
    const blocks = size === 0 ? parent.addFile(NO_ATTRIBUTE, 0, 0) : parent.addFile(source, attribute, type);
    if (!repeated) {
      this.inodes++;
      this.blocks += blocks;
    }
    const attributeEnd = attribute + size;
    const xattrs = attributeEnd + source.getUint32(at + ENTRY_SYMLINK_SIZE);
    const chunks = xattrs + source.getUint32(at + ENTRY_XATTRS_SIZE);
    if (chunks > xattrs) this.#xattrs(bytes, at, xattrs, chunks);
    const { inodes } = this.#options;
    if (inodes === undefined) {
      this.#countChunks(chunks, at + source.getUint32(at));
      return;
    }
    const links = source.getUint32(attribute + ATTR_NLINK);
    if (repeated || links !== 1) this.#place(bytes, at, type, attribute, attributeEnd);
    if (!repeated) this.#inode(bytes, at, type, false);
    this.#chunks(chunks, at + source.getUint32(at), repeated ? undefined : source, at + ENTRY_INODE);
    if ((source.getUint8(at + ENTRY_FLAGS) & ENTRY_MORE_CHUNKS) !== 0 && !repeated) {
      this.#chunksOf = viewOf(Buffer.from(bytes.subarray(at + ENTRY_INODE, at + ENTRY_INODE + 8)));
    }
  }

  /** What an inode is by itself. */
  #inode(bytes: Buffer, at: number, type: number, isRoot: boolean): void {
    const source = this.#source;
    const attribute = at + ENTRY_NAME + source.getUint16(at + ENTRY_NAME_SIZE);
    const size = source.getUint16(at + ENTRY_ATTRIBUTE_SIZE);
    const parts = this.#parts;
    parts.symlinkSize = source.getUint32(at + ENTRY_SYMLINK_SIZE);
    parts.hasChunks = source.getUint32(at + ENTRY_CHUNKS_SIZE) > 0;
    parts.mayBeEmpty = isRoot;
    const faults = inodeFaults(source, attribute, size, type, parts);
    if (faults !== 0) for (const kind of kindsOf(faults)) this.#report(kind, bytes, at);
    if (!hasAclIds(size)) return;
    for (const offset of [ATTR_TAIL, ATTR_TAIL + 4]) {
      const id = source.getUint32(attribute + offset);
      if (id !== 0 && !this.#options.hasAcl(id)) this.#report("missing-acl", bytes, at);
    }
  }

  #xattrs(bytes: Buffer, at: number, start: number, end: number): void {
    if (end === start) return;
    this.#countXattrs(start, end);
    if (hasBadXattr(this.#source, start, end)) this.#report("bad-xattr", bytes, at);
  }

  #countXattrs(start: number, end: number): void {
    const source = this.#source;
    for (let at = start; at < end; at += 6 + source.getUint16(at) + source.getUint32(at + 2)) this.counts.xattr++;
  }

  #countChunks(start: number, end: number): void {
    this.#chunks(start, end, undefined, 0);
  }

  /** Counts chunks, and checks the slices of those whose inode is given. */
  #chunks(start: number, end: number, inode: DataView | undefined, inodeAt: number): void {
    const source = this.#source;
    const slices = this.#options.inodes?.slices;
    for (let at = start; at < end; ) {
      const next = at + 8 + source.getUint32(at + 4);
      this.counts.chunk++;
      if (inode !== undefined) slices?.addUses(source, at + 8, next, inode, inodeAt);
      at = next;
    }
  }

  #continueChunks(bytes: Buffer, at: number): void {
    const end = at + bytes.readUInt32BE(at);
    if (this.#skipping > 0) return;
    if (this.#openPlace !== undefined) {
      this.#openPlace.contentHash = hashBytes(this.#openPlace.contentHash, bytes, at + CHUNKS_LIST, end);
    }
    this.#chunks(at + CHUNKS_LIST, end, this.#chunksOf, 0);
  }

  /** A file that has, or says it has, more than one place. */
  #place(bytes: Buffer, at: number, type: number, attribute: number, attributeEnd: number): void {
    const links = bytes.readUInt32BE(attribute + ATTR_NLINK);
    const contents = symlinkOffset(bytes, at);
    const head = hashBytes(0x9747_b28c, bytes, attribute, attribute + ATTR_PARENT);
    this.#openPlace = {
      inode: bytes.readBigUInt64BE(at + ENTRY_INODE),
      attributeHash: hashBytes(head, bytes, attribute + ATTR_TAIL, attributeEnd),
      contentHash: hashBytes(0, bytes, contents, at + bytes.readUInt32BE(at)),
      links,
      isSpecial: type !== FileType.regular,
    };
    // The rest of a long list of chunks is only looked at for its hash.
    if ((bytes[at + ENTRY_FLAGS]! & ENTRY_MORE_CHUNKS) === 0) this.#closePlace();
  }

  #closePlace(): void {
    const place = this.#openPlace;
    this.#openPlace = undefined;
    if (place !== undefined) this.#options.inodes?.places.add(place);
  }

  #report(kind: ProblemKind, bytes: Buffer, at: number): void {
    this.#problems.add(kind, () => this.#where(bytes, at));
  }

  #where(bytes: Buffer, at: number): ProblemPlace {
    const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
    if ((bytes[at + ENTRY_FLAGS]! & ENTRY_ROOT) !== 0) return { path: isTrashInode(inode) ? "/.trash" : "/" };
    const name = bytes.subarray(at + ENTRY_NAME, attributeOffset(bytes, at));
    const above = this.#isEntered ? this.#frames.slice(0, -1) : this.#frames;
    return { path: pathOf(above, name), inode };
  }

  #framePath(frame: CheckFrame): string {
    return pathOf([...this.#frames, frame], undefined);
  }
}

function pathOf(frames: readonly CheckFrame[], last: Buffer | undefined): string {
  const names = frames.map((frame) => frame.name ?? (frame.inTrash ? TRASH_NAME : undefined));
  return printablePath([...names, last].filter((name) => name !== undefined));
}

const TRASH_NAME = Buffer.from(".trash");
const NO_ATTRIBUTE = new DataView(new ArrayBuffer(ATTR_LENGTH + 8));
