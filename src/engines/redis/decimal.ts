import type { ByteWriter } from "../../base/bytes.ts";

/** A 64-bit number as two unsigned 32-bit halves: what hot code uses instead of BigInt. */
export interface U64 {
  hi: number;
  lo: number;
}

const TWO_32 = 0x1_0000_0000;
/** Any number of so many digits is exact in a double. */
const SAFE_DIGITS = 15;

/**
 * Parses `bytes[start..end)` as an unsigned 64-bit decimal number without sign and leading zeros, the only form that
 * occurs in keys (docs/spec/redis.md, head). False for anything else; `out` is then undefined.
 */
export function parseUnsigned(bytes: Buffer, start: number, end: number, out: U64): boolean {
  const size = end - start;
  if (size <= 0 || size > 20) return false;
  if (bytes[start] === 0x30 && size > 1) return false;
  return size <= SAFE_DIGITS ? parseShort(bytes, start, end, out) : parseLong(bytes, start, end, out);
}

function parseShort(bytes: Buffer, start: number, end: number, out: U64): boolean {
  let value = 0;
  for (let at = start; at < end; at++) {
    const digit = bytes[at]! - 0x30;
    if (digit < 0 || digit > 9) return false;
    value = value * 10 + digit;
  }
  out.hi = value < TWO_32 ? 0 : Math.floor(value / TWO_32);
  out.lo = value >>> 0;
  return true;
}

function parseLong(bytes: Buffer, start: number, end: number, out: U64): boolean {
  let hi = 0;
  let lo = 0;
  for (let at = start; at < end; at++) {
    const digit = bytes[at]! - 0x30;
    if (digit < 0 || digit > 9) return false;
    const low = lo * 10 + digit;
    hi = hi * 10 + Math.floor(low / TWO_32);
    lo = low >>> 0;
    if (hi >= TWO_32) return false;
  }
  out.hi = hi;
  out.lo = lo;
  return true;
}

/** Parses a signed 64-bit decimal number into two's complement halves. Leading zeros and a sign are allowed. */
export function parseSigned(bytes: Buffer, start: number, end: number, out: U64): boolean {
  const sign = bytes[start];
  const negative = sign === 0x2d;
  let first = negative || sign === 0x2b ? start + 1 : start;
  if (first >= end) return false;
  while (first < end - 1 && bytes[first] === 0x30) first++;
  if (!parseUnsigned(bytes, first, end, out)) return false;
  if (negative) {
    if (out.hi > 0x8000_0000 || (out.hi === 0x8000_0000 && out.lo !== 0)) return false;
    out.lo = -out.lo >>> 0;
    out.hi = (~out.hi + (out.lo === 0 ? 1 : 0)) >>> 0;
    return true;
  }
  return out.hi < 0x8000_0000;
}

/** A stored counter or statistics value; what is no number counts as 0 (docs/spec/redis.md §4). */
export function signedOrZero(text: Buffer | null | undefined): bigint {
  const out: U64 = { hi: 0, lo: 0 };
  if (text === null || text === undefined || !parseSigned(text, 0, text.length, out)) return 0n;
  return BigInt.asIntN(64, toBigInt(out.hi, out.lo));
}

export function toBigInt(hi: number, lo: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo);
}

const SCRATCH: Buffer = Buffer.allocUnsafeSlow(24);

/** Writes the digits of an unsigned number right-aligned into the scratch buffer and returns where they begin. */
function digitsOf(hi: number, lo: number): number {
  let at = SCRATCH.length;
  let value = hi * TWO_32 + lo;
  if (hi >= 0x20_0000) {
    // Above 2^53 (trash directories): the only numbers that a double cannot hold.
    const text = toBigInt(hi, lo).toString();
    at -= text.length;
    SCRATCH.write(text, at, "latin1");
    return at;
  }
  while (value >= TWO_32) {
    const rest = Math.floor(value / 10);
    SCRATCH[--at] = 0x30 + (value - rest * 10);
    value = rest;
  }
  let small = value >>> 0;
  do {
    const rest = Math.floor(small / 10);
    SCRATCH[--at] = 0x30 + (small - rest * 10);
    small = rest;
  } while (small > 0);
  return at;
}

/**
 * Appends the bulk string `$<size>\r\n<prefix><number>\r\n`: a key of one of the inode families, or with an empty prefix
 * a field.
 */
export function writeNumberArgument(writer: ByteWriter, prefix: Buffer, hi: number, lo: number): void {
  const from = digitsOf(hi, lo);
  const size = prefix.length + SCRATCH.length - from;
  let at = writer.reserve(size + 24);
  const bytes = writer.buffer;
  at = writeSize(bytes, at, size);
  for (let i = 0; i < prefix.length; i++) bytes[at++] = prefix[i]!;
  for (let i = from; i < SCRATCH.length; i++) bytes[at++] = SCRATCH[i]!;
  bytes[at++] = 0x0d;
  bytes[at++] = 0x0a;
  writer.length = at;
}

/** The same for two numbers with a byte between them: `c<inode>_<index>`, `<inode>:<length>`, `k<id>_<size>`. */
export function writePairArgument(
  writer: ByteWriter,
  prefix: Buffer,
  hi: number,
  lo: number,
  separator: number,
  secondHi: number,
  secondLo: number,
): void {
  let from = digitsOf(secondHi, secondLo);
  const secondSize = SCRATCH.length - from;
  const room = writer.reserve(prefix.length + 72);
  const bytes = writer.buffer;
  // The second number is parked behind the place of the first, then moved up to it.
  const parked = room + prefix.length + 40;
  SCRATCH.copy(bytes, parked, from);
  from = digitsOf(hi, lo);
  const size = prefix.length + SCRATCH.length - from + 1 + secondSize;
  let at = writeSize(bytes, room, size);
  for (let i = 0; i < prefix.length; i++) bytes[at++] = prefix[i]!;
  for (let i = from; i < SCRATCH.length; i++) bytes[at++] = SCRATCH[i]!;
  bytes[at++] = separator;
  for (let i = 0; i < secondSize; i++) bytes[at++] = bytes[parked + i]!;
  bytes[at++] = 0x0d;
  bytes[at++] = 0x0a;
  writer.length = at;
}

/** Writes `$<size>\r\n` and returns the offset behind it. Needs 13 bytes of room at most. */
export function writeSize(bytes: Buffer, start: number, size: number): number {
  return writeHeader(bytes, start, 0x24, size);
}

/** Writes `<mark><count>\r\n`. */
export function writeHeader(bytes: Buffer, start: number, mark: number, count: number): number {
  let at = start;
  bytes[at++] = mark;
  if (count < 10) {
    bytes[at++] = 0x30 + count;
  } else {
    let scale = 10;
    while (scale * 10 <= count) scale *= 10;
    for (let rest = count; scale >= 1; scale = Math.floor(scale / 10)) {
      const digit = Math.floor(rest / scale);
      bytes[at++] = 0x30 + digit;
      rest -= digit * scale;
    }
  }
  bytes[at++] = 0x0d;
  bytes[at++] = 0x0a;
  return at;
}
