/** docs/spec/kv-stores.md §3.5: for a false positive in a hundred, as the reference has it. */
const BITS_PER_KEY = 7;
const PROBES = 4;
const MIN_BITS = 64;

const SEED = 0xbc9f1d34;
const MULTIPLIER = 0xc6a4a793;

/** The hash of a user key by which the filter is asked: unsigned, 32 bits. */
export function bloomHash(key: Uint8Array, start: number, size: number): number {
  let hash = (SEED ^ Math.imul(size, MULTIPLIER)) | 0;
  let at = start;
  const end = start + size;
  for (; at + 4 <= end; at += 4) {
    const word = key[at]! | (key[at + 1]! << 8) | (key[at + 2]! << 16) | (key[at + 3]! << 24);
    hash = Math.imul((hash + word) | 0, MULTIPLIER);
    hash ^= hash >>> 16;
  }
  const left = end - at;
  if (left > 0) {
    if (left === 3) hash = (hash + (key[at + 2]! << 16)) | 0;
    if (left >= 2) hash = (hash + (key[at + 1]! << 8)) | 0;
    hash = Math.imul((hash + key[at]!) | 0, MULTIPLIER);
    hash ^= hash >>> 24;
  }
  return hash >>> 0;
}

/** The filter of a table: bits, and behind them one byte with the number of probes. */
export function buildBloomFilter(hashes: Uint32Array): Buffer {
  const bytes = Math.ceil(Math.max(MIN_BITS, hashes.length * BITS_PER_KEY) / 8);
  const filter = Buffer.alloc(bytes + 1);
  for (let i = 0; i < hashes.length; i++) setBits(filter, bytes * 8, hashes[i]!);
  filter[bytes] = PROBES;
  return filter;
}

function setBits(filter: Buffer, bits: number, first: number): void {
  const delta = ((first >>> 17) | (first << 15)) >>> 0;
  let hash = first;
  for (let i = 0; i < PROBES; i++) {
    const bit = hash % bits;
    filter[bit >>> 3]! |= 1 << (bit & 7);
    hash = (hash + delta) >>> 0;
  }
}
