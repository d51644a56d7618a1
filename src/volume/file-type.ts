/** File types as attribute records and directory entries store them (docs/spec/redis.md §5). */
export const FileType = {
  regular: 1,
  directory: 2,
  symlink: 3,
  fifo: 4,
  blockdev: 5,
  chardev: 6,
  socket: 7,
} as const;

export type FileType = (typeof FileType)[keyof typeof FileType];

/** Name by number, as the JSON dump writes it (docs/spec/json-dump.md §6); a stored 0 counts as regular. */
export const FILE_TYPE_NAMES: readonly string[] = [
  "regular",
  "regular",
  "directory",
  "symlink",
  "fifo",
  "blockdev",
  "chardev",
  "socket",
];
