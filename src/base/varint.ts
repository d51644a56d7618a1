/** Bytes of a varint. */
export function varintSize(hi: number, lo: number): number {
  if (hi === 0) return varintSize32(lo);
  if (hi < 0x8) return 5;
  if (hi < 0x400) return 6;
  if (hi < 0x2_0000) return 7;
  if (hi < 0x100_0000) return 8;
  return hi < 0x8000_0000 ? 9 : 10;
}

/** The same for a number of 32 bits. */
export function varintSize32(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  return value < 0x1000_0000 ? 4 : 5;
}

/** Writes a varint from its halves and returns the offset behind it. */
export function putVarint(out: Buffer, at: number, hi: number, lo: number): number {
  if (hi === 0) return putVarint32(out, at, lo);
  let to = at;
  out[to++] = (lo & 0x7f) | 0x80;
  out[to++] = ((lo >>> 7) & 0x7f) | 0x80;
  out[to++] = ((lo >>> 14) & 0x7f) | 0x80;
  out[to++] = ((lo >>> 21) & 0x7f) | 0x80;
  let rest = hi >>> 3;
  out[to] = (lo >>> 28) | ((hi & 0x7) << 4);
  for (; rest !== 0; rest >>>= 7) {
    out[to]! |= 0x80;
    out[++to] = rest & 0x7f;
  }
  return to + 1;
}

/** The same for a number of 32 bits. */
export function putVarint32(out: Buffer, at: number, value: number): number {
  let to = at;
  let rest = value;
  while (rest >= 0x80) {
    out[to++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  out[to] = rest;
  return to + 1;
}

/** Bytes of a varint field with a tag of one byte; 0 is not written at all. */
export function fieldSize(hi: number, lo: number): number {
  return hi === 0 && lo === 0 ? 0 : 1 + varintSize(hi, lo);
}

/** Writes a varint field unless it is 0. */
export function putField(out: Buffer, at: number, tag: number, hi: number, lo: number): number {
  if (hi === 0 && lo === 0) return at;
  out[at] = tag;
  return putVarint(out, at + 1, hi, lo);
}

/** Bytes of a bytes field with a tag of one byte; an empty one is not written at all. */
export function bytesSize(size: number): number {
  return size === 0 ? 0 : 1 + varintSize32(size) + size;
}
