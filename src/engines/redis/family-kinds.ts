import type { RecordKind } from "../../volume/records.ts";
import {
  FAMILY_CHUNK,
  FAMILY_DIRECTORY,
  FAMILY_NODE,
  FAMILY_PARENT,
  FAMILY_SYMLINK,
  FAMILY_XATTR,
} from "./redis-keys.ts";

/** The family of keys that the records of a kind are made of; no entry for kinds outside the inode families. */
export const FAMILY_OF_KIND: ReadonlyMap<RecordKind, number> = new Map([
  ["node", FAMILY_NODE],
  ["edge", FAMILY_DIRECTORY],
  ["chunk", FAMILY_CHUNK],
  ["symlink", FAMILY_SYMLINK],
  ["xattr", FAMILY_XATTR],
  ["parent", FAMILY_PARENT],
]);

/** The other way round. */
export const KIND_OF_FAMILY: ReadonlyMap<number, RecordKind> = new Map(
  [...FAMILY_OF_KIND].map(([kind, family]) => [family, kind]),
);
