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
  /** Inodes of which only chunks, xattrs or a symlink target are left: files that wait for deletion, or remains. */
  remains = 0;
  /** Directories with entries that cannot be reached from a root, and their entries. */
  unreachableDirectories = 0;
  unreachableEntries = 0;
  /** First few inodes of each kind. */
  readonly examples: Map<string, bigint[]> = new Map();

  duplicate(kind: string, isSame: boolean): void {
    const counts = isSame ? this.duplicates : this.differing;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }

  damagedNode(inode: Buffer): void {
    this.damagedNodes++;
    this.#remember("damaged-node", inode.readBigUInt64BE(0));
  }

  withoutEntry(inode: Buffer, hasNode: boolean): void {
    if (hasNode) {
      this.nodesWithoutEntry++;
      this.#remember("node-without-entry", inode.readBigUInt64BE(0));
    } else {
      this.remains++;
    }
  }

  unreachable(directory: bigint, entries: number): void {
    this.unreachableDirectories++;
    this.unreachableEntries += entries;
    this.#remember("unreachable-directory", directory);
  }

  #remember(kind: string, inode: bigint): void {
    const known = this.examples.get(kind);
    if (known === undefined) this.examples.set(kind, [inode]);
    else if (known.length < 5) known.push(inode);
  }
}
