import type { FactChange } from "./compare-facts.ts";

/** A difference between two trees. Paths are bytes, `/a/b`; the trash is seen at `/.trash`. */
export interface TreeChange {
  readonly kind: "added" | "removed" | "renamed" | "changed";
  /** The new path where there are two. */
  readonly path: Buffer;
  /** The old path, for `renamed`. */
  readonly from?: Buffer;
  /** Of the new side, for `removed` of the old one. */
  readonly inode: bigint;
  readonly type: string;
  /** What differs, for `changed` and `renamed`; may be empty for the latter. */
  readonly changes: readonly FactChange[];
}

/** Whether something belongs to the first or the second tree. */
export const OLD_SIDE = 0;
export const NEW_SIDE = 1;
export type Side = typeof OLD_SIDE | typeof NEW_SIDE;

/** One place of an inode. Buffers are borrowed. */
export interface Place {
  readonly side: Side;
  /** Where the place stands among all differences: the order in which they are reported. Equal for both sides of one path. */
  readonly position: number;
  readonly inTrash: boolean;
  readonly parent: bigint;
  readonly name: Buffer;
  readonly path: Buffer;
  /** As in entry-facts.ts. */
  readonly facts: Buffer;
}

/** Takes what a comparison by path finds. */
export interface ChangeSink {
  /** The same path on both sides, with different facts. */
  changed(position: number, path: Buffer, oldFacts: Buffer, newFacts: Buffer): void;
  /** A place that only one side has. */
  place(place: Place): void;
}
