import { printableName } from "../volume/path.ts";

/** What is noted about inodes, by name: the kinds of `TreeFindings.examples` and of its listener. */
export type TreeFindingKind =
  | "duplicate-differs"
  | "damaged-node"
  | "node-without-entry"
  | "remains"
  | "unreachable-directory"
  | "rebuilt-node"
  | "placed-inode"
  | "unplaced-inode"
  | "entry-left-out"
  | "directory-repeated";

export interface TreeFindingsOptions {
  /** Told of every single finding, also of those that are only counted or beyond the first few. `detail`: words for people. */
  readonly onEach?: (kind: TreeFindingKind, inode: bigint, detail: string) => void;
}

/** A directory entry. */
export interface FoundEntry {
  readonly parent: bigint;
  readonly name: Buffer;
}

/**
 * What bringing records into tree order noticed about the volume. Paths are not known while records are joined; entries
 * that are part of the tree are reported while it is walked.
 */
export class TreeFindings {
  /** Records of one kind that came twice, byte for byte, and those that differed from the one that was kept. */
  readonly duplicates: Map<string, number> = new Map();
  readonly differing: Map<string, number> = new Map();
  /** Attribute records too short to be read. */
  damagedNodes = 0;
  /** Inodes with an attribute record that no directory entry names: open or detached ones, or lost. */
  nodesWithoutEntry = 0;
  /**
   * Inodes of which only chunks, xattrs or a symlink target are left: files that wait for deletion, or remains. When something is
   * salvaged, without the files that wait for deletion, and with `lostFound` without what was given a place: then they are lost.
   */
  remains = 0;
  /** Directories with entries that cannot be reached from a root, and their entries. */
  unreachableDirectories = 0;
  unreachableEntries = 0;
  /** Inodes without a readable record whose attributes were rebuilt from what else there is of them. A loss. */
  rebuiltNodes = 0;
  /** Inodes that no root reached, now in `lost+found` under another name; what is below them is not counted. A loss. */
  placedInodes = 0;
  /** Inodes that could have no place: their numbers are those of no file. A loss. */
  unplacedInodes = 0;
  /** Entries that cannot stand where they are, of inodes that have, or were given, another place. A loss. */
  entriesLeftOut = 0;
  /** Entries of directories that have another place, where they were kept: of circles too. Only when something is salvaged. A loss. */
  repeatedDirectories = 0;
  /** The directory in which inodes were placed, below the first root. */
  lostFound: { readonly inode: bigint; readonly name: string } | undefined;
  /** First few inodes of each kind. */
  readonly examples: Map<string, bigint[]> = new Map();
  readonly #onEach: TreeFindingsOptions["onEach"];

  constructor({ onEach }: TreeFindingsOptions = {}) {
    this.#onEach = onEach;
  }

  /** `inode`: 8 bytes at `at`, that the record is about; for an entry, of the one that was left out. */
  duplicate(kind: string, isSame: boolean, inode: Buffer, at: number, entry?: () => FoundEntry): void {
    const counts = isSame ? this.duplicates : this.differing;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    if (isSame || this.#onEach === undefined) return;
    this.#onEach("duplicate-differs", inode.readBigUInt64BE(at), entry === undefined ? kind : entryText(entry()));
  }

  damagedNode(inode: Buffer): void {
    this.damagedNodes++;
    this.#note("damaged-node", inode.readBigUInt64BE(0), () => "its record is too short to be read");
  }

  withoutEntry(inode: Buffer, hasNode: boolean): void {
    if (hasNode) this.nodesWithoutEntry++;
    else this.remains++;
    const kind = hasNode ? "node-without-entry" : "remains";
    this.#note(kind, inode.readBigUInt64BE(0), () => (hasNode ? "no entry names it" : "neither record nor entry"));
  }

  unreachable(directory: bigint, entries: number): void {
    this.unreachableDirectories++;
    this.unreachableEntries += entries;
    this.#note("unreachable-directory", directory, () => `${entries} entries`);
  }

  /** `what`: the type and the length that were given to the inode. */
  rebuilt(inode: bigint, what: () => string): void {
    this.rebuiltNodes++;
    this.#note("rebuilt-node", inode, what);
  }

  placed(inode: bigint, path: () => string): void {
    this.placedInodes++;
    this.#note("placed-inode", inode, path);
  }

  unplaced(inode: bigint): void {
    this.unplacedInodes++;
    this.#note("unplaced-inode", inode, () => "no file can have this number");
  }

  leftOut(inode: bigint, entry: () => FoundEntry): void {
    this.entriesLeftOut++;
    this.#note("entry-left-out", inode, () => entryText(entry()));
  }

  repeated(directory: bigint, name: () => Buffer): void {
    this.repeatedDirectories++;
    this.#note("directory-repeated", directory, () => `left out as ${printableName(name())}`);
  }

  #note(kind: TreeFindingKind, inode: bigint, detail: () => string): void {
    const known = this.examples.get(kind);
    if (known === undefined) this.examples.set(kind, [inode]);
    else if (known.length < 5) known.push(inode);
    this.#onEach?.(kind, inode, detail());
  }
}

function entryText({ parent, name }: FoundEntry): string {
  return `${printableName(name)} in directory ${parent}`;
}
