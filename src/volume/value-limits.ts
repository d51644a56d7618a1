/** The longest name of an entry (docs/spec/filesystem.md) and of an extended attribute (docs/spec/sql.md §4.5). */
export const MAX_NAME_BYTES = 255;

/** What a database cannot hold of a volume (docs/spec/sql.md §6). All sizes are bytes. */
export interface ValueLimits {
  /** For people: "PostgreSQL". */
  readonly engineName: string;
  /** Largest uid, gid and device number. */
  readonly maxNumber: number;
  readonly maxSymlinkBytes: number;
  /** 0 when not given. */
  readonly minXattrValueBytes?: number;
  readonly maxXattrValueBytes: number;
  /** Of the slices of one chunk, 24 bytes each. */
  readonly maxSlicesBytes: number;
  readonly maxSettingBytes: number;

  /**
   * For each list of the names of one inode's extended attributes: by index, why the database cannot hold the name beside those
   * before it. Asks the server where only that can tell, once for all lists.
   */
  xattrNameProblems(lists: readonly (readonly Buffer[])[]): Promise<readonly ReadonlyMap<number, string>[]>;
}

/** Owner of files whose own one cannot be stored: what Linux shows in such a case (`overflowuid`). */
export const OVERFLOW_OWNER = 65534;

export type UnsupportedKind = "uid" | "gid" | "rdev" | "symlink" | "xattr" | "chunk";

/** One value that a database cannot hold. */
export interface UnsupportedValue {
  readonly kind: UnsupportedKind;
  /** Printable; the trash is `/.trash`. A file with several places is met at each of them. */
  readonly path: string;
  readonly inode: bigint;
  /** Name of an extended attribute, in bytes. */
  readonly name?: Buffer;
  /** Index of a chunk. */
  readonly index?: number;
  /** The value itself: a number, or the bytes of a target, an extended attribute or a list of slices. */
  readonly value: number | Buffer;
  /** `the largest number is 2147483647` */
  readonly reason: string;
}
