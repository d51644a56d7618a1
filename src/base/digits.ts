/**
 * Decimal text of numbers, four digits at a time, for hot code. What is written is written at `to`, where the caller has
 * made room and three bytes more, and the offset behind it is returned.
 */

/** The four decimal digits of 0..9999. */
const DIGITS: Uint32Array = Uint32Array.from({ length: 10_000 }, (_, i) =>
  Buffer.from(String(i).padStart(4, "0")).readUInt32BE(),
);

/** An unsigned integer below 2^32. */
export function putUint(view: DataView, to: number, value: number): number {
  if (value < 10_000) return putShort(view, to, value);
  if (value < 100_000_000) {
    const high = (value / 10_000) | 0;
    const at = putShort(view, to, high);
    view.setUint32(at, DIGITS[value - high * 10_000]!);
    return at + 4;
  }
  const high = (value / 100_000_000) | 0;
  return putEightDigits(view, putShort(view, to, high), value - high * 100_000_000);
}

function putShort(view: DataView, to: number, value: number): number {
  const digits = DIGITS[value]!;
  if (value >= 100) {
    if (value >= 1000) {
      view.setUint32(to, digits);
      return to + 4;
    }
    view.setUint32(to, digits << 8);
    return to + 3;
  }
  if (value >= 10) {
    view.setUint16(to, digits);
    return to + 2;
  }
  view.setUint8(to, digits);
  return to + 1;
}

function putEightDigits(view: DataView, to: number, value: number): number {
  const high = (value / 10_000) | 0;
  view.setUint32(to, DIGITS[high]!);
  view.setUint32(to + 4, DIGITS[value - high * 10_000]!);
  return to + 8;
}

/** Numbers with a smaller upper half are exact as doubles. */
const EXACT_HIGH = 0x20_0000;
const TWO_32 = 0x1_0000_0000;

/** An unsigned 64-bit integer from its halves. */
export function putHalves(view: DataView, to: number, high: number, low: number): number {
  if (high === 0) return putUint(view, to, low);
  if (high >= EXACT_HIGH) return putString(view, to, ((BigInt(high) << 32n) | BigInt(low)).toString());
  const value = high * TWO_32 + low;
  const upper = Math.floor(value / 100_000_000);
  return putEightDigits(view, putUint(view, to, upper), value - upper * 100_000_000);
}

/** How many digits `putHalves` writes. */
export function digitCount(high: number, low: number): number {
  if (high === 0 && low < 100_000) {
    if (low < 100) return low < 10 ? 1 : 2;
    if (low < 1000) return 3;
    return low < 10_000 ? 4 : 5;
  }
  if (high >= EXACT_HIGH) return ((BigInt(high) << 32n) | BigInt(low)).toString().length;
  const value = high * TWO_32 + low;
  let count = 6;
  for (let limit = 1_000_000; value >= limit; limit *= 10) count++;
  return count;
}

/** The value of the four digits at `at`, -1 when one of the four bytes is no digit. */
export function fourDigits(view: DataView, at: number): number {
  const four = view.getUint32(at) ^ 0x3030_3030;
  // A byte above 9 has its highest bit set, or gets it set.
  if (((four | (four + 0x7676_7676)) & 0x8080_8080) !== 0) return -1;
  return (four >>> 24) * 1000 + ((four >> 16) & 15) * 100 + ((four >> 8) & 15) * 10 + (four & 15);
}

/** ASCII text that is rare. */
export function putString(view: DataView, to: number, text: string): number {
  for (let i = 0; i < text.length; i++) view.setUint8(to + i, text.charCodeAt(i));
  return to + text.length;
}
