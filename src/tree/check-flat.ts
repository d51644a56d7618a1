import { ATTR_NLINK, ATTR_PARENT, ATTR_TAIL, ATTR_TYPE_MODE } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import { isTrashInode, ROOT_INODE, TRASH_INODE } from "../volume/inode.ts";
import { blocksOf } from "./check-frame.ts";
import { hasAclIds, type InodeParts, inodeFaults, kindsOf } from "./check-inode.ts";
import type { Ledger } from "./check-ledger.ts";
import { linkProblem } from "./check-places.ts";
import type { ProblemKind, ProblemList } from "./check-problems.ts";
import type { InodeKeys } from "./inode-key.ts";
import type { InodeObserver, JoinedInode } from "./inode-observer.ts";
import { InodeSet } from "./inode-set.ts";
import { ROOTS_PARENT } from "./tree-order.ts";

export interface FlatCheckOptions {
  readonly problems: ProblemList;
  readonly ledger: Ledger;
  readonly keys: InodeKeys;
  readonly hasAcl: (id: number) => boolean;
  readonly isSustained: (bytes: Buffer) => boolean;
  readonly waitsForDeletion: (bytes: Buffer) => boolean;
  /** Called after the walk, when everything is known; true when paths are wanted. */
  readonly finish: () => boolean;
}

/** Detached directories whose content is told from what is lost; more of them are damage. */
const MAX_DETACHED = 100_000;

/** Checks every inode of flat records with all that belongs to it, whether a tree reaches it or not. */
export class FlatChecks implements InodeObserver {
  /** Inodes with a record, and those that are directories. */
  readonly nodes: InodeSet;
  readonly directorySet: InodeSet;
  /** Inodes with a record but the roots, and their blocks of 4096 bytes. */
  inodes = 0;
  blocks = 0;
  hasTrashRoot = false;
  /** Of all inodes below the trash, and of those in it. */
  largestInode = 1n;
  largestTrash = 0n;
  readonly #options: FlatCheckOptions;
  readonly #problems: ProblemList;
  readonly #detached: bigint[] = [];
  readonly #parts: InodeParts = { symlinkSize: 0, hasChunks: false, hasLength: true, mayBeEmpty: false };
  /** Of the inode at hand: entries, directory of the last of them, whether one is where its record says, and a root. */
  #entries = 0;
  #parent = 0n;
  #isAtParent = false;
  #isRoot = false;

  constructor(options: FlatCheckOptions) {
    this.#options = options;
    this.#problems = options.problems;
    this.nodes = new InodeSet(options.keys);
    this.directorySet = new InodeSet(options.keys);
  }

  entry(joined: JoinedInode, edge: DataView, at: number): void {
    const parent = edge.getBigUint64(at);
    if (parent === ROOTS_PARENT) {
      this.#isRoot = true;
      return;
    }
    this.#entries++;
    this.#parent = parent;
    if (joined.attributeSize === 0) return;
    if (parent === parentOf(joined)) this.#isAtParent = true;
    const type = joined.attribute.getUint8(ATTR_TYPE_MODE) >> 4;
    if (type !== edge.getUint8(at + 16)) {
      const detail = `type ${edge.getUint8(at + 16)} in directory ${parent}, ${type} by its record`;
      this.#report("entry-type", joined, detail);
    }
    if (type !== FileType.directory && parentOf(joined) === 0n) {
      this.#options.ledger.place(joined.inode.readBigUInt64BE(0), parent);
    }
  }

  inode(joined: JoinedInode): void {
    if (joined.attributeSize > 0) this.#node(joined);
    else this.#remains(joined);
    this.#entries = 0;
    this.#isRoot = false;
    this.#isAtParent = false;
  }

