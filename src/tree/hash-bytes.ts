/** 32 bits of a hash (MurmurHash3's mixing): tells two descriptions of one file apart, nothing more. */
export function hashBytes(seed: number, bytes: Buffer, start: number, end: number): number {
  let hash = seed | 0;
  for (let i = start; i < end; i++) {
    hash = Math.imul(hash ^ bytes[i]!, 0xcc9e_2d51);
    hash = (hash << 13) | (hash >>> 19);
  }
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85eb_ca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}
