/** Something that was put right, left out or noticed, by kind, in words a user understands. */
export interface Finding {
  /** Stable name for programs: `link-count`, `missing-node`, ... listed in docs/json-output.md. */
  readonly kind: string;
  /** One sentence without a number. */
  readonly text: string;
  count: number;
  /** The first few places: printable paths, inodes or keys. */
  readonly examples: string[];
  /** True when something of the volume is missing or changed by it: the command then ends with exit code 3. */
  readonly loss: boolean;
}

/** Names of the kinds. */
export type FindingKind =
  | "link-count"
  | "directory-repeated"
  | "file-differs"
  | "missing-node"
  | "missing-acl"
  | "missing-symlink"
  | "xattr-name"
  | "unknown-type"
  | "impossible-length"
  | "damaged-node"
  | "node-without-entry"
  | "unreachable-directory"
  | "duplicate-record"
  | "duplicate-differs"
  | "repeated-record"
  | "trash-created"
  | "trash-renumbered"
  | "root-renumbered"
  | "sustained-dropped"
  | "pending-deletion"
  | "deletion-of-entry"
  | "change-log-dropped"
  | "counter-ignored"
  | "quota-without-directory"
  | "unknown-member"
  | "symlink-without-target"
  | "xattr-left-out"
  | "counter-raised"
  | "entry-without-node"
  | "entry-without-parent"
  | "node-without-name"
  | "directory-named-twice"
  | "rebuilt-node"
  | "placed-inode"
  | "unplaced-inode"
  | "lost-inode"
  | "inode-remains"
  | "entry-left-out"
  | "link-count-too-low"
  | "quota-of-nothing";

/** Every kind of finding: what it means, and whether it is a loss. */
const KINDS: Readonly<Record<FindingKind, { readonly text: string; readonly loss: boolean }>> = {
  "link-count": { text: "Link counts that did not fit the tree were recomputed", loss: false },
  "directory-repeated": {
    text: "A directory stood in more than one place: it was kept at the first one, the other place was left out",
    loss: true,
  },
  "file-differs": {
    text: "A file with several places was described differently at them: the description at the first one was kept",
    loss: true,
  },
  "missing-node": { text: "An entry's inode had no record: it was given empty attributes", loss: true },
  "missing-acl": { text: "An entry names an ACL rule that is not stored: the ACL was left out", loss: true },
  "missing-symlink": { text: "A symbolic link has no target", loss: false },
  "xattr-name": {
    text: "The name of an extended attribute is not UTF-8: a JSON dump cannot hold it, its bytes were replaced by U+FFFD",
    loss: true,
  },
  "unknown-type": {
    text: 'An inode has a type that is not known: it was written as "unknown", which cannot be loaded',
    loss: true,
  },
  "impossible-length": {
    text: "A file's length is negative or greater than any file's: the dump has it as it is, and cannot be loaded",
    loss: true,
  },
  "damaged-node": { text: "An inode's record is too short to be read: it was left out", loss: true },
  "node-without-entry": {
    text: "Inodes that no directory names (open files that were deleted, clones under way): a JSON dump has no place for them",
    loss: false,
  },
  "unreachable-directory": {
    text: "Directories that cannot be reached from the root were left out, with everything below them",
    loss: true,
  },
  "rebuilt-node": {
    text: "The attributes of an inode are lost: it was given new ones, by what else there is of it",
    loss: true,
  },
  "placed-inode": { text: "No directory leads to an inode: it was put into lost+found", loss: true },
  "unplaced-inode": {
    text: "No directory leads to an inode, and no file can have its number: it was left out",
    loss: true,
  },
  "lost-inode": {
    text: "No directory leads to an inode: it was left out, with everything below it (--lost-found keeps it)",
    loss: true,
  },
  "inode-remains": { text: "Of an inode neither its record nor an entry is left: the rest was left out", loss: true },
  "entry-left-out": {
    text: "An entry cannot stand where it is: it was left out, and its inode has another place",
    loss: true,
  },
  "duplicate-record": { text: "A record came twice, byte for byte the same: it was kept once", loss: false },
  "duplicate-differs": {
    text: "Two records are about the same thing and differ: the first one was kept, in the order of their bytes",
    loss: true,
  },
  "repeated-record": {
    text: "A record is in the dump more than once, byte for byte the same: it was loaded once",
    loss: false,
  },
  "trash-created": {
    text: "The dump has no trash: an empty trash root was created, so that files can be deleted",
    loss: false,
  },
  "trash-renumbered": { text: "The trash root had another inode number: it was given the right one", loss: false },
  "root-renumbered": { text: "The dump is of a part of a volume: its top directory became the root", loss: false },
  "sustained-dropped": {
    text: "Deleted files that were open when the dump was made are gone: their blocks stay in the object storage until `juicefs gc --delete`",
    loss: false,
  },
  "pending-deletion": {
    text: "Files waiting for deletion come without their chunks: their blocks stay in the object storage until `juicefs gc --delete`",
    loss: false,
  },
  "deletion-of-entry": {
    text: "A file that waits for deletion still stands in the tree: the file was kept and is not deleted, but its data may be gone already",
    loss: true,
  },
  "change-log-dropped": { text: "Entries of the change log are not loaded", loss: false },
  "counter-ignored": { text: "A counter in the dump cannot be right and was computed anew", loss: false },
  "quota-without-directory": {
    text: "A quota names a directory that is not in the tree: it was kept, with no usage",
    loss: false,
  },
  "unknown-member": { text: "Members that this version does not know were skipped", loss: false },
  "symlink-without-target": { text: "A symbolic link has no target: it was stored with an empty one", loss: false },
  "xattr-left-out": {
    text: "The name of an extended attribute is not UTF-8: juicefs could not read a binary dump with it, so it was left out",
    loss: true,
  },
  "counter-raised": {
    text: "A counter was below a number that is in use: it was raised, so that no number is given out twice",
    loss: false,
  },
  "entry-without-node": {
    text: "A directory entry names an inode that has no record: it was kept as it is",
    loss: true,
  },
  "entry-without-parent": {
    text: "Entries belong to an inode that is no directory or has no record: they were kept, but cannot be reached",
    loss: true,
  },
  "node-without-name": { text: "An inode has no directory entry: it was kept as it is", loss: false },
  "directory-named-twice": {
    text: "A directory has two entries, or the root has one: it was kept as it is, but a walk may never end",
    loss: true,
  },
  "link-count-too-low": {
    text: "A file has more directory entries than its link count says: it was kept as it is",
    loss: true,
  },
  "quota-of-nothing": { text: "A quota is set for an inode that has no record: it was kept as it is", loss: false },
};

