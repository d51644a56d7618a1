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
 * Sorts ordinals by their keys, those of equal keys staying as they stand in `order`, and returns the array in which they
 * then are: `order` or `spare`, which is of the same size. Only bits in which keys differ are looked at: twenty of them for
 * a million inodes.
 */
export function sortByKeys(keys: OrderKeys, order: Uint32Array, spare: Uint32Array): Uint32Array {
  const { low, high } = keys;
  let [from, to] = [order, spare];
  const lowBits = 32 - Math.clz32(varyingBits(low));
  const passes = Math.ceil(lowBits / MAX_DIGIT_BITS);
  const digitBits = Math.ceil(lowBits / Math.max(1, passes));
  for (let pass = 0; pass < passes; pass++) {
    distribute(low, pass * digitBits, digitBits, from, to);
    [from, to] = [to, from];
  }
  if (varyingBits(high) !== 0) {
    distribute(high, 0, 8, from, to);
    [from, to] = [to, from];
  }
  return from;
}

function varyingBits(keys: Uint32Array | Uint8Array): number {
  let all = 0xffff_ffff;
  let any = 0;
  for (let i = 0; i < keys.length; i++) {
    all &= keys[i]!;
    any |= keys[i]!;
  }
  return any & ~all;
}

function distribute(
  keys: Uint32Array | Uint8Array,
  shift: number,
  bits: number,
  from: Uint32Array,
  to: Uint32Array,
): void {
  const mask = (1 << bits) - 1;
  const next = new Uint32Array(mask + 2);
  for (let i = 0; i < keys.length; i++) next[((keys[i]! >>> shift) & mask) + 1]!++;
  for (let digit = 1; digit <= mask; digit++) next[digit]! += next[digit - 1]!;
  for (let i = 0; i < from.length; i++) {
    const ordinal = from[i]!;
    to[next[(keys[ordinal]! >>> shift) & mask]!++] = ordinal;
  }
}