  #node(joined: JoinedInode): void {
    const { attribute, attributeSize } = joined;
    const type = attribute.getUint8(ATTR_TYPE_MODE) >> 4;
    this.nodes.add(joined.inode, 0);
    if (type === FileType.directory) this.directorySet.add(joined.inode, 0);
    this.#noteNumber(joined.inode.readBigUInt64BE(0));
    if (this.#isRoot) {
      if (joined.inode.readBigUInt64BE(0) === TRASH_INODE) this.hasTrashRoot = true;
      if (type !== FileType.directory) this.#report("missing-root", joined, "it is no directory");
    } else {
      this.inodes++;
      this.blocks += blocksOf(attribute, 0, type);
    }
    const parts = this.#parts;
    parts.symlinkSize = joined.symlinkSize;
    parts.hasChunks = joined.hasChunks;
    parts.mayBeEmpty = this.#isRoot;
    const faults = inodeFaults(attribute, 0, attributeSize, type, parts);
    if (faults !== 0) for (const kind of kindsOf(faults)) this.#report(kind, joined);
    if (hasAclIds(attributeSize)) this.#acls(joined);
    if (type === FileType.directory) this.#directory(joined);
    else this.#file(joined, type);
  }

  #noteNumber(inode: bigint): void {
    if (isTrashInode(inode)) {
      if (inode - TRASH_INODE > this.largestTrash) this.largestTrash = inode - TRASH_INODE;
    } else if (inode > this.largestInode) {
      this.largestInode = inode;
    }
  }

  #acls({ inode, attribute }: JoinedInode): void {
    for (const at of [ATTR_TAIL, ATTR_TAIL + 4]) {
      const id = attribute.getUint32(at);
      if (id === 0 || this.#options.hasAcl(id)) continue;
      this.#problems.add("missing-acl", () => ({ inode: inode.readBigUInt64BE(0), detail: `rule ${id}` }));
    }
  }

  #directory(joined: JoinedInode): void {
    if (this.#isRoot) {
      if (this.#entries > 0) this.#report("directory-repeated", joined);
      return;
    }
    const inode = joined.inode.readBigUInt64BE(0);
    const parent = parentOf(joined);
    if (this.#entries === 1) {
      if (!this.#isAtParent) this.#wrongParent(joined, parent);
    } else if (this.#entries > 1) {
      this.#report("directory-repeated", joined);
    } else {
      // The top of a directory that is being cloned (docs/spec/sql.md §13): a lost entry shows at its parent's link count, but
      // not in the trash, where there are no clones.
      const isInTrash = isTrashInode(inode) || isTrashInode(parent);
      this.#report(isInTrash ? "directory-without-entry" : "detached-directory", joined);
      if (this.#detached.length < MAX_DETACHED) this.#detached.push(inode);
    }
  }

  #file(joined: JoinedInode, type: number): void {
    const links = joined.attribute.getUint32(ATTR_NLINK);
    const entries = this.#entries;
    const parent = parentOf(joined);
    if (entries === 0) {
      if (links > 0) this.#report("file-without-entry", joined, `${links} links`);
      else if (!this.#options.isSustained(joined.inode)) this.#report("unlinked-without-session", joined);
      return;
    }
    if (links !== entries) {
      const mayBeClone = type !== FileType.regular && parent !== 0n;
      const inode = joined.inode.readBigUInt64BE(0);
      linkProblem(this.#problems, { inode, links, found: entries, mayBeClone });
    }
    // Old clients left the first parent in the record when a file got a second place.
    if (parent !== 0n && !this.#isAtParent) this.#wrongParent(joined, parent);
  }

  #wrongParent(joined: JoinedInode, parent: bigint): void {
    this.#report("wrong-parent", joined, `directory ${parent}, its entry stands in directory ${this.#parent}`);
  }

  /** An inode without a record: its entries, or what is left of a deleted file. */
  #remains(joined: JoinedInode): void {
    const inode = joined.inode.readBigUInt64BE(0);
    this.#noteNumber(inode);
    if (this.#isRoot && inode === ROOT_INODE) this.#report("missing-root", joined);
    if (this.#entries > 0) this.#report("missing-node", joined);
    if (this.#isRoot || this.#entries > 0) return;
    const mayHaveChunks = this.#options.waitsForDeletion(joined.inode);
    if (joined.symlinkSize > 0 || joined.hasXattrs || (joined.hasChunks && !mayHaveChunks)) {
      this.#report("record-without-inode", joined);
    }
  }

  duplicate(kind: string, inode: Buffer): void {
    const number = inode.readBigUInt64BE(0);
    if (kind === "edge") this.#problems.add("duplicate-name", () => ({ inode: number }));
    else this.#problems.add("duplicate-record", () => ({ inode: number, detail: kind }));
  }

  notMet(inode: Buffer, entries: number): void {
    const kind = this.isDirectory(inode) ? "unreachable-directory" : "missing-directory";
    const number = inode.readBigUInt64BE(0);
    this.#problems.add(kind, () => ({ inode: number, detail: `${entries} entries` }));
  }

  detachedDirectories(): Iterable<bigint> {
    return this.#detached;
  }

  isDirectory(inode: Buffer): boolean {
    return this.directorySet.has(inode, 0);
  }

  wantsAnotherWalk(): boolean {
    return this.#options.finish();
  }

  #report(kind: ProblemKind, { inode }: JoinedInode, detail?: string): void {
    this.#problems.add(kind, () => ({
      inode: inode.readBigUInt64BE(0),
      ...(detail === undefined ? {} : { detail }),
    }));
  }
}

/** Parent by the inode's record; 0 = open, as in records of old clients, which end before it. */
function parentOf({ attribute, attributeSize }: JoinedInode): bigint {
  return attributeSize >= ATTR_TAIL ? attribute.getBigUint64(ATTR_PARENT) : 0n;
}
