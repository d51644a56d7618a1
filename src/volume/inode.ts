/** Inode numbers with a meaning of their own (docs/spec/redis.md §5). Inodes are unsigned 64-bit. */
export const ROOT_INODE = 1n;

/** The trash root, 0x7FFFFFFF10000000: above 2^53, so never a JavaScript number. Hour directories are trash root + n. */
export const TRASH_INODE = 0x7fff_ffff_1000_0000n;

/** The two 32-bit halves of `TRASH_INODE`, for code that compares without BigInt. */
export const TRASH_INODE_HIGH = 0x7fff_ffff;
export const TRASH_INODE_LOW = 0x1000_0000;

/** True for the trash root, its hour directories and every number above. */
export function isTrashInode(inode: bigint): boolean {
  return inode >= TRASH_INODE;
}

/** What one file of `length` bytes counts for in space: 4096 for 0, else rounded up to 4096 (docs/spec/redis.md §4.1). */
export function align4K(length: bigint): bigint {
  return length === 0n ? 4096n : ((length + 4095n) / 4096n) * 4096n;
}

/** Size of a chunk of file data: slices of byte n are in chunk n / CHUNK_BYTES. */
export const CHUNK_BYTES: number = 64 * 1024 * 1024;
