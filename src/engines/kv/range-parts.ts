import type { KeySpan } from "./prefixed-keys.ts";

/** A part of a range of keys; `answer` is what it was asked for with. */
export interface RangePart<T> extends KeySpan {
  end: Buffer;
  answer: T | undefined;
  /** How many parts before it were empty, one after the other, when it was cut. */
  emptyBefore: number;
}

/** What came of the first part, in whole keys. */
export interface PartResult {
  readonly count: number;
  readonly firstKey: Buffer | undefined;
  readonly lastKey: Buffer | undefined;
  /** Where what is left of it begins, when it held more than was asked for. */
  readonly resumeAt: Buffer | undefined;
}

/** How far parts are asked for ahead of the first one. */
export interface Ahead {
  /**
   * So many parts from the first one on, where it costs a server more to find the end of a wide part than to answer for a narrow one:
   * the rest of one that was too wide is then cut and asked for at once.
   */
  readonly window?: number;
  /** So many that are out at one time. */
  readonly atOnce?: number;
}

/** As many bytes of keys, behind what both ends of the range have in common, as keys of entries have: 10, and a name of 255. */
const POSITION_BYTES = 272;
/** Parts are asked for that are expected to have this share of the pairs that a response may have. */
const AIM_PERCENT = 75;
/** A part that turned out small is followed by one that is at most this much wider. */
const MAX_GROWTH = 4n;
/** Each step into a gap between keys is wider by the square of the factor before: 4, 16, 256, ..., 2^2048. */
const MAX_GAP_STEPS = 11;

/**
 * Cuts a range into parts of about as many pairs as a response may have, which are asked for side by side and taken in the order of
 * their keys. Where the next one begins is known only when the one before has come, so it is judged by the distance of the keys that
 * were seen last. A server of etcd walks through its index up to the end of the range that is asked for, whatever the limit
 * (docs/spec/kv-stores.md §1): to ask it for "the next thousand of all that follow" would take time by the square of the volume.
 */
export class RangeParts<T> {
  readonly #common: Buffer;
  readonly #parts: RangePart<T>[];
  /** How wide a part is cut; undefined before the first response. */
  #width: bigint | undefined;
  #empty = 0;

  constructor({ start, end }: KeySpan) {
    let same = 0;
    while (same < start.length && same < end.length && start[same] === end[same]) same++;
    this.#common = start.subarray(0, same);
    this.#parts = start.compare(end) < 0 ? [{ start, end, answer: undefined, emptyBefore: 0 }] : [];
  }

  /** The first of the parts that are left: the order of keys. */
  get first(): RangePart<T> | undefined {
    return this.#parts[0];
  }

  /** All that were asked for and not taken. */
  get asked(): T[] {
    return this.#parts.flatMap(({ answer }) => (answer === undefined ? [] : [answer]));
  }

  /**
   * Asks for those of the first `window` parts that are left which are not asked for, while fewer than `atOnce` are out. Only for the
   * first one, as long as nothing is known of the keys.
   */
  ask(
    { window = Number.POSITIVE_INFINITY, atOnce = Number.POSITIVE_INFINITY }: Ahead,
    send: (part: RangePart<T>) => T,
  ): void {
    let left = atOnce - this.asked.length;
    const end = this.#width === undefined ? 1 : window;
    for (let i = 0; i < Math.min(end, this.#parts.length) && left > 0; i++) {
      const part = this.#parts[i]!;
      if (part.answer !== undefined) continue;
      this.#cut(i, part);
      part.answer = send(part);
      left--;
    }
  }

  /** Takes the first part away, or leaves what a response had no room for. `limit`: pairs that it may have. */
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

  #cut(index: number, part: RangePart<T>): void {
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
