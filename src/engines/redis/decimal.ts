import type { ByteWriter } from "../../base/bytes.ts";
import { digitCount, putHalves, putUint } from "../../base/digits.ts";

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
  return text === null || text === undefined ? 0n : (signedOf(text) ?? 0n);
}

/** Undefined for what is no number. */
export function signedOf(text: Buffer): bigint | undefined {
  const out: U64 = { hi: 0, lo: 0 };
  return parseSigned(text, 0, text.length, out) ? BigInt.asIntN(64, toBigInt(out.hi, out.lo)) : undefined;
}

export function toBigInt(hi: number, lo: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo);
}

/**
 * Appends the bulk string `$<size>\r\n<prefix><number>\r\n`: a key of one of the inode families, or with an empty prefix
 * a field.
 */
export function writeNumberArgument(writer: ByteWriter, prefix: Buffer, high: number, low: number): void {
  const size = prefix.length + digitCount(high, low);
  let at = writer.reserve(size + FRAME_BYTES);
  const { buffer, view } = writer;
  at = writeSize(view, at, size);
  for (let i = 0; i < prefix.length; i++) buffer[at++] = prefix[i]!;
  at = putHalves(view, at, high, low);
  view.setUint16(at, CRLF);
  writer.length = at + 2;
}

/** The same for two numbers with a byte between them: `c<inode>_<index>`, `<inode>:<length>`, `k<id>_<size>`. */
export function writePairArgument(
  writer: ByteWriter,
  prefix: Buffer,
  high: number,
  low: number,
  separator: number,
  secondHigh: number,
  secondLow: number,
): void {
  const size = prefix.length + digitCount(high, low) + 1 + digitCount(secondHigh, secondLow);
  let at = writer.reserve(size + FRAME_BYTES);
  const { buffer, view } = writer;
  at = writeSize(view, at, size);
  for (let i = 0; i < prefix.length; i++) buffer[at++] = prefix[i]!;
  at = putHalves(view, at, high, low);
  view.setUint8(at, separator);
  at = putHalves(view, at + 1, secondHigh, secondLow);
  view.setUint16(at, CRLF);
  writer.length = at + 2;
}

const CRLF = 0x0d0a;
/** More than what stands around the text of a bulk string, and the slack of what is written last. */
const FRAME_BYTES = 24;

/** Writes `$<size>\r\n` and returns the offset behind it. Needs 16 bytes of room at most. */
export function writeSize(view: DataView, to: number, size: number): number {
  return writeHeader(view, to, 0x24, size);
}

/** Writes `<mark><count>\r\n`. */
export function writeHeader(view: DataView, to: number, mark: number, count: number): number {
  view.setUint8(to, mark);
  const at = putUint(view, to + 1, count);
  view.setUint16(at, CRLF);
  return at + 2;
}
