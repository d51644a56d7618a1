/** What the escapes of one character stand for, by the byte behind the backslash. */
const SIMPLE_ESCAPES: ReadonlyMap<number, number> = new Map([
  [0x22, 0x22],
  [0x5c, 0x5c],
  [0x2f, 0x2f],
  [0x62, 0x08],
  [0x66, 0x0c],
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
]);

/** Bytes read from the source and written to the target. */
interface Escape {
  readonly read: number;
  readonly written: number;
}

/**
 * Undoes the JSON escape that begins with the backslash at `source[from]`, writes it as UTF-8 to `target` from `at` on, and
 * says how many bytes that took; a text says what is wrong with it. The result is never longer than the escape.
 */
export function readJsonEscape(source: Buffer, from: number, end: number, target: Buffer, at: number): Escape | string {
  const kind = from + 1 < end ? source[from + 1]! : 0;
  const simple = SIMPLE_ESCAPES.get(kind);
  if (simple !== undefined) {
    target[at] = simple;
    return { read: 2, written: 1 };
  }
  if (kind !== 0x75) return `JSON has no escape \\${printable(kind)}`;
  const unit = hexUnit(source, from + 2, end);
  if (unit < 0) return "the escape \\u is not followed by four hexadecimal digits";
  if (unit < 0xd800 || unit > 0xdfff) return { read: 6, written: writeUtf8(unit, target, at) };
  const lowUnit =
    unit < 0xdc00 && source[from + 6] === 0x5c && source[from + 7] === 0x75 ? hexUnit(source, from + 8, end) : -1;
  if (lowUnit < 0xdc00 || lowUnit > 0xdfff) {
    return `the escape \\u${unit.toString(16)} is half of a surrogate pair and stands for no character`;
  }
  const character = 0x10000 + ((unit - 0xd800) << 10) + (lowUnit - 0xdc00);
  return { read: 12, written: writeUtf8(character, target, at) };
}

function hexUnit(source: Buffer, start: number, end: number): number {
  if (start + 4 > end) return -1;
  const digits = source.toString("latin1", start, start + 4);
  return /^[0-9A-Fa-f]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1;
}

function writeUtf8(character: number, target: Buffer, at: number): number {
  if (character < 0x80) {
    target[at] = character;
    return 1;
  }
  if (character < 0x800) {
    target[at] = 0xc0 | (character >> 6);
    target[at + 1] = 0x80 | (character & 0x3f);
    return 2;
  }
  if (character < 0x10000) {
    target[at] = 0xe0 | (character >> 12);
    target[at + 1] = 0x80 | ((character >> 6) & 0x3f);
    target[at + 2] = 0x80 | (character & 0x3f);
    return 3;
  }
  target[at] = 0xf0 | (character >> 18);
  target[at + 1] = 0x80 | ((character >> 12) & 0x3f);
  target[at + 2] = 0x80 | ((character >> 6) & 0x3f);
  target[at + 3] = 0x80 | (character & 0x3f);
  return 4;
}

function printable(byte: number): string {
  return byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `(byte 0x${byte.toString(16).padStart(2, "0")})`;
}
