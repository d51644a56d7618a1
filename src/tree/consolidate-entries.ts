import { copyBytes, viewOf } from "../base/bytes.ts";
import { DataError } from "../base/errors.ts";
import {
  ATTR_BASE_BYTES,
  ATTR_GID,
  ATTR_LENGTH,
  ATTR_MAX_BYTES,
  ATTR_MTIME,
  ATTR_NLINK,
  ATTR_PARENT,
  ATTR_TAIL,
  ATTR_UID,
  decodeAttribute,
  encodeAttribute,
  newDirectoryAttribute,
} from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import type { FindingList } from "../volume/findings.ts";
import { isTrashInode, ROOT_INODE, TRASH_INODE, TRASH_INODE_HIGH } from "../volume/inode.ts";
import { printablePath } from "../volume/path.ts";
import type { RecordBatch } from "../volume/records.ts";
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
  ENTRY_NODE_MISSING,
  ENTRY_REPEATED,
  ENTRY_ROOT,
  ENTRY_SYMLINK_SIZE,
  ENTRY_TRASH_ROOT,
  ENTRY_TYPE,
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
import { AclTable } from "./acl-table.ts";
import { DirectoryFrame } from "./directory-frame.ts";
import type { FlatWriter } from "./flat-writer.ts";
import { hashBytes } from "./hash-bytes.ts";
import { InodeKeys } from "./inode-key.ts";
import { InodeSet } from "./inode-set.ts";
import { hashAttribute, type LinkCounts, type LinkTable, putLinkCount } from "./link-table.ts";
import { OwnerUsage } from "./owner-usage.ts";
import type { QuotaUsage } from "./quota-usage.ts";
import { newTrashRootAttribute } from "./trash-root.ts";

export interface EntryConsolidatorOptions {
  readonly writer: FlatWriter;
  readonly findings: FindingList;
  readonly links: LinkTable;
  readonly linkCounts: LinkCounts;
  readonly quotas: QuotaUsage;
}

/** A place of a file with several, waiting for the rest of its chunks. */
interface OpenPlace {
  readonly inode: Buffer;
  readonly parent: bigint;
  readonly attributeHash: number;
  contentHash: number;
  readonly sourceLinks: number;
  readonly attribute: Buffer | undefined;
}

/** Entry by entry: tree items in, flat records and sums out. */
export class EntryConsolidator {
  readonly acls: AclTable = new AclTable();
  readonly treeUsage: OwnerUsage = new OwnerUsage();
  readonly trashUsage: OwnerUsage = new OwnerUsage();
  entries = 0;
  directories = 0;
  hasTrash = false;
  largestTrash = 0n;

  readonly #options: EntryConsolidatorOptions;
  readonly #keys: InodeKeys = new InodeKeys();
  readonly #seen: InodeSet = new InodeSet(this.#keys);
  readonly #directories: InodeSet = new InodeSet(this.#keys);
  readonly #frames: DirectoryFrame[] = [];
  /** The batch at hand, for numbers. */
  #source: DataView = new DataView(new ArrayBuffer(0));
  /** Depth of directories that are being left out. */
  #skipping = 0;
  #usedBlocks = 0;
  #rootSeconds = 0n;
  #totalInodes = 0;
  #largestHigh = 0;
  #largestLow = 1;
  /** Whose chunks the next item may continue; undefined when they are not wanted. */
  #chunksOf: DataView | undefined;
  #openPlace: OpenPlace | undefined;

  constructor(options: EntryConsolidatorOptions) {
    this.#options = options;
  }

