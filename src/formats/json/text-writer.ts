import { ByteWriter } from "../../base/bytes.ts";
import { putString } from "../../base/digits.ts";
import { utf8SequenceLength } from "./escape.ts";
import { type ConstantText, putText, SLACK_BYTES } from "./put-text.ts";

const PERCENT = 0x25;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const HEX_UPPER = Buffer.from("0123456789ABCDEF");
const HEX_LOWER = Buffer.from("0123456789abcdef");

/** Bytes that stand for themselves in names and values: printable ASCII but `%`, `"`, `\` (docs/spec/json-dump.md §6). */
const PLAIN: Uint8Array = new Uint8Array(256);
for (let byte = 0x21; byte < 0x80; byte++) PLAIN[byte] = 1;
PLAIN[PERCENT] = 0;
PLAIN[QUOTE] = 0;
PLAIN[BACKSLASH] = 0;

/** Writes the text of a JSON dump byte by byte; nothing goes through JavaScript strings but the rare large number. */
export class TextWriter extends ByteWriter {
  writeText(text: ConstantText): void {
    const to = this.reserve(text.size + SLACK_BYTES);
    this.length = putText(this.view, to, text);
  }

  /** LF and `count` blanks. */
  writeNewline(count: number): void {
    const at = this.reserve(count + 1);
    const buffer = this.buffer;
    buffer[at] = 0x0a;
    for (let i = 1; i <= count; i++) buffer[at + i] = 0x20;
    this.length = at + count + 1;
  }

  /** ASCII text from a string: for rare values. */
  writeAscii(text: string): void {
    const to = this.reserve(text.length);
    this.length = putString(this.view, to, text);
  }

  /**
   * A name or symlink target, percent-escaped (docs/spec/json-dump.md §6). A real U+FFFD is escaped too: the reference cuts it
   * to its first byte, and readers may take it for the mark of a byte that was lost (§13.2).
   */
  writeEscaped(source: Buffer, start: number, end: number): void {
    let to = this.reserve((end - start) * 3);
    const buffer = this.buffer;
    let from = start;
    while (from < end) {
      const byte = source[from]!;
      if (PLAIN[byte] === 1) {
        buffer[to++] = byte;
        from++;
        continue;
      }
      const size = byte < 0x80 ? 0 : utf8SequenceLength(source, from, end);
      if (size > 0 && !(size === 3 && isReplacementCharacter(source, from))) {
        for (let i = 0; i < size; i++) buffer[to++] = source[from++]!;
      } else {
        buffer[to++] = PERCENT;
        buffer[to++] = HEX_UPPER[byte >> 4]!;
        buffer[to++] = HEX_UPPER[byte & 15]!;
        from++;
      }
    }
    this.length = to;
  }

  /** An xattr value: percent-escaped, then by the rules of JSON strings. */
  writeEscapedJson(source: Buffer, start: number, end: number): void {
    const escaped = new TextWriter(Math.max(16, (end - start) * 3));
    escaped.writeEscaped(source, start, end);
    this.writeJson(escaped.buffer, 0, escaped.length);
  }

  /**
   * The inside of a JSON string (docs/spec/json-dump.md §2): `"` `\` LF CR TAB by short escapes, other controls, `<` `>` `&`,
   * U+2028 and U+2029 as \u escapes, each byte that is not part of valid UTF-8 as the six characters \ufffd. False when
   * there was such a byte: what it was cannot be read from the text.
   */
  writeJson(source: Buffer, start: number, end: number): boolean {
    let complete = true;
    let from = start;
    while (from < end) {
      const byte = source[from]!;
      const size = utf8SequenceLength(source, from, end);
      if (size === 0) {
        this.writeAscii("\\ufffd");
        complete = false;
        from++;
      } else if (size > 1) {
        const separator = byte === 0xe2 && source[from + 1] === 0x80 && (source[from + 2]! & 0xfe) === 0xa8;
        if (separator) this.writeAscii(source[from + 2] === 0xa8 ? "\\u2028" : "\\u2029");
        else this.writeSlice(source, from, from + size);
        from += size;
      } else {
        this.#writeJsonAscii(byte);
        from++;
      }
    }
    return complete;
  }

  #writeJsonAscii(byte: number): void {
    if (byte === QUOTE) this.writeAscii('\\"');
    else if (byte === BACKSLASH) this.writeAscii("\\\\");
    else if (byte === 0x0a) this.writeAscii("\\n");
    else if (byte === 0x0d) this.writeAscii("\\r");
    else if (byte === 0x09) this.writeAscii("\\t");
    else if (byte < 0x20 || byte === 0x3c || byte === 0x3e || byte === 0x26) {
      this.writeAscii("\\u00");
      this.writeU8(HEX_LOWER[byte >> 4]!);
      this.writeU8(HEX_LOWER[byte & 15]!);
    } else this.writeU8(byte);
  }
}

function isReplacementCharacter(source: Buffer, at: number): boolean {
  return source[at] === 0xef && source[at + 1] === 0xbf && source[at + 2] === 0xbd;
}
