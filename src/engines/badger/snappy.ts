import { viewOf } from "../../base/bytes.ts";
import { readUvarint, uvarintSize } from "./uvarint.ts";

/** A copy of 64 bytes takes three: nothing grows more than this. */
const MAX_GROWTH = 22;

/**
 * Bytes that the Snappy block `source[start..end)` (raw format: no framing, no checksum) has when it is decoded; -1 when it
 * cannot be right.
 */
export function snappySize(source: Uint8Array, start: number, end: number): number {
  const header = uvarintSize(source, start, end);
  if (header === 0) return -1;
  const size = readUvarint(source, start, header);
  return size <= (end - start) * MAX_GROWTH ? size : -1;
}

/** Room behind the decoded bytes with which `decodeSnappy` is fast: it copies words of eight bytes, also beyond the end. */
export const SNAPPY_ROOM = 16;

/**
 * Decodes to the beginning of `target`, where `size` comes from `snappySize`; what stands behind the `size` bytes is undefined
 * afterwards. False for bytes that are not Snappy or give another number of bytes.
 */
export function decodeSnappy(
  source: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  size: number,
): boolean {
  const from = viewOf(source);
  const into = viewOf(target);
  const lastRead = source.length - 16;
  const lastWrite = target.length - 16;
  let at = start + uvarintSize(source, start, end);
  let to = 0;
  while (at < end) {
    const tag = source[at++]!;
    const kind = tag & 3;
    let length = (tag >> 2) + 1;
    if (kind === 0) {
      if (length <= 16 && at <= lastRead && to <= lastWrite) {
        into.setBigInt64(to, from.getBigInt64(at));
        if (length > 8) into.setBigInt64(to + 8, from.getBigInt64(at + 8));
      } else {
        if (length > 60) {
          const extra = length - 60;
          if (at + extra > end) return false;
          length = 1;
          for (let i = 0, unit = 1; i < extra; i++, unit *= 256) length += source[at + i]! * unit;
          at += extra;
        }
        if (at + length > end || to + length > size) return false;
        if (length > 64) target.set(source.subarray(at, at + length), to);
        else for (let i = 0; i < length; i++) target[to + i] = source[at + i]!;
      }
      at += length;
      to += length;
      if (at > end || to > size) return false;
      continue;
    }
    let distance: number;
    if (kind === 1) {
      if (at >= end) return false;
      length = ((tag >> 2) & 7) + 4;
      distance = ((tag >> 5) << 8) | source[at++]!;
    } else if (kind === 2) {
      if (at + 2 > end) return false;
      distance = source[at]! | (source[at + 1]! << 8);
      at += 2;
    } else {
      if (at + 4 > end) return false;
      distance = (source[at]! | (source[at + 1]! << 8) | (source[at + 2]! << 16) | (source[at + 3]! << 24)) >>> 0;
      at += 4;
    }
    if (distance === 0 || distance > to || to + length > size) return false;
    const stop = to + length;
    if (distance >= 8 && stop <= lastWrite) {
      for (let i = to; i < stop; i += 8) into.setBigInt64(i, into.getBigInt64(i - distance));
    } else {
      // byte by byte: where the distance is shorter than the copy, it repeats what it has just written
      for (let i = to; i < stop; i++) target[i] = target[i - distance]!;
    }
    to = stop;
  }
  return to === size;
}
