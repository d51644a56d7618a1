/**
 * The innermost loops of the encoder: each writes at `to`, where the caller has made room, and returns the offset behind what
 * it wrote. They write whole words: up to `SLACK_BYTES` behind that offset may be overwritten too.
 */

/** Room to be kept behind everything that is put. */
export const SLACK_BYTES = 8;

/** Constant ASCII text, in words of eight bytes. As doubles: no ASCII text is a NaN, whose bits might not be kept. */
export interface ConstantText {
  readonly words: Float64Array;
  /** Bytes. */
  readonly size: number;
}

export function constantText(text: string): ConstantText {
  const bytes = Buffer.alloc(Math.ceil(text.length / 8) * 8);
  bytes.write(text, "latin1");
  const words = Float64Array.from({ length: bytes.length / 8 }, (_, i) => bytes.readDoubleBE(i * 8));
  return { words, size: text.length };
}

export function putText(view: DataView, to: number, text: ConstantText): number {
  const words = text.words;
  for (let i = 0; i < words.length; i++) view.setFloat64(to + i * 8, words[i]!);
  return to + text.size;
}

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

/** A 64-bit integer from its big-endian bytes. */
export function putUint64(view: DataView, to: number, source: DataView, at: number): number {
  const high = source.getUint32(at);
  return high < EXACT_HIGH
    ? putExact(view, to, high, source.getUint32(at + 4))
    : putString(view, to, source.getBigUint64(at).toString());
}

/** The same, signed. */
export function putInt64(view: DataView, to: number, source: DataView, at: number): number {
  const high = source.getUint32(at);
  return high < EXACT_HIGH
    ? putExact(view, to, high, source.getUint32(at + 4))
    : putString(view, to, source.getBigInt64(at).toString());
}

/** Numbers with a smaller upper half are exact as doubles. */
const EXACT_HIGH = 0x20_0000;

function putExact(view: DataView, to: number, high: number, low: number): number {
  if (high === 0) return putUint(view, to, low);
  const value = high * 0x1_0000_0000 + low;
  const upper = Math.floor(value / 100_000_000);
  return putEightDigits(view, putUint(view, to, upper), value - upper * 100_000_000);
}

/** ASCII text that is rare. */
export function putString(view: DataView, to: number, text: string): number {
  for (let i = 0; i < text.length; i++) view.setUint8(to + i, text.charCodeAt(i));
  return to + text.length;
}
