import { encodeAttribute, newDirectoryAttribute } from "../volume/attribute.ts";

/**
 * Attributes of a trash root that the source does not have, as `format` makes it: without one, every delete on the loaded
 * volume would fail (docs/spec/json-dump.md §11, partial dumps).
 */
export function newTrashRootAttribute(): Buffer {
  return encodeAttribute(newDirectoryAttribute(0o555, BigInt(Math.floor(Date.now() / 1000))));
}
