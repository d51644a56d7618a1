import type { FlatKind } from "../../volume/records.ts";

/**
 * The framing of a binary dump (docs/spec/binary-dump.md §1), numbers big-endian:
 *
 *   file     segment*, EOS, footer
 *   segment  u32 type, u64 length of the body, body (protobuf)
 *   EOS      u32 0x00747083
 *   footer   body (protobuf Footer), u64 length of that body
 */
export const SEGMENT_HEADER_BYTES = 12;
export const FOOTER_LENGTH_BYTES = 8;

/** End mark, and the magic number in the footer. */
export const EOS = 0x0074_7083;
export const FORMAT_VERSION = 1;

export const FORMAT_SEGMENT = 1;

/** A list of a Batch message: its field number and the kind of record that its items are. */
export interface BatchList {
  readonly field: number;
  readonly kind: FlatKind;
}

export interface SegmentType {
  readonly type: number;
  /** As in the footer. */
  readonly name: string;
  /** The lists of Batch that this segment may hold; none for the format. */
  readonly lists: readonly BatchList[];
}

const ofKind = (type: number, name: string, field: number, kind: FlatKind): SegmentType => ({
  type,
  name,
  lists: [{ field, kind }],
});

/** All types, in the order in which decant writes them. */
export const SEGMENT_TYPES: readonly SegmentType[] = [
  { type: FORMAT_SEGMENT, name: "format", lists: [] },
  ofKind(2, "counter", 13, "counter"),
  ofKind(3, "node", 1, "node"),
  ofKind(4, "edge", 2, "edge"),
  ofKind(5, "chunk", 3, "chunk"),
  ofKind(6, "sliceRef", 4, "sliceRef"),
  ofKind(7, "symlink", 7, "symlink"),
  ofKind(8, "sustained", 8, "sustained"),
  ofKind(9, "delFile", 9, "delFile"),
  ofKind(10, "xattr", 5, "xattr"),
  ofKind(11, "acl", 12, "acl"),
  ofKind(12, "stat", 10, "dirStat"),
  {
    type: 13,
    name: "quota",
    lists: [
      { field: 11, kind: "quota" },
      { field: 15, kind: "userQuota" },
      { field: 16, kind: "groupQuota" },
    ],
  },
  ofKind(14, "parent", 6, "parent"),
  ofKind(15, "changeLog", 14, "changeLog"),
];

/** The type of that number, undefined for an unknown one. */
export function segmentTypeOf(type: number): SegmentType | undefined {
  return SEGMENT_TYPES[type - 1];
}

/** Kinds of record in the order of a dump by decant. */
export const DUMP_ORDER: readonly FlatKind[] = SEGMENT_TYPES.flatMap(({ lists }) => lists.map(({ kind }) => kind));
