import type { RecordKind } from "../../volume/records.ts";

/** How many records to expect, from the counter `totalInodes`. */
export function expectedRecords(totalInodes: bigint): ReadonlyMap<RecordKind, number> {
  // Both root directories are not counted; every inode but them has an entry, hard-linked ones several.
  return new Map<RecordKind, number>([
    ["node", Number(totalInodes) + 2],
    ["edge", Number(totalInodes)],
  ]);
}
