/**
 * The percent escape of names, symlink targets and xattr values (docs/spec/json-dump.md §6): `%` and two upper-case
 * hexadecimal digits stand for one byte. Everything else stands for itself, also a `%` that nothing fitting follows.
 */

/** Value of a digit `0-9A-F` by its byte, -1 for every other byte: lower-case digits do not count (§10). */
const UPPER_HEX: Int8Array = new Int8Array(256).fill(-1);
for (let value = 0; value < 16; value++) UPPER_HEX["0123456789ABCDEF".charCodeAt(value)] = value;

const PERCENT = 0x25;

/**
 * Undoes the percent escape of `source[start..end)` into `target` from `at` on and returns the end of the result, which is
 * never longer than the input. `target` may be `source` when `at` is `start`.
 */
export function percentUnescape(source: Buffer, start: number, end: number, target: Buffer, at: number): number {
  let to = at;
  let from = start;
  while (from < end) {
    const byte = source[from]!;
    if (byte === PERCENT && from + 2 < end) {
      const high = UPPER_HEX[source[from + 1]!]!;
      const low = UPPER_HEX[source[from + 2]!]!;
      if (high >= 0 && low >= 0) {
        target[to++] = (high << 4) | low;
        from += 3;
        continue;
      }
    }
    target[to++] = byte;
    from++;
  }
  return to;
}

/** Whether a `%` in `source[start..end)` stands for itself: dumps write `%25` for it. */
export function hasLoosePercent(source: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    if (source[at] !== PERCENT) continue;
    if (at + 2 >= end || UPPER_HEX[source[at + 1]!]! < 0 || UPPER_HEX[source[at + 2]!]! < 0) return true;
  }
  return false;
}

/** Length of the valid UTF-8 sequence at `at`, 0 when there is none: surrogates, overlong and cut forms are none (§2). */
export function utf8SequenceLength(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const second = at + 1 < end ? bytes[at + 1]! : 0;
  if (first < 0xe0) return isContinuation(second) ? 2 : 0;
  const third = at + 2 < end ? bytes[at + 2]! : 0;
  if (first < 0xf0) {
    const low = first === 0xe0 ? 0xa0 : 0x80;
    const high = first === 0xed ? 0x9f : 0xbf;
    return second >= low && second <= high && isContinuation(third) ? 3 : 0;
  }
  const low = first === 0xf0 ? 0x90 : 0x80;
  const high = first === 0xf4 ? 0x8f : 0xbf;
  const fourth = at + 3 < end ? bytes[at + 3]! : 0;
  return second >= low && second <= high && isContinuation(third) && isContinuation(fourth) ? 4 : 0;
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

/** Offset of the first byte of `bytes[start..end)` that is not part of valid UTF-8, -1 when all are. */
export function invalidUtf8At(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end) {
    if (bytes[at]! < 0x80) {
      at++;
      continue;
    }
    const length = utf8SequenceLength(bytes, at, end);
    if (length === 0) return at;
    at += length;
  }
  return -1;
}
