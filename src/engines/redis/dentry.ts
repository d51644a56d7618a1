/** The value of a directory's entry: the type, and the inode as a big-endian number of 8 bytes (docs/spec/redis.md §6). */
export const DENTRY_BYTES = 9;

/** Undefined for what is no such value. */
export function decodeDentry(value: unknown): { inode: bigint; type: number } | undefined {
  if (!Buffer.isBuffer(value) || value.length !== DENTRY_BYTES) return undefined;
  return { type: value[0]!, inode: value.readBigUInt64BE(1) };
}
