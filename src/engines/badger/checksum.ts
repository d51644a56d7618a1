import { viewOf } from "../../base/bytes.ts";
import { crc32cOf } from "../../base/crc32c.ts";
import { readUvarint, uvarintSize } from "./uvarint.ts";
import { xxHash64 } from "./xxhash64.ts";

/** Algorithms in the field `algo` of a checksum. */
const CRC32C = 0;
const XXHASH64 = 1;
const ALGORITHM_TAG = 0x08;
const SUM_TAG = 0x10;

/** A checksum of an algorithm that we know. */
interface Checksum {
  readonly algorithm: number;
  readonly sum: bigint;
}

/**
 * Whether `bytes[0..dataEnd)` has the checksum that stands in `bytes[start..end)`, a protobuf message (docs/spec/kv-stores.md §3.5);
 * undefined when that is none, or one of an unknown algorithm. `view` is that of the same bytes.
 */
export function checkSum(
  bytes: Uint8Array,
  view: DataView,
  dataEnd: number,
  start: number,
  end: number,
): boolean | undefined {
  const size = uvarintSize(bytes, start + 1, end);
  // of CRC-32C, whose number is 0, there is only the sum
  if (bytes[start] === SUM_TAG && size > 0 && start + 1 + size === end) {
    return crc32cOf(view, 0, dataEnd) === readUvarint(bytes, start + 1, size);
  }
  const checksum = decodeChecksum(bytes, start, end);
  return checksum && matchesChecksum(bytes.subarray(0, dataEnd), checksum);
}

/** Reads `bytes[start..end)`; undefined when that is no checksum, or one of an unknown algorithm. */
function decodeChecksum(bytes: Uint8Array, start: number, end: number): Checksum | undefined {
  let algorithm = CRC32C;
  let sum = 0n;
  let at = start;
  while (at < end) {
    const tag = bytes[at++]!;
    let value = 0n;
    let shift = 0n;
    for (;;) {
      const byte = bytes[at++];
      if (byte === undefined || at > end || shift > 63n) return undefined;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) break;
      shift += 7n;
    }
    if (tag === ALGORITHM_TAG) algorithm = Number(value);
    else if (tag === SUM_TAG) sum = value;
    else return undefined;
  }
  return algorithm === CRC32C || algorithm === XXHASH64 ? { algorithm, sum } : undefined;
}

/** Whether `bytes` have that checksum. */
function matchesChecksum(bytes: Uint8Array, { algorithm, sum }: Checksum): boolean {
  return algorithm === XXHASH64
    ? xxHash64(bytes) === BigInt.asUintN(64, sum)
    : BigInt(crc32cOf(viewOf(bytes), 0, bytes.length)) === sum;
}
