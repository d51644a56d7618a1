/** Digits of at most this many bits: their counters fit into the nearest cache. */
const MAX_DIGIT_BITS = 11;

/** Memory of one key in `OrderKeys`, and of one ordinal in the two arrays of `sortByKeys`. */
export const KEY_BYTES = 5;
export const ORDER_BYTES = 8;

/** Numbers of up to 40 bits by ordinal: keys to sort by. */
export class OrderKeys {
  readonly low: Uint32Array;
  readonly high: Uint8Array;

  constructor(count: number) {
    this.low = new Uint32Array(count);
    this.high = new Uint8Array(count);
  }

  set(ordinal: number, key: number): void {
    this.low[ordinal] = key;
    this.high[ordinal] = key / 0x1_0000_0000;
  }

  get(ordinal: number): number {
    return this.high[ordinal]! * 0x1_0000_0000 + this.low[ordinal]!;
  }

  areEqual(a: number, b: number): boolean {
    return this.low[a] === this.low[b] && this.high[a] === this.high[b];
  }
}

/**
 * Sorts the first `count` ordinals in `order`, which are those below `count`, by their keys, those of equal keys staying as they stand in `order`, and returns the array in which they
 * then are: `order` or `spare`, which has room for as many. Only bits in which keys differ are looked at: twenty of them for
 * a million inodes.
 */
export function sortByKeys(keys: OrderKeys, count: number, order: Uint32Array, spare: Uint32Array): Uint32Array {
  const { low, high } = keys;
  let [from, to] = [order, spare];
  const lowBits = 32 - Math.clz32(varyingBits(low, count));
  const passes = Math.ceil(lowBits / MAX_DIGIT_BITS);
  const digitBits = Math.ceil(lowBits / Math.max(1, passes));
  for (let pass = 0; pass < passes; pass++) {
    distribute(low, count, pass * digitBits, digitBits, from, to);
    [from, to] = [to, from];
  }
  if (varyingBits(high, count) !== 0) {
    distribute(high, count, 0, 8, from, to);
    [from, to] = [to, from];
  }
  return from;
}

function varyingBits(keys: Uint32Array | Uint8Array, count: number): number {
  let all = 0xffff_ffff;
  let any = 0;
  for (let i = 0; i < count; i++) {
    all &= keys[i]!;
    any |= keys[i]!;
  }
  return any & ~all;
}

const COUNTERS = new Uint32Array((1 << MAX_DIGIT_BITS) + 1);

function distribute(
  keys: Uint32Array | Uint8Array,
  count: number,
  shift: number,
  bits: number,
  from: Uint32Array,
  to: Uint32Array,
): void {
  const mask = (1 << bits) - 1;
  const next = COUNTERS;
  next.fill(0, 0, mask + 2);
  for (let i = 0; i < count; i++) next[((keys[i]! >>> shift) & mask) + 1]!++;
  for (let digit = 1; digit <= mask; digit++) next[digit]! += next[digit - 1]!;
  for (let i = 0; i < count; i++) {
    const ordinal = from[i]!;
    to[next[(keys[ordinal]! >>> shift) & mask]!++] = ordinal;
  }
}
