import { readUvarint, uvarintSize } from "./uvarint.ts";

/** What a block of BadgerDB has at least: an entry, its offset, their number, a checksum and its size. */
const MIN_BYTES = 16;

/** What a block has taken and given. */
export interface SnappyPrefix {
  /** Bytes of the source. */
  readonly stored: number;
  /** Bytes at the beginning of the target; 0 where there is no block. */
  readonly size: number;
}

const NOTHING: SnappyPrefix = { stored: 0, size: 0 };

/**
 * Decodes the Snappy block (raw format) that begins at `start`, to its own end, which is before `end` or there. Bytes that
 * are none, or one that `target` has no room for, give a size of 0, and how many of them were looked at. Slower than `decodeSnappy`, which is told where the block ends.
 */
export function decodeSnappyPrefix(source: Uint8Array, start: number, end: number, target: Buffer): SnappyPrefix {
  const header = uvarintSize(source, start, end);
  if (header === 0) return NOTHING;
  const size = readUvarint(source, start, header);
  let at = start + header;
  // the first thing in a block cannot be a copy
  if (size < MIN_BYTES || size > target.length || (source[at]! & 3) !== 0) return NOTHING;
  let to = 0;
  while (to < size) {
    if (at >= end) return { stored: at - start + to, size: 0 };
    const tag = source[at++]!;
    const kind = tag & 3;
    let length = (tag >> 2) + 1;
    if (kind === 0) {
      const extra = Math.max(0, length - 60);
      if (at + extra > end) return { stored: at - start + to, size: 0 };
      if (extra > 0) length = 1;
      for (let i = 0, unit = 1; i < extra; i++, unit *= 256) length += source[at + i]! * unit;
      at += extra;
      if (at + length > end || to + length > size) return { stored: at - start + to, size: 0 };
      target.set(source.subarray(at, at + length), to);
      at += length;
      to += length;
      continue;
    }
    const bytes = kind === 3 ? 4 : kind;
    if (at + bytes > end) return { stored: at - start + to, size: 0 };
    let distance = 0;
    for (let i = bytes - 1; i >= 0; i--) distance = distance * 256 + source[at + i]!;
    if (kind === 1) {
      length = ((tag >> 2) & 7) + 4;
      distance += (tag >> 5) * 256;
    }
    at += bytes;
    if (distance === 0 || distance > to || to + length > size) return { stored: at - start + to, size: 0 };
    for (const stop = to + length; to < stop; to++) target[to] = target[to - distance]!;
  }
  return { stored: at - start, size };
}
