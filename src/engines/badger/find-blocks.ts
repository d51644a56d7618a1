import { viewOf } from "../../base/bytes.ts";
import { checkSum } from "./checksum.ts";
import { VERSION_BYTES } from "./entry.ts";
import { COMPRESSION_NONE, COMPRESSION_SNAPPY } from "./manifest.ts";
import { readUpTo } from "./read-file.ts";
import { decodeSnappyPrefix } from "./snappy-prefix.ts";
import type { FoundBlock } from "./table-index.ts";

const WINDOW_BYTES = 8 * 1024 * 1024;
/** A block has 4 KiB, or one value below 1 MiB; larger ones are not found. */
const MAX_BLOCK_BYTES = 2 * 1024 * 1024;
/** What a checksum begins with where it is one of CRC-32C, and how large it is with that. */
const SUM_TAG = 0x10;
const MAX_SUM_BYTES = 6;
/** Ends of blocks without compression that are tried for one beginning. */
const MAX_ENDS = 64;
/** Bytes that may be looked at in vain, for each byte of a file: what is made to look like blocks everywhere shall not take for ever. */
const MAX_WASTE = 32;
/** A checksum, and its size. */
const OVERLAP_BYTES = 16;

export interface FoundBlocks {
  readonly blocks: readonly FoundBlock[];
  /** Parts of the file between blocks that are none. */
  readonly gaps: number;
  /** Behind the last block. */
  readonly end: number;
}

/**
 * Finds the blocks of a table without its index: they stand one behind the other from the beginning on, those of Snappy end where what
 * they decompress to does, those without compression where a checksum says so. Each is proven by its checksum. Undefined for other
 * compressions.
 */
export function findBlocks(
  descriptor: number,
  path: string,
  fileSize: number,
  compression: number,
): FoundBlocks | undefined {
  if (compression !== COMPRESSION_NONE && compression !== COMPRESSION_SNAPPY) return undefined;
  const blocks: FoundBlock[] = [];
  const window = Buffer.allocUnsafeSlow(Math.min(WINDOW_BYTES, fileSize));
  const scratch = Buffer.allocUnsafeSlow(MAX_BLOCK_BYTES);
  const isPlain = compression === COMPRESSION_NONE;
  const waste = { left: MAX_WASTE * fileSize };
  let [base, filled, gaps, end] = [0, 0, 0, 0];
  for (let at = 0; at < fileSize && waste.left > 0; ) {
    if (at + MAX_BLOCK_BYTES > base + filled && base + filled < fileSize) {
      base = at;
      filled = readUpTo(descriptor, path, base, window, 0, Math.min(window.length, fileSize - base));
      if (filled === 0) break;
    }
    const found = isPlain
      ? plainBlock(window, at - base, filled, waste)
      : snappyBlock(window, at - base, filled, scratch, waste);
    if (found !== undefined) {
      if (at !== end) gaps++;
      blocks.push({ firstKey: found.firstKey, offset: at, size: found.size });
      at += found.size;
      end = at;
    } else if (!isPlain) at++;
    else {
      // a block begins where another one ends
      const next = nextSum(window, at - base, filled);
      at = next === undefined ? Math.max(at + 1, base + filled - OVERLAP_BYTES) : base + next;
      if (next === undefined && base + filled >= fileSize) break;
    }
  }
  return { blocks, gaps, end };
}

interface Found {
  readonly firstKey: Buffer;
  readonly size: number;
}

interface Waste {
  left: number;
}

function snappyBlock(bytes: Buffer, start: number, end: number, scratch: Buffer, waste: Waste): Found | undefined {
  const { stored, size } = decodeSnappyPrefix(bytes, start, end, scratch);
  const firstKey = size === 0 ? undefined : firstKeyOf(scratch.subarray(0, size));
  if (firstKey !== undefined) return { firstKey, size: stored };
  waste.left -= stored + size;
  return undefined;
}

/** A block from `start` to one of the next ends of blocks. */
function plainBlock(bytes: Buffer, start: number, end: number, waste: Waste): Found | undefined {
  let from = start;
  for (let tries = 0; tries < MAX_ENDS; tries++) {
    const next = nextSum(bytes, from, end);
    if (next === undefined || next - start > MAX_BLOCK_BYTES) return undefined;
    const firstKey = firstKeyOf(bytes.subarray(start, next));
    if (firstKey !== undefined) return { firstKey, size: next - start };
    waste.left -= next - start;
    from = next;
  }
  return undefined;
}

/** Behind the next checksum and its size (u32 big-endian), from `from` on. */
function nextSum(bytes: Buffer, from: number, end: number): number | undefined {
  for (let at = from; at + 4 < end; at++) {
    const size = bytes[at + 4]!;
    // tag and sum, then three zero bytes and the size
    if (size < 2 || size > MAX_SUM_BYTES || bytes[at + 1] !== 0 || bytes[at + 2] !== 0 || bytes[at + 3] !== 0) continue;
    const start = at + 1 - size;
    if (start >= from && bytes[start] === SUM_TAG && bytes[at]! < 0x80) return at + 5;
  }
  return undefined;
}

/** The first user key of a whole block, decompressed; undefined for what is none. A copy. */
function firstKeyOf(block: Buffer): Buffer | undefined {
  const { length } = block;
  if (length < 8) return undefined;
  const sumStart = length - 4 - block.readUInt32BE(length - 4);
  if (sumStart < 4) return undefined;
  const count = block.readUInt32BE(sumStart - 4);
  const entriesEnd = sumStart - 4 - count * 4;
  if (count === 0 || entriesEnd < 4 || block.readUInt32LE(entriesEnd) !== 0) return undefined;
  const size = block.readUInt16LE(2);
  if (block.readUInt16LE(0) !== 0 || size <= VERSION_BYTES || 4 + size > entriesEnd) return undefined;
  if (checkSum(block, viewOf(block), sumStart, sumStart, length - 4) !== true) return undefined;
  return Buffer.from(block.subarray(4, 4 + size - VERSION_BYTES));
}