const MAX_EXAMPLES = 5;

/** Is told of each single loss: a finding has only the first few places. */
export interface LossListener {
  /** `place`: as in `Finding.examples`, where there is one. */
  loss(finding: Pick<Finding, "kind" | "text">, place: string | undefined, count: number): void;
  /** All losses so far are forgotten: what was looked at is looked at once more. */
  clear(): void;
}

/** Collects findings by kind and sentence; the text of an example is only made for the first few, and for a listener. */
export class FindingList {
  readonly #findings: Map<string, Finding> = new Map();
  readonly #listener: LossListener | undefined;

  constructor(listener?: LossListener) {
    this.#listener = listener;
  }

  add(kind: FindingKind, example?: () => string, count: number = 1): void {
    this.#count(kind, { kind, ...KINDS[kind] }, example, count);
  }

  /** A finding of an engine or a format, with its own sentence. One kind may have several: a loss must not hide in a note. */
  addOther(kind: string, text: string, loss: boolean, example?: () => string, count: number = 1): void {
    this.#count(`${kind}: ${text}`, { kind, text, loss }, example, count);
  }

  #count(
    key: string,
    about: Pick<Finding, "kind" | "text" | "loss">,
    example: (() => string) | undefined,
    count: number,
  ): void {
    let finding = this.#findings.get(key);
    if (finding === undefined) {
      finding = { kind: about.kind, text: about.text, count: 0, examples: [], loss: about.loss };
      this.#findings.set(key, finding);
    }
    finding.count += count;
    const isShown = example !== undefined && finding.examples.length < MAX_EXAMPLES;
    const listener = about.loss ? this.#listener : undefined;
    if (!isShown && listener === undefined) return;
    const place = example?.();
    if (isShown && place !== undefined) finding.examples.push(place);
    listener?.loss(about, place, count);
  }

  /** Forgets all: what was looked at is looked at once more. */
  clear(): void {
    this.#findings.clear();
    this.#listener?.clear();
  }

  get all(): Finding[] {
    return [...this.#findings.values()];
  }
}
