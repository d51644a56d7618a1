import { crc32c } from "../../base/crc32c.ts";
import { xxHash64 } from "./xxhash64.ts";

/** Algorithms in the field `algo` of a checksum. */
const CRC32C = 0;
const XXHASH64 = 1;

/** A checksum message: `10 <uvarint>` where the algorithm is CRC-32C (docs/spec/kv-stores.md §3.5). */
export interface Checksum {
  readonly algorithm: number;
  readonly sum: bigint;
}

/** Reads `bytes[start..end)`; undefined when that is no checksum, or one of an unknown algorithm. */
export function decodeChecksum(bytes: Uint8Array, start: number, end: number): Checksum | undefined {
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
    if (tag === 0x08) algorithm = Number(value);
    else if (tag === 0x10) sum = value;
    else return undefined;
  }
  return algorithm === CRC32C || algorithm === XXHASH64 ? { algorithm, sum } : undefined;
}

/** Whether `bytes` have that checksum. */
export function matchesChecksum(bytes: Uint8Array, { algorithm, sum }: Checksum): boolean {
  return algorithm === XXHASH64 ? xxHash64(bytes) === BigInt.asUintN(64, sum) : BigInt(crc32c(bytes)) === sum;
}
