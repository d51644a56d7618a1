/** What belongs to one inode. Views are borrowed until the call returns. */
export interface JoinedInode {
  /** Eight bytes. */
  readonly inode: Buffer;
  /** The attribute record, from 0 on; `attributeSize` 0 = none. */
  readonly attribute: DataView;
  readonly attributeSize: number;
  readonly symlinkSize: number;
  readonly hasXattrs: boolean;
  readonly hasChunks: boolean;
}

/** Told by `treeOrder` what it sees of every inode, reachable or not: for checks. */
export interface InodeObserver {
  /** A directory entry, an edge record at `edge[at..)`; all of its inode but other entries has been seen. */
  entry(inode: JoinedInode, edge: DataView, at: number): void;
  /** The end of an inode: also of one without a record, or without an entry. */
  inode(inode: JoinedInode): void;
  /** A record that came twice; of an entry that is one more of its name in the directory `inode`. */
  duplicate(kind: string, inode: Buffer): void;
  /** Called after the walk, for every inode with entries that was not met, in some order. */
  notMet(inode: Buffer, entries: number): void;
  /** Directories that stand outside of the tree by their nature: what is below them counts as met. */
  detachedDirectories(): Iterable<bigint>;
  isDirectory(inode: Buffer): boolean;
  /** Asked at the end: true gives the trees once more, for looking up paths. */
  wantsAnotherWalk(): boolean;
}
