import { FileType } from "../volume/file-type.ts";
import { isTrashInode, ROOT_INODE, TRASH_INODE, TRASH_INODE_HIGH, TRASH_INODE_LOW } from "../volume/inode.ts";
import { InodeSet } from "./inode-set.ts";
import type { JoinedSink } from "./joined-sink.ts";
import type { SalvageNotes } from "./salvage-notes.ts";
import type { TreeFindings } from "./tree-findings.ts";

export interface JoinSalvageOptions {
  readonly seconds: bigint;
  readonly notes: SalvageNotes;
  readonly findings: TreeFindings;
  /** The parent of the roots in edge records. */
  readonly rootsParent: bigint;
  /** Where inodes go that nothing names; undefined = they are only counted. */
  readonly lostSink: JoinedSink | undefined;
}

/** What salvaging decides while inodes are joined, and keeps of those that have entries for what comes after. */
export class JoinSalvage {
  /** Times of rebuilt attributes. */
  readonly seconds: bigint;
  /** Of the inodes with entries: directories that an entry names, lost ones that were given a name, and what is no directory. */
  readonly named: InodeSet = new InodeSet();
  readonly detached: InodeSet = new InodeSet();
  readonly misused: InodeSet = new InodeSet();
  readonly #options: JoinSalvageOptions;
  readonly #rootsParent: Buffer = Buffer.alloc(8);
  /** The inode of `lost+found`. */
  #lostFound = 0n;

  constructor(options: JoinSalvageOptions) {
    this.#options = options;
    this.#rootsParent.writeBigUInt64BE(options.rootsParent);
    this.seconds = options.seconds;
  }

  /** Call it before inodes are joined. */
  begin(lostFound: bigint): void {
    this.#lostFound = lostFound;
  }

  get lostSink(): JoinedSink {
    return this.#options.lostSink!;
  }

  hasEntries(inode: Buffer): boolean {
    return this.#options.notes.parents.has(inode, 0);
  }

  /** Whether the edge record `edge[at..)` may be: numbers of the trash belong there, and its directories are no others. */
  isPossible(edge: Buffer, at: number, type: number): boolean {
    const high = edge.readUInt32BE(at + 8);
    const low = edge.readUInt32BE(at + 12);
    if (edge.compare(this.#rootsParent, 0, 8, at, at + 8) === 0) return true;
    if (high === 0 && low === 0) return false;
    const isInTrash = isTrashRoot(edge, at);
    if (!isTrashNumber(high, low)) return !(isInTrash && type === FileType.directory);
    return isInTrash && !isTrashRoot(edge, at + 8);
  }

  /** Volumes that never had a trash have no record of its root: that is no damage. */
  isTrashRoot(bytes: Buffer, at: number): boolean {
    return isTrashRoot(bytes, at);
  }

  /** Whether an inode without an entry is lost; notes what becomes of it otherwise. */
  takesLost(inode: Buffer, hasNode: boolean, hasContent: boolean): boolean {
    const { findings, notes, lostSink } = this.#options;
    const isLeftAlone = notes.leftAlone.has(inode, 0);
    const isAnything = hasNode || hasContent || this.hasEntries(inode);
    if (lostSink === undefined || isLeftAlone || !isAnything) {
      if (!isLeftAlone) findings.withoutEntry(inode, hasNode);
      return false;
    }
    const number = inode.readBigUInt64BE(0);
    if (number === ROOT_INODE || number === TRASH_INODE) return false; // a root that is not asked for
    if (isPlaceable(number)) return true;
    findings.unplaced(number);
    return false;
  }

  /** An edge record that names a lost inode. */
  lostEntry(inode: Buffer): Buffer {
    const number = inode.readBigUInt64BE(0);
    const name = lostName(number);
    this.#options.findings.placed(number, () => name.toString());
    const edge = Buffer.alloc(19 + name.length);
    edge.writeBigUInt64BE(this.#lostFound, 0);
    inode.copy(edge, 8);
    edge.writeUInt16BE(name.length, 17);
    name.copy(edge, 19);
    return edge;
  }

  /** The end of an inode. `isDirectory`: one that an entry names, a new one too when it is lost. */
  joined(inode: Buffer, isDirectory: boolean, isLost: boolean): void {
    if (this.#options.lostSink === undefined || !this.hasEntries(inode)) return;
    if (!isDirectory) this.misused.add(inode, 0);
    else if (isLost) this.detached.add(inode, 0);
    else this.named.add(inode, 0);
  }
}

/** Whether an inode may have a place outside of the trash. */
export function isPlaceable(inode: bigint): boolean {
  return inode > ROOT_INODE && !isTrashInode(inode);
}

/** Name of an entry of `lost+found`. */
export function lostName(inode: bigint): Buffer {
  return Buffer.from(`#${inode}`);
}

function isTrashRoot(bytes: Buffer, at: number): boolean {
  return bytes.readUInt32BE(at) === TRASH_INODE_HIGH && bytes.readUInt32BE(at + 4) === TRASH_INODE_LOW;
}

function isTrashNumber(high: number, low: number): boolean {
  return high > TRASH_INODE_HIGH || (high === TRASH_INODE_HIGH && low >= TRASH_INODE_LOW);
}
