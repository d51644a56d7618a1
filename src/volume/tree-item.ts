/**
 * Items of `tree` batches: the name space in tree order, depth first. A directory is its entry, everything below it, and a
 * leave item; the two trees (root, then trash root) follow each other. An entry carries all that belongs to its inode, so
 * a file with several places is written in full at each of them.
 *
 * Every item begins with u32 size (of the whole item) and u8 tag; numbers are big-endian.
 *
 *   entry   5 u8 type   6 u8 flags   7 u8 0   8 u64 inode   16 u16 nameSize   18 u16 attributeSize
 *           20 u32 symlinkSize   24 u32 xattrsSize   28 u32 chunksSize
 *           32 name, attribute record, symlink target, xattrs, chunks
 *             xattrs   n × (u16 nameSize, u32 valueSize, name, value)
 *             chunks   n × (u32 index, u32 slicesSize, slices)
 *   chunks  8 chunks as above: continues the list of the entry before it (flag MORE_CHUNKS), so that no item is large
 *   leave   8 u32 accessAclId   12 u32 defaultAclId   16 xattrs
 *           members of the directory that its source gave only after its children; KEEP_ACL_ID where there are none
 *
 * `type` is the type of the inode's record where there is one, else of the directory entry: 0 to 7, others in damaged
 * volumes. A root's entry has an empty name and inode 1, the trash root's or, for a part of a volume, any directory's.
 * Xattrs are sorted by name bytes, chunks by index, when the source is an engine; else as the source has them.
 */
export const TREE_ENTRY = 1;
export const TREE_CHUNKS = 2;
export const TREE_LEAVE = 3;

export const ITEM_TAG = 4;
export const ENTRY_TYPE = 5;
export const ENTRY_FLAGS = 6;
export const ENTRY_INODE = 8;
export const ENTRY_NAME_SIZE = 16;
export const ENTRY_ATTRIBUTE_SIZE = 18;
export const ENTRY_SYMLINK_SIZE = 20;
export const ENTRY_XATTRS_SIZE = 24;
export const ENTRY_CHUNKS_SIZE = 28;
export const ENTRY_NAME = 32;

export const CHUNKS_LIST = 8;

export const LEAVE_ACCESS_ACL = 8;
export const LEAVE_DEFAULT_ACL = 12;
export const LEAVE_XATTRS = 16;
export const KEEP_ACL_ID = 0xffff_ffff;

/** The engine has no record for this inode: `attributeSize` is 0. */
export const ENTRY_NODE_MISSING = 1;
/** `chunks` items follow. */
export const ENTRY_MORE_CHUNKS = 2;
/** The root of a tree: its name is empty. */
export const ENTRY_ROOT = 4;
/** A directory met a second time: its content stands at the first place and is not repeated. */
export const ENTRY_REPEATED = 8;

/** The root of the trash, whatever its inode number: sources that name their trees set it beside ENTRY_ROOT. */
export const ENTRY_TRASH_ROOT = 16;

/** An entry's chunk list is cut into items of about this size. */
export const CHUNKS_ITEM_BYTES: number = 64 * 1024;

/** Where the parts of the entry at `bytes[at..)` begin; each ends where the next one begins, the last at the item's end. */
export function attributeOffset(bytes: Buffer, at: number): number {
  return at + ENTRY_NAME + bytes.readUInt16BE(at + ENTRY_NAME_SIZE);
}

export function symlinkOffset(bytes: Buffer, at: number): number {
  return attributeOffset(bytes, at) + bytes.readUInt16BE(at + ENTRY_ATTRIBUTE_SIZE);
}

export function xattrsOffset(bytes: Buffer, at: number): number {
  return symlinkOffset(bytes, at) + bytes.readUInt32BE(at + ENTRY_SYMLINK_SIZE);
}

export function chunksOffset(bytes: Buffer, at: number): number {
  return xattrsOffset(bytes, at) + bytes.readUInt32BE(at + ENTRY_XATTRS_SIZE);
}
