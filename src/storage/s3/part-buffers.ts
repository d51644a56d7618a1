const MEBIBYTE = 1024 * 1024;
/** All parts but the last have this size as long as possible: some servers want them equal. */
export const FIRST_PART_BYTES: number = 8 * MEBIBYTE;
const EQUAL_PARTS = 5000;

/** What servers allow. */
export const MAX_PARTS = 10_000;

/**
 * Size of a part, from 0: 8 MiB for the first 39 GiB, then twice as much after every thousand parts. `MAX_PARTS` parts are
 * 523 GiB.
 */
export function partBytes(index: number): number {
  if (index < EQUAL_PARTS) return FIRST_PART_BYTES;
  return FIRST_PART_BYTES * 2 ** (1 + Math.floor((index - EQUAL_PARTS) / 1000));
}

/**
 * Copies pieces into parts of `partBytes`; the last part may be shorter, and there is none when there are no bytes. Whoever has
 * done with a part gives its memory back by `free.push(wholeOf(part))`.
 */
export async function* fillParts(pieces: AsyncIterable<Buffer>, free: Buffer[]): AsyncGenerator<Buffer> {
  let index = 0;
  let part: Buffer | undefined;
  let used = 0;
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; ) {
      part ??= takeBuffer(free, partBytes(index));
      const copied = piece.copy(part, used, at);
      at += copied;
      used += copied;
      if (used < part.length) continue;
      yield part;
      part = undefined;
      used = 0;
      index++;
    }
  }
  if (part !== undefined) yield part.subarray(0, used);
}

/** The buffer that a part is the beginning of. */
export function wholeOf(part: Buffer): Buffer {
  return Buffer.from(part.buffer);
}

/** Buffers of another size are of no more use: parts only grow. */
function takeBuffer(free: Buffer[], size: number): Buffer {
  for (let buffer = free.pop(); buffer !== undefined; buffer = free.pop()) if (buffer.length === size) return buffer;
  return Buffer.allocUnsafeSlow(size);
}
