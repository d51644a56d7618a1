/** Records whose first numbers differ in no more than so many bits share a partition. */
export const PARTITION_BITS = 11;

/** Records of neighbouring numbers, in extents of slabs. */
export class Partition {
  /** The first numbers of its records without their last `PARTITION_BITS` bits; below 2^53. */
  readonly number: number;
  count = 0;
  /** Triples: which slab, where in it the extent begins, and where its records end; the last extent's end is `at`. */
  readonly extents: number[] = [];
  /** The extent that is being filled: its slab, and where in it there is room. */
  view: DataView = NO_VIEW;
  at = 0;
  end = 0;

  constructor(number: number) {
    this.number = number;
  }
}

const NO_VIEW = new DataView(new ArrayBuffer(0));
