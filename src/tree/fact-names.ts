/** What can differ between two descriptions of a file. */
export const FACT_NAMES = [
  "inode",
  "type",
  "mode",
  "uid",
  "gid",
  "size",
  "nlink",
  "atime",
  "mtime",
  "ctime",
  "rdev",
  "flags",
  "tier",
  "target",
  "acl",
  "default-acl",
  "xattr",
  "slices",
] as const;

export type FactName = (typeof FACT_NAMES)[number];
