import { keyAfter } from "./etcd-keys.ts";

/** A part of a range of keys, asked for or not yet. */
export interface RangePart<T> {
  readonly start: Buffer;
  end: Buffer;
  asked: T | undefined;
  /** How many parts before it were empty, one after the other, when it was cut. */
  gap: number;
}

/** What a response says of the keys that it has, which are whole keys. */
export interface PartResponse {
  readonly count: number;
  readonly more: boolean;
  readonly firstKey: Buffer | undefined;
  readonly lastKey: Buffer | undefined;
}

/** As many bytes of keys, behind what both ends of the range have in common, as keys of entries have: 10, and a name of 255. */
const POSITION_BYTES = 272;

/** Parts are asked for that are expected to have this share of the pairs that a response may have. */
const AIM_PERCENT = 75n;
/** A part that turned out small is followed by one that is at most this much wider. */
const MAX_GROWTH = 4n;
/** Each step into a gap between keys is wider by the square of the factor before: 4, 16, 256, ..., 2^2048. */
const MAX_GAP_STEPS = 11;

/**
 * Cuts a range into parts of about as many pairs as a response may have. For each request etcd walks through its index up to the end
 * of the range that is asked for, whatever the limit (docs/spec/kv-stores.md §1): to ask for "the next thousand of all that follow"
 * takes time by the square of the volume. Where a part has to end for that is judged by the distance of the keys that were seen last.
 */
export class RangeParts<T> {
  readonly #base: Buffer;
  readonly #parts: RangePart<T>[];
  /** How wide a part is cut; undefined before the first response. */
  #width: bigint | undefined;
  #gap = 0;

  constructor(start: Buffer, end: Buffer) {
    let same = 0;
    while (same < start.length && same < end.length && start[same] === end[same]) same++;
    this.#base = start.subarray(0, same);
    this.#parts = start.compare(end) < 0 ? [{ start, end, asked: undefined, gap: 0 }] : [];
  }

  /** The first of the parts that are left: the order of keys. */
  get first(): RangePart<T> | undefined {
    return this.#parts[0];
  }

  /** Asks for the first `most` parts that are left, where it is not done yet. */
  ask(most: number, send: (part: RangePart<T>) => T): void {
    // How the keys lie is not known before the first response.
    const count = this.#width === undefined ? 1 : most;
    for (let i = 0; i < count; i++) {
      const part = this.#parts[i];
      if (part === undefined) return;
      if (part.asked !== undefined) continue;
      this.#cut(i, part);
      part.asked = send(part);
    }
  }

  #cut(index: number, part: RangePart<T>): void {
    part.gap = this.#gap;
    if (this.#width === undefined) return;
    const end = this.#position(part.start) + this.#width;
    if (end + this.#width / 2n >= this.#position(part.end)) return;
    const cut = this.#keyAt(end);
    this.#parts.splice(index + 1, 0, { start: cut, end: part.end, asked: undefined, gap: 0 });
    part.end = cut;
  }

  /** Takes the first part away, or what a response that says there is more has left of it. */
  received({ count, more, firstKey, lastKey }: PartResponse, limit: number): void {
    const part = this.#parts.shift()!;
    const aim = atLeastOne((BigInt(limit) * AIM_PERCENT) / 100n);
    if (more && firstKey !== undefined && lastKey !== undefined) {
      this.#parts.unshift({ start: keyAfter(lastKey), end: part.end, asked: undefined, gap: 0 });
      const span = this.#position(lastKey) - this.#position(firstKey);
      this.#width = atLeastOne((span * aim) / BigInt(count));
      this.#gap = 0;
      return;
    }
    const width = atLeastOne(this.#position(part.end) - this.#position(part.start));
    if (count === 0) {
      // parts that were cut at the same time make the same of it
      this.#gap = Math.min(part.gap + 1, MAX_GAP_STEPS);
      this.#width = width << BigInt(1 << this.#gap);
      return;
    }
    const fitting = (width * aim) / BigInt(count);
    this.#width = atLeastOne(fitting > width * MAX_GROWTH ? width * MAX_GROWTH : fitting);
    this.#gap = 0;
  }

  /** The bytes behind the base as a number. Keys that differ only behind these have the same one. */
  #position(key: Buffer): bigint {
    const bytes = Buffer.alloc(POSITION_BYTES);
    key.copy(bytes, 0, this.#base.length);
    return BigInt(`0x${bytes.toString("hex")}`);
  }

  #keyAt(position: bigint): Buffer {
    const hex = position.toString(16).padStart(2 * POSITION_BYTES, "0");
    return Buffer.concat([this.#base, Buffer.from(hex, "hex")]);
  }
}

function atLeastOne(width: bigint): bigint {
  return width > 0n ? width : 1n;
}