  get usedSpace(): bigint {
    return BigInt(this.#usedBlocks) * 4096n;
  }

  get totalInodes(): bigint {
    return BigInt(this.#totalInodes);
  }

  /** Largest inode below the trash, at least that of the root. */
  get largestInode(): bigint {
    return (BigInt(this.#largestHigh) << 32n) | BigInt(this.#largestLow);
  }

  /** Whether an entry names the inode whose big-endian bytes begin at `at`. */
  has(bytes: Buffer, at: number): boolean {
    return this.#seen.has(bytes, at);
  }

  write(batch: RecordBatch): void {
    const { bytes } = batch;
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
    const isDirectory = bytes[at + ENTRY_TYPE] === FileType.directory;
    if (this.#skipping > 0) {
      if (isDirectory) this.#skipping++;
      return;
    }
    if ((bytes[at + ENTRY_FLAGS]! & ENTRY_ROOT) !== 0) return this.#root(bytes, at);
    const parent = this.#frames[this.#frames.length - 1]!;
    this.#checkInode(bytes, at, parent);
    this.entries++;
    if (isDirectory) this.#directory(bytes, at, parent);
    else this.#file(bytes, at, parent);
  }

  #root(bytes: Buffer, at: number): void {
    const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
    const inTrash = this.#isTrashRoot(bytes, at);
    const expected = inTrash ? TRASH_INODE : ROOT_INODE;
    const findings = this.#options.findings;
    if (bytes[at + ENTRY_TYPE] !== FileType.directory) {
      throw this.#damage(bytes, at, "The root of the tree is not a directory");
    }
    if (inTrash && isRounded(inode)) {
      throw this.#damage(
        bytes,
        at,
        `The numbers of this dump were rounded: the trash has inode ${inode}, not ${TRASH_INODE}`,
      );
    }
    if (inode !== expected) findings.add(inTrash ? "trash-renumbered" : "root-renumbered", () => `inode ${inode}`);
    if (inTrash) this.hasTrash = true;
    const inodeBytes = Buffer.alloc(8);
    inodeBytes.writeBigUInt64BE(expected);
    this.#seen.add(inodeBytes, 0);
    this.#directories.add(inodeBytes, 0);
    this.directories++;
    const attribute = this.#rootAttribute(bytes, at, inTrash);
    if (!inTrash) this.#rootSeconds = attribute.readBigInt64BE(ATTR_MTIME);
    const frame = new DirectoryFrame(inodeBytes, undefined, attribute, inTrash);
    this.#frames.push(frame);
    this.#options.writer.xattrs(this.#source, xattrsOffset(bytes, at), chunksOffset(bytes, at), frame.inodeView, 0);
  }

  /** Volumes that never had a trash have no record of its root: that is no damage. */
  #rootAttribute(bytes: Buffer, at: number, inTrash: boolean): Buffer {
    if (!inTrash || (bytes[at + ENTRY_FLAGS]! & ENTRY_NODE_MISSING) === 0) return this.#attribute(bytes, at);
    return this.newTrashRoot();
  }

  /** The attributes of a trash root that the source does not have: as old as the last change of the root. */
  newTrashRoot(): Buffer {
    this.#options.findings.add("trash-created");
    return newTrashRootAttribute(this.#rootSeconds);
  }

  #isTrashRoot(bytes: Buffer, at: number): boolean {
    const marked = (bytes[at + ENTRY_FLAGS]! & ENTRY_TRASH_ROOT) !== 0;
    return marked || isTrashInode(bytes.readBigUInt64BE(at + ENTRY_INODE));
  }

  /** The attribute record in canonical length, to be changed freely. */
  #attribute(bytes: Buffer, at: number): Buffer {
    const start = attributeOffset(bytes, at);
    const size = symlinkOffset(bytes, at) - start;
    if ((bytes[at + ENTRY_FLAGS]! & ENTRY_NODE_MISSING) !== 0) {
      this.#options.findings.add("missing-node", () => this.#path(bytes, at));
      const type = bytes[at + ENTRY_TYPE]!;
      return encodeAttribute({
        ...newDirectoryAttribute(0, 0n),
        type,
        nlink: type === FileType.directory ? 2 : 1,
        length: 0n,
      });
    }
    return isCanonical(size)
      ? Buffer.from(bytes.subarray(start, start + size))
      : encodeAttribute(decodeAttribute(bytes, start, start + size));
  }

  /** The same for a file, in a buffer that the next file uses again. */
  #fileAttribute(bytes: Buffer, at: number): DataView {
    const source = this.#source;
    const start = at + ENTRY_NAME + source.getUint16(at + ENTRY_NAME_SIZE);
    const size = source.getUint16(at + ENTRY_ATTRIBUTE_SIZE);
    if (!isCanonical(size)) return viewOf(this.#attribute(bytes, at));
    const scratch = this.#scratch[size - ATTR_BASE_BYTES]!;
    copyBytes(source, start, start + size, scratch, 0);
    return scratch;
  }

