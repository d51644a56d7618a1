/** Numbers of seven bits per byte, lowest first, as in protobuf; here at most 64 bits in ten bytes. */
const MAX_BYTES = 10;

/** Bytes that the number at `at` takes; 0 when it does not end before `end`. */
export function uvarintSize(bytes: Uint8Array, at: number, end: number): number {
  const last = Math.min(end, at + MAX_BYTES);
  for (let i = at; i < last; i++) if (bytes[i]! < 0x80) return i - at + 1;
  return 0;
}

/** The number of `size` bytes at `at`. Above 2^53 it is rounded, which is still far above whatever may be a length or a time. */
export function readUvarint(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 128 + (bytes[at + i]! & 0x7f);
  return value;
}

/** Writes `value`, a safe integer, and returns the offset behind it. */
export function writeUvarint(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  let i = at;
  while (rest >= 128) {
    target[i++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  target[i++] = rest;
  return i;
}
