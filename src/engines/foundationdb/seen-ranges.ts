/**
 * What was read of a volume, in bounded memory: for each first byte of keys behind the prefix, one range from the first to the last key
 * that was seen. It may be more than was read, never less.
 */
export class SeenRanges {
  readonly #families = new Map<number, { start: Buffer; end: Buffer }>();
  readonly #at: number;

  /** `prefixBytes`: where the first byte stands by which keys are told apart. */
  constructor(prefixBytes: number) {
    this.#at = prefixBytes;
  }

  get isEmpty(): boolean {
    return this.#families.size === 0;
  }

  /** All keys from `start` on, below `end`. */
  add(start: Buffer, end: Buffer): void {
    if (start.compare(end) >= 0) return;
    const family = start[this.#at] ?? -1;
    const known = this.#families.get(family);
    if (known === undefined) {
      this.#families.set(family, { start, end });
      return;
    }
    if (start.compare(known.start) < 0) known.start = start;
    if (end.compare(known.end) > 0) known.end = end;
  }

  *[Symbol.iterator](): Generator<readonly [start: Buffer, end: Buffer]> {
    for (const { start, end } of this.#families.values()) yield [start, end];
  }
}