  readonly #scratch: readonly DataView[] = Array.from({ length: ATTR_MAX_BYTES - ATTR_BASE_BYTES + 1 }, (_, i) =>
    viewOf(new Uint8Array(ATTR_BASE_BYTES + i)),
  );

  #checkInode(bytes: Buffer, at: number, parent: DirectoryFrame): void {
    const high = this.#source.getUint32(at + ENTRY_INODE);
    const low = this.#source.getUint32(at + ENTRY_INODE + 4);
    if (high === 0 && low <= 1 && (bytes[at + ENTRY_FLAGS]! & ENTRY_REPEATED) === 0) {
      throw this.#damage(bytes, at, `Inode ${low} cannot stand below the root`);
    }
    const inTrashRange = high >= TRASH_INODE_HIGH && isTrashInode(bytes.readBigUInt64BE(at + ENTRY_INODE));
    if (!inTrashRange) {
      if (high > this.#largestHigh || (high === this.#largestHigh && low > this.#largestLow)) {
        this.#largestHigh = high;
        this.#largestLow = low;
      }
      return;
    }
    const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
    if (!parent.inTrash || inode === TRASH_INODE) {
      throw this.#damage(bytes, at, `Inode ${inode} belongs to the trash and cannot stand here`);
    } else if (inode - TRASH_INODE > this.largestTrash) {
      this.largestTrash = inode - TRASH_INODE;
    }
  }

  #directory(bytes: Buffer, at: number, parent: DirectoryFrame): void {
    if (this.#seen.add(bytes, at + ENTRY_INODE)) {
      if (!this.#directories.has(bytes, at + ENTRY_INODE)) throw this.#twoTypes(bytes, at);
      this.#options.findings.add("directory-repeated", () => this.#path(bytes, at));
      this.#skipping = 1;
      return;
    }
    this.#directories.add(bytes, at + ENTRY_INODE);
    this.directories++;
    this.#options.writer.edge(parent.inodeView, this.#source, at, FileType.directory);
    parent.addDirectory();
    this.#usedBlocks++;
    this.#totalInodes++;
    const inode = Buffer.from(bytes.subarray(at + ENTRY_INODE, at + ENTRY_INODE + 8));
    const name = Buffer.from(bytes.subarray(at + ENTRY_NAME, attributeOffset(bytes, at)));
    const frame = new DirectoryFrame(inode, name, this.#attribute(bytes, at), parent.inTrash);
    this.#usage(parent).add(frame.attribute.readUInt32BE(ATTR_UID), frame.attribute.readUInt32BE(ATTR_GID), 1, 1);
    this.#frames.push(frame);
    this.#options.writer.xattrs(this.#source, xattrsOffset(bytes, at), chunksOffset(bytes, at), frame.inodeView, 0);
  }

  #leave(bytes: Buffer, at: number): void {
    if (this.#openPlace !== undefined) this.#closePlace();
    this.#chunksOf = undefined;
    if (this.#skipping > 0) {
      this.#skipping--;
      return;
    }
    const frame = this.#frames.pop()!;
    const parent = this.#frames[this.#frames.length - 1];
    this.#lateMembers(bytes, at, frame);
    // Trash root and hour directories always have 2 links, whatever is in them (docs/spec/json-dump.md §11).
    const fixed = frame.inTrash && (frame.isRoot || isTrashInode(frame.inode.readBigUInt64BE(0)));
    const links = fixed ? 2 : 2 + frame.subdirectories;
    const attribute = frame.attribute;
    const { findings, linkCounts } = this.#options;
    putLinkCount(attribute, links, linkCounts, findings, () => printablePath(this.#names(frame.name)));
    attribute.writeBigUInt64BE(4096n, ATTR_LENGTH);
    attribute.writeBigUInt64BE(parent === undefined ? 1n : parent.inode.readBigUInt64BE(0), ATTR_PARENT);
    const renumbered = this.#renumberAcls(attribute, () => printablePath(this.#names(frame.name)));
    this.#options.writer.node(frame.inodeView, 0, viewOf(renumbered));
    this.#options.writer.dirStat(frame.statistics());
    frame.addTo(parent);
    this.#options.quotas.account(frame.inode.readBigUInt64BE(0), frame.inTrash ? NOTHING : frame.below);
  }

  #lateMembers(bytes: Buffer, at: number, frame: DirectoryFrame): void {
    const accessAclId = bytes.readUInt32BE(at + LEAVE_ACCESS_ACL);
    const defaultAclId = bytes.readUInt32BE(at + LEAVE_DEFAULT_ACL);
    if (accessAclId !== KEEP_ACL_ID || defaultAclId !== KEEP_ACL_ID) {
      const attribute = decodeAttribute(frame.attribute);
      if (accessAclId !== KEEP_ACL_ID) attribute.accessAclId = accessAclId;
      if (defaultAclId !== KEEP_ACL_ID) attribute.defaultAclId = defaultAclId;
      frame.attribute = encodeAttribute(attribute);
    }
    const end = at + bytes.readUInt32BE(at);
    this.#options.writer.xattrs(this.#source, at + LEAVE_XATTRS, end, frame.inodeView, 0);
  }

  #file(bytes: Buffer, at: number, parent: DirectoryFrame): void {
    const source = this.#source;
    const type = source.getUint8(at + ENTRY_TYPE);
    const inodeAt = at + ENTRY_INODE;
    const repeated = this.#seen.add(bytes, inodeAt);
    if (repeated && this.#directories.has(bytes, inodeAt)) throw this.#twoTypes(bytes, at);
    this.#options.writer.edge(parent.inodeView, source, at, type);
    const attribute = this.#fileAttribute(bytes, at);
    const sourceLinks = attribute.getUint32(ATTR_NLINK);
    const blocks = parent.addFile(attribute, type);
    if (!repeated) {
      this.#usedBlocks += blocks;
      this.#totalInodes++;
      const counted = type === FileType.regular;
      const uid = attribute.getUint32(ATTR_UID);
      this.#usage(parent).add(uid, attribute.getUint32(ATTR_GID), counted ? blocks : 0, counted ? 1 : 0);
    }
    if (type === FileType.symlink) {
      attribute.setBigUint64(ATTR_LENGTH, BigInt(source.getUint32(at + ENTRY_SYMLINK_SIZE)));
    }
    if (repeated || sourceLinks !== 1) {
      this.#place(bytes, at, parent, bufferOf(attribute), repeated);
    } else {
      copyBytes(parent.inodeView, 0, 8, attribute, ATTR_PARENT);
      this.#options.writer.node(source, inodeAt, this.#fileAcls(attribute, bytes, at));
    }
    if (!repeated) this.#contents(bytes, at, type);
  }

  #fileAcls(attribute: DataView, bytes: Buffer, at: number): DataView {
    if (!hasAclIds(attribute.byteLength)) return attribute;
    return viewOf(this.#renumberAcls(bufferOf(attribute), () => this.#path(bytes, at)));
  }

  /** A file that has, or says it has, more than one place: its node record waits until all are known. */
  #place(bytes: Buffer, at: number, parent: DirectoryFrame, attribute: Buffer, repeated: boolean): void {
    const contents = symlinkOffset(bytes, at);
    const sourceLinks = attribute.readUInt32BE(ATTR_NLINK);
    const attributeHash = hashAttribute(attribute);
    const tailHash = hashBytes(attributeHash, attribute, ATTR_TAIL, attribute.length);
    const inode = Buffer.from(bytes.subarray(at + ENTRY_INODE, at + ENTRY_INODE + 8));
    this.#openPlace = {
      inode,
      parent: parent.inode.readBigUInt64BE(0),
      attributeHash,
      contentHash: hashBytes(tailHash, bytes, contents, at + bytes.readUInt32BE(at)),
      sourceLinks,
      attribute: repeated ? undefined : Buffer.from(this.#renumberAcls(attribute, () => this.#path(bytes, at))),
    };
    // The chunks of a later place are only looked at for their hash.
    if ((bytes[at + ENTRY_FLAGS]! & ENTRY_MORE_CHUNKS) === 0) this.#closePlace();
  }

  #closePlace(): void {
    const place = this.#openPlace;
    if (place === undefined) return;
    this.#openPlace = undefined;
    this.#options.links.add({ ...place, inode: place.inode.readBigUInt64BE(0) });
  }

  /** Symlink target, xattrs and chunks: stored once per inode, at its first place. */
  #contents(bytes: Buffer, at: number, type: number): void {
    const { writer } = this.#options;
    const source = this.#source;
    const inodeAt = at + ENTRY_INODE;
    const xattrs = xattrsOffset(bytes, at);
    const chunks = chunksOffset(bytes, at);
    if (type === FileType.symlink) writer.symlink(source, inodeAt, symlinkOffset(bytes, at), xattrs);
    writer.xattrs(source, xattrs, chunks, source, inodeAt);
    writer.chunks(source, chunks, at + source.getUint32(at), source, inodeAt);
    if ((source.getUint8(at + ENTRY_FLAGS) & ENTRY_MORE_CHUNKS) !== 0) {
      this.#chunksOf = viewOf(Buffer.from(bytes.subarray(inodeAt, inodeAt + 8)));
    }
  }

  #continueChunks(bytes: Buffer, at: number): void {
    const end = at + bytes.readUInt32BE(at);
    if (this.#openPlace !== undefined) {
      this.#openPlace.contentHash = hashBytes(this.#openPlace.contentHash, bytes, at + CHUNKS_LIST, end);
    }
    if (this.#chunksOf !== undefined)
      this.#options.writer.chunks(this.#source, at + CHUNKS_LIST, end, this.#chunksOf, 0);
  }

  #renumberAcls(attribute: Buffer, path: () => string): Buffer {
    if (!hasAclIds(attribute.length)) return attribute;
    const ids = [attribute.readUInt32BE(ATTR_TAIL), attribute.readUInt32BE(ATTR_TAIL + 4)];
    const renumbered = ids.map((id) => {
      const assigned = this.acls.assign(id);
      if (assigned === undefined) this.#options.findings.add("missing-acl", path);
      return assigned ?? 0;
    });
    if (renumbered[0] === 0 && renumbered[1] === 0) {
      return encodeAttribute({ ...decodeAttribute(attribute), accessAclId: 0, defaultAclId: 0 });
    }
    attribute.writeUInt32BE(renumbered[0]!, ATTR_TAIL);
    attribute.writeUInt32BE(renumbered[1]!, ATTR_TAIL + 4);
    return attribute;
  }

  #usage(parent: DirectoryFrame): OwnerUsage {
    return parent.inTrash ? this.trashUsage : this.treeUsage;
  }

  #names(last: Buffer | undefined): Buffer[] {
    const names = this.#frames.map((frame) => frame.name ?? (frame.inTrash ? TRASH_NAME : undefined));
    return [...names, last].filter((name) => name !== undefined);
  }

  #path(bytes: Buffer, at: number): string {
    const end = attributeOffset(bytes, at);
    return printablePath(this.#names(bytes.subarray(at + ENTRY_NAME, end)));
  }

  #twoTypes(bytes: Buffer, at: number): DataError {
    return this.#damage(
      bytes,
      at,
      `Inode ${bytes.readBigUInt64BE(at + ENTRY_INODE)} is a directory at one place and a file at another`,
    );
  }

  #damage(bytes: Buffer, at: number, message: string): DataError {
    const path = this.#path(bytes, at);
    return new DataError("DECANT_E_TREE", `${message}: ${path}`, {
      location: { path },
      hint: "The dump cannot be loaded as it is; correct the entry by hand, or use a dump from before the damage",
    });
  }
}

/** Tools that hold numbers as doubles (jq before 1.7) print the trash root's inode with zeros at its end. */
function isRounded(inode: bigint): boolean {
  return inode !== TRASH_INODE && Number(inode) === Number(TRASH_INODE);
}

/** Whether an attribute record has one of the lengths that are written today. */
function isCanonical(size: number): boolean {
  const extra = size - ATTR_BASE_BYTES;
  return extra === 0 || extra === 1 || extra === 8 || extra === 9;
}

function hasAclIds(size: number): boolean {
  return size >= ATTR_TAIL + 8;
}

function bufferOf(view: DataView): Buffer {
  return Buffer.from(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength);
}

const TRASH_NAME = Buffer.from(".trash");
const NOTHING = { blocks: 0, inodes: 0 };
