/** A part of a range of keys; `answer` is what it was asked for with. */
export interface ScanPart<T> {
  readonly start: Buffer;
  end: Buffer;
  answer: T | undefined;
  /** How many parts before it were empty, one after the other, when it was cut. */
  emptyBefore: number;
}

/** What came of the first part. */
export interface PartResult {
  readonly count: number;
  readonly firstKey: Buffer | undefined;
  readonly lastKey: Buffer | undefined;
  /** Where what is left of it begins, when it held more than a page. */
  readonly resumeAt: Buffer | undefined;
}

/** Bytes of keys that count for how far they are from each other, behind what both ends of the range have in common. */
const POSITION_BYTES = 64;
/** Parts are cut to be expected to have this share of a page. */
const AIM_PERCENT = 75;
const MAX_GROWTH = 4n;
/** A gap between keys is walked through in steps that grow with the square: 4, 16, 256, ..., all of a range. */
const MAX_GAP_STEPS = 9;

/**
 * Cuts a range into parts of about a page, which are asked for side by side and taken in the order of their keys: where the next page
 * begins is known only when the one before has come, so it is judged by the distance of the keys that were seen last.
 */
export class ScanParts<T> {
  readonly #common: Buffer;
  readonly #parts: ScanPart<T>[];
  /** How wide a part is cut; undefined before there was one. */
  #width: bigint | undefined;
  #empty = 0;

  constructor(start: Buffer, end: Buffer) {
    let same = 0;
    while (same < start.length && same < end.length && start[same] === end[same]) same++;
    this.#common = start.subarray(0, same);
    this.#parts = start.compare(end) < 0 ? [{ start, end, answer: undefined, emptyBefore: 0 }] : [];
  }

  get first(): ScanPart<T> | undefined {
    return this.#parts[0];
  }

  /** All that were asked for and not taken. */
  get asked(): T[] {
    return this.#parts.flatMap(({ answer }) => (answer === undefined ? [] : [answer]));
  }

  /** Asks for parts from the first one on, until `most` are asked for: one, as long as nothing is known of the keys. */
  ask(most: number, send: (part: ScanPart<T>) => T): void {
    let left = (this.#width === undefined ? 1 : most) - this.asked.length;
    for (let i = 0; i < this.#parts.length && left > 0; i++) {
      const part = this.#parts[i]!;
      if (part.answer !== undefined) continue;
      this.#cut(i, part);
      part.answer = send(part);
      left--;
    }
  }

  /** Takes the first part away, or leaves what a page had no room for. `limit`: pairs of a page. */
  received({ count, firstKey, lastKey, resumeAt }: PartResult, limit: number): void {
    const part = this.#parts.shift()!;
    const aim = BigInt(Math.ceil((limit * AIM_PERCENT) / 100));
    if (resumeAt !== undefined) {
      this.#parts.unshift({ start: resumeAt, end: part.end, answer: undefined, emptyBefore: 0 });
    }
    if (count === 0) {
      // parts that were cut at the same time make the same of it
      this.#empty = Math.min(part.emptyBefore + 1, MAX_GAP_STEPS);
      this.#width = this.#distance(part.start, resumeAt ?? part.end) << BigInt(1 << this.#empty);
      return;
    }
    this.#empty = 0;
    if (resumeAt !== undefined) {
      this.#width = atLeastOne((this.#distance(firstKey!, lastKey!) * aim) / BigInt(count));
      return;
    }
    const width = this.#distance(part.start, part.end);
    const fitting = (width * aim) / BigInt(count);
    this.#width = atLeastOne(fitting > width * MAX_GROWTH ? width * MAX_GROWTH : fitting);
  }

  #cut(index: number, part: ScanPart<T>): void {
    part.emptyBefore = this.#empty;
    if (this.#width === undefined) return;
    const end = this.#position(part.start) + this.#width;
    if (end + this.#width / 2n >= this.#position(part.end)) return;
    const cut = this.#keyAt(end);
    this.#parts.splice(index + 1, 0, { start: cut, end: part.end, answer: undefined, emptyBefore: 0 });
    part.end = cut;
  }

  #distance(from: Buffer, to: Buffer): bigint {
    return atLeastOne(this.#position(to) - this.#position(from));
  }

  /** The bytes behind what all have in common, as a number. Keys that differ only behind these have the same one. */
  #position(key: Buffer): bigint {
    const bytes = Buffer.alloc(POSITION_BYTES);
    key.copy(bytes, 0, this.#common.length);
    return BigInt(`0x${bytes.toString("hex")}`);
  }

  #keyAt(position: bigint): Buffer {
    const hex = position.toString(16).padStart(2 * POSITION_BYTES, "0");
    return Buffer.concat([this.#common, Buffer.from(hex, "hex")]);
  }
}

function atLeastOne(width: bigint): bigint {
  return width > 0n ? width : 1n;
}
