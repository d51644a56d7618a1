/**
 * The innermost loops of the encoder: each writes at `to`, where the caller has made room, and returns the offset behind what
 * it wrote.
 */

/** The two decimal digits of 0..99. */
const DIGITS: Uint8Array = new Uint8Array(200);
for (let i = 0; i < 100; i++) {
  DIGITS[i * 2] = 48 + Math.floor(i / 10);
  DIGITS[i * 2 + 1] = 48 + (i % 10);
}

/** ASCII text; short ones are faster byte by byte than through a call. */
export function putAscii(buffer: Buffer, to: number, text: Uint8Array): number {
  const size = text.length;
  if (size > 24) buffer.set(text, to);
  else for (let i = 0; i < size; i++) buffer[to + i] = text[i]!;
  return to + size;
}

/** An unsigned integer below 2^32. */
export function putUint(buffer: Buffer, to: number, value: number): number {
  if (value < 10) {
    buffer[to] = 48 + value;
    return to + 1;
  }
  const end = to + decimalSize(value);
  let at = end;
  let left = value;
  if (value >= 100_000_000) {
    // Halves below 2^31 keep the divisions in integers.
    left = (value / 10_000) >>> 0;
    const low = (value - left * 10_000) | 0;
    const high = (low / 100) | 0;
    const pair = (low - high * 100) * 2;
    buffer[at - 1] = DIGITS[pair + 1]!;
    buffer[at - 2] = DIGITS[pair]!;
    buffer[at - 3] = DIGITS[high * 2 + 1]!;
    buffer[at - 4] = DIGITS[high * 2]!;
    at -= 4;
  }
  let rest = left | 0;
  while (at - to > 1) {
    const high = (rest / 100) | 0;
    const pair = (rest - high * 100) * 2;
    buffer[at - 1] = DIGITS[pair + 1]!;
    buffer[at - 2] = DIGITS[pair]!;
    at -= 2;
    rest = high;
  }
  if (at > to) buffer[to] = 48 + rest;
  return end;
}

/** A 64-bit integer from its big-endian bytes. */
export function putUint64(buffer: Buffer, to: number, source: Buffer, at: number): number {
  if (readUint32(source, at) === 0) return putUint(buffer, to, readUint32(source, at + 4));
  return putLatin1(buffer, to, source.readBigUInt64BE(at).toString());
}

/** The same, signed. */
export function putInt64(buffer: Buffer, to: number, source: Buffer, at: number): number {
  if (readUint32(source, at) === 0) return putUint(buffer, to, readUint32(source, at + 4));
  return putLatin1(buffer, to, source.readBigInt64BE(at).toString());
}

export function putLatin1(buffer: Buffer, to: number, text: string): number {
  return to + buffer.write(text, to, "latin1");
}

/** Faster than Buffer's method in hot code: no bounds message to prepare. */
export function readUint32(bytes: Buffer, at: number): number {
  return bytes[at]! * 0x100_0000 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!);
}

function decimalSize(value: number): number {
  if (value < 100_000) {
    if (value < 100) return value < 10 ? 1 : 2;
    if (value < 1000) return 3;
    return value < 10_000 ? 4 : 5;
  }
  if (value < 10_000_000) return value < 1_000_000 ? 6 : 7;
  if (value < 100_000_000) return 8;
  return value < 1_000_000_000 ? 9 : 10;
}
