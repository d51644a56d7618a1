/** Damage: of the bytes, of the volume, or of what the manifest says of both. */
const ERRORS = {
  unreadable: "The file cannot be read to its end",
  "bad-setting": "The volume's setting is missing, cannot be understood, or asks for another client",
  "missing-root": "The root directory has no record",
  "missing-trash-root": "The trash is on but its root directory has no record: nothing can be deleted",
  "root-inode": "A root directory has the wrong inode number",
  "duplicate-record": "A record is there twice",
  "bad-name": "The name of an entry is empty, . or .., longer than 255 bytes, or contains a slash or NUL",
  "duplicate-name": "A directory has a name twice",
  "missing-node": "An entry's inode has no record",
  "entry-type": "An entry says another type than its inode",
  "inode-place": "An inode number stands where it cannot be: 0, the root's, or one of the trash",
  "two-types": "An inode is a directory at one place and a file at another",
  "directory-repeated": "A directory stands in more than one place",
  "directory-cycle": "A directory contains itself",
  "unreachable-directory": "A directory cannot be reached from the root",
  "missing-directory": "Entries stand in a directory that does not exist, or in a file",
  "directory-without-entry": "A directory of the trash has no entry",
  "file-without-entry": "A file has links, but no entry",
  "link-count": "A link count does not fit the entries",
  "file-differs": "A file with several places is described differently at them",
  "wrong-parent": "An inode's record names another parent than its entry",
  "parent-record": "The parent records of a file with several places do not fit its entries",
  "damaged-node": "An inode's record has a length that none can have",
  "unknown-type": "An inode has a type that is not known",
  "impossible-length": "A file is longer than any file can be",
  "impossible-time": "An inode was changed at a time that no clock shows",
  "empty-node": "An entry has the empty attributes that dumps write where an inode's record is missing",
  "missing-target": "A symbolic link has no target",
  "misplaced-record": "Chunks or a target belong to an inode that cannot have them",
  "record-without-inode": "Chunks, extended attributes or a target belong to no inode",
  "bad-xattr": "The name of an extended attribute is empty or longer than 255 bytes",
  "missing-acl": "An inode names an ACL rule that is not there",
  "bad-acl": "An ACL rule cannot be right: impossible permissions, or one user or group twice",
  "damaged-chunk": "The slices of a chunk are no whole records: the file reads as zeros there",
  "slice-bounds": "A slice goes beyond its chunk, its own object, or the largest object",
  "slice-size": "A slice has two sizes",
  "slice-references": "A slice has fewer references than uses: its data would be deleted too early",
  "sustained-without-inode": "A session holds an inode that has no record",
  "sustained-with-entry": "A session holds an inode as deleted that still has an entry",
  "deletion-of-inode": "A file waits for deletion that still has a record: its data may be gone already",
  "quota-without-directory": "A quota names a directory that does not exist",
  "missing-counter": "A counter is missing",
  "counter-too-small": "A counter is not above what is in use: it would be given out again",
  "manifest-hash": "The file is not the one that was written: its SHA-256 is not that of the manifest",
  "manifest-size": "The file has not the size that the manifest says",
  "manifest-counts": "The file does not hold what the manifest says",
  "manifest-volume": "The manifest is of another volume",
} as const;

/** Notes, for they occur in healthy volumes that are in use; damage in one that nobody wrote to. */
const DOUBTS = {
  "usage-differs": "The counters of used space and inodes differ from the sum, as they may while clients write",
  "statistics-differ": "Statistics of a directory differ from its entries, as they may while clients write",
  "statistics-without-directory": "Statistics name a directory that does not exist",
  "quota-usage-differs": "The usage of a quota differs from the sum, as it may while clients write",
  "unlinked-without-session": "A deleted file is kept for a session that is not there",
  "spare-links": "A symbolic link or special file has more links than entries, as clones of hard-linked ones have",
  "symlink-length": "A symbolic link has another length than its target, as dumps by juicefs from Redis may have",
  "odd-text": "The text has what juicefs does not write: it was read as it stands",
  "detached-directory": "Directories without an entry, as clones under way have",
} as const;

/** What healthy volumes have too. */
const NOTES = {
  "spare-references": "A slice has more references than uses, as slices kept for the trash have",
  "unknown-member": "Members that this version does not know were skipped",
  "missing-attribute": "Attributes are missing and were taken as 0",
  "partial-dump": "The dump is of a part of the volume: what needs the whole was not checked",
  "open-files": "Deleted files that were open when the dump was made",
  "pending-deletion": "Files that wait for deletion",
  "compression-name": "The name of the file says another compression than its content: juicefs goes by the name",
} as const;

export type ProblemKind = keyof typeof ERRORS | keyof typeof DOUBTS | keyof typeof NOTES;

export interface KindOfProblem {
  readonly kind: ProblemKind;
  /** One sentence without a number. */
  readonly text: string;
  readonly severity: "error" | "doubt" | "note";
}

/** Every kind of problem, errors first. */
export const PROBLEM_KINDS: readonly KindOfProblem[] = [
  ...kindsOf(ERRORS, "error"),
  ...kindsOf(DOUBTS, "doubt"),
  ...kindsOf(NOTES, "note"),
];

function kindsOf(texts: Readonly<Record<string, string>>, severity: KindOfProblem["severity"]): KindOfProblem[] {
  return Object.entries(texts).map(([kind, text]) => ({ kind: kind as ProblemKind, text, severity }));
}
