import { encodeAttribute, newDirectoryAttribute } from "../volume/attribute.ts";

/**
 * Attributes of a trash root that the source does not have, as `format` makes it: without one, every delete on the loaded
 * volume would fail (docs/spec/json-dump.md §11, partial dumps). `seconds`, Unix time, must come from the source: a load that goes on
 * compares what an earlier one has written.
 */
export function newTrashRootAttribute(seconds: bigint): Buffer {
  return encodeAttribute(newDirectoryAttribute(0o555, seconds));
}
