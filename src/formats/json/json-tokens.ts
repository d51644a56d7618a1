import { fourDigits } from "../../base/digits.ts";
import { printableName } from "../../volume/path.ts";
import { hasLoosePercent, invalidUtf8At, percentUnescape } from "./escape.ts";
import { readJsonEscape } from "./json-escapes.ts";
import { DAMAGE_HINT, JsonWindow } from "./json-window.ts";

/** Which integers a field takes. */
export interface IntegerField {
  readonly name: string;
  readonly min: bigint;
  readonly max: bigint;
  /** The same as numbers, for values that are exact as such. */
  readonly minNumber: number;
  readonly maxNumber: number;
}

export function integerField(name: string, min: bigint, max: bigint): IntegerField {
  return { name, min, max, minNumber: Number(min), maxNumber: Number(max) };
}

export const U32_MAX = 0xffff_ffffn;
export const U64_MAX = 0xffff_ffff_ffff_ffffn;
export const S64_MAX = 0x7fff_ffff_ffff_ffffn;
export const S64_MIN: bigint = -0x8000_0000_0000_0000n;

/** Integers of up to this many digits are exact as a JavaScript number. */
const EXACT_DIGITS = 15;
const TWO_32 = 0x1_0000_0000;
/** Longest number text looked at; what is longer is refused unread. */
const MAX_NUMBER_BYTES = 512;

/** What messages show of a string. */
const MAX_SHOWN_BYTES = 200;

/** What bytes mean inside a string, by byte. */
const PERCENT = 1;
const NON_ASCII = 2;
const BACKSLASH = 4;
const QUOTE = 8;
const CONTROL = 16;
const SLASH = 32;
const STRING_CLASS: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte === 0x22) return QUOTE;
  if (byte === 0x5c) return BACKSLASH;
  if (byte === 0x25) return PERCENT;
  if (byte === 0x2f) return SLASH;
  if (byte < 0x20) return CONTROL;
  return byte < 0x80 ? 0 : NON_ASCII;
});

/** Literals by their first byte. */
const LITERALS: ReadonlyMap<number, string> = new Map([
  [0x74, "true"],
  [0x66, "false"],
  [0x6e, "null"],
]);

const NUMBER_GRAMMAR = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

/** Reads tokens from a window. Every method leaves the cursor behind what it has read, or throws. */
export class JsonTokens extends JsonWindow {
  /** The last string: `text[textStart..textEnd)`, borrowed until the next string or the end of the step. */
  text: Buffer = this.buffer;
  textStart = 0;
  textEnd = 0;
  /** The last string stood there as it is: no escapes, control characters or slashes. */
  isPlain = true;
  /** What a string had that no dump writes, until somebody takes it. */
  oddText: string | undefined;
  /**
   * The text may be damaged: what no dump has, but damage brings about, is an error. So are raw control characters in strings: blocks that a
   * disk has lost read as zeros.
   */
  isSalvaging = false;
  /** Halves of the last integer as 64 bits, two's complement. */
  high = 0;
  low = 0;
  /** What `skipDigits` has read. */
  digits = 0;
  #scratch: Buffer = Buffer.allocUnsafeSlow(4096);

  /**
   * Reads a string at the cursor: JSON escapes are undone first, then, with `percent`, the percent escape
   * (docs/spec/json-dump.md §10). Raw control characters are accepted, unless text is salvaged; whatever the
   * reference would turn into U+FFFD, lone surrogates and invalid UTF-8, is refused.
   */
  readString(percent: boolean, wanted: string): void {
    if (this.peek() !== 0x22) throw this.unexpected(wanted);
    const buffer = this.buffer;
    const start = this.at + 1;
    let at = start;
    let found = 0;
    for (;;) {
      const kind = STRING_CLASS[buffer[at]!]!;
      if (kind !== 0) {
        if (kind === QUOTE) break;
        if (kind === CONTROL && at >= this.end) this.needAt(at);
        found |= kind;
        if (kind === BACKSLASH) at++;
      }
      at++;
    }
    if (at >= this.end) this.needAt(at);
    this.text = buffer;
    this.textStart = start;
    this.textEnd = at;
    this.isPlain = (found & ~NON_ASCII) === 0;
    if (found !== 0) this.#unescape(start, at, found, percent);
    this.at = at + 1;
  }

  #unescape(start: number, end: number, found: number, percent: boolean): void {
    if ((found & NON_ASCII) !== 0) this.#checkUtf8(start, end);
    if ((found & CONTROL) !== 0) {
      if (this.isSalvaging) {
        throw this.error("DECANT_E_JSON_STRING", "unescaped control characters in a string", DAMAGE_HINT, start);
      }
      this.oddText = "unescaped control characters";
      for (let at = start; at < end; at++) if (this.buffer[at] === 0x0a) this.line++;
    }
    const unescapeJson = (found & BACKSLASH) !== 0;
    // A percent sign can also come out of \u0025.
    const unescapePercent = percent && (found & (PERCENT | BACKSLASH)) !== 0;
    if (!unescapeJson && !unescapePercent) return;
    if (unescapePercent && hasLoosePercent(this.buffer, start, end)) this.oddText = "a % that begins no escape";
    if (this.#scratch.length < end - start) this.#scratch = Buffer.allocUnsafeSlow((end - start) * 2);
    const scratch = this.#scratch;
    this.text = scratch;
    this.textStart = 0;
    if (unescapeJson) {
      this.textEnd = this.#unescapeJson(start, end);
      if (unescapePercent) this.textEnd = percentUnescape(scratch, 0, this.textEnd, scratch, 0);
    } else {
      this.textEnd = percentUnescape(this.buffer, start, end, scratch, 0);
    }
  }

  #checkUtf8(start: number, end: number): void {
    const at = invalidUtf8At(this.buffer, start, end);
    if (at < 0) return;
    const byte = this.buffer[at]!.toString(16).toUpperCase();
    throw this.error(
      "DECANT_E_JSON_STRING",
      `the text is not valid UTF-8: byte 0x${byte}`,
      `A dump writes such a byte as %${byte}. ${DAMAGE_HINT}`,
      at,
    );
  }

  #unescapeJson(start: number, end: number): number {
    const buffer = this.buffer;
    const scratch = this.#scratch;
    let to = 0;
    let from = start;
    while (from < end) {
      const byte = buffer[from]!;
      if (byte !== 0x5c) {
        scratch[to++] = byte;
        from++;
        continue;
      }
      const unescaped = readJsonEscape(buffer, from, end, scratch, to);
      if (typeof unescaped === "string") throw this.error("DECANT_E_JSON_STRING", unescaped, DAMAGE_HINT, from);
      from += unescaped.read;
      to += unescaped.written;
    }
    return to;
  }

  /** The last string as printable text, for messages and for comparing with names of members; only its beginning. */
  textValue(): string {
    const end = Math.min(this.textEnd, this.textStart + MAX_SHOWN_BYTES);
    for (let at = this.textStart; at < end; at++) {
      const byte = this.text[at]!;
      if (byte <= 0x20 || byte >= 0x7f) return printableName(this.text.subarray(this.textStart, end));
    }
    return this.text.toString("latin1", this.textStart, end);
  }

  /** A copy of the last string. */
  textBytes(): Buffer {
    return Buffer.from(this.text.subarray(this.textStart, this.textEnd));
  }

  /** True when the last string is exactly these bytes. */
  textIs(bytes: Uint8Array): boolean {
    const start = this.textStart;
    if (this.textEnd - start !== bytes.length) return false;
    const text = this.text;
    for (let i = 0; i < bytes.length; i++) if (text[start + i] !== bytes[i]) return false;
    return true;
  }

  /** Reads a member's name and the colon behind it. */
  readKey(): void {
    this.readString(false, "the name of a member in quotes");
    const { text, textStart, textEnd } = this;
    this.expect(0x3a, "':'");
    this.text = text;
    this.textStart = textStart;
    this.textEnd = textEnd;
  }

  /** The name of the first member of the object at the cursor, if there is one. The last string is this one then. */
  peekFirstMember(): string | undefined {
    const { at, line } = this;
    const name = this.#firstMember();
    this.at = at;
    this.line = line;
    return name;
  }

  #firstMember(): string | undefined {
    if (this.peek() !== 0x7b) return undefined;
    this.at++;
    if (this.peek() !== 0x22) return undefined;
    this.readString(false, "the name of a member in quotes");
    return this.textValue();
  }

  /** Reads `null` if it stands here. */
  readNull(): boolean {
    if (this.peek() !== 0x6e) return false;
    this.#readLiteral("null");
    return true;
  }

  #readLiteral(literal: string): void {
    for (let i = 0; i < literal.length; i++) {
      if (this.buffer[this.at + i] !== literal.charCodeAt(i)) {
        this.needAt(this.at + i);
        throw this.unexpected("a value");
      }
    }
    this.at += literal.length;
  }

  /**
   * For fast paths: reads the unsigned integer at `start` of the window into `digits` and returns where it ends; -1 unless it
   * is a JSON number that is exact as a JavaScript number.
   */
  skipDigits(start: number): number {
    const { buffer, view } = this;
    let at = start;
    let value = 0;
    for (;;) {
      const four = fourDigits(view, at);
      if (four < 0) break;
      value = value * 10_000 + four;
      at += 4;
    }
    for (;;) {
      const digit = buffer[at]! - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
      at++;
    }
    this.digits = value;
    const count = at - start;
    return count === 0 || count > EXACT_DIGITS || (count > 1 && buffer[start] === 0x30) ? -1 : at;
  }

  /**
   * Reads an integer of `field`'s range: returned as number, exact up to 15 digits, and as 64 bits in `high` and `low`.
   * Other kinds of values, fractions and exponents are refused.
   */
  readInteger(field: IntegerField): number {
    const first = this.peek();
    const buffer = this.buffer;
    const start = this.at;
    let at = first === 0x2d ? start + 1 : start;
    const digits = at;
    let value = 0;
    for (;;) {
      const digit = buffer[at]! - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
      at++;
    }
    if (at >= this.end) this.needAt(at);
    const count = at - digits;
    const next = buffer[at]!;
    const wholeNumber =
      count > 0 && next !== 0x2e && next !== 0x45 && next !== 0x65 && !(count > 1 && buffer[digits] === 0x30);
    if (!wholeNumber) throw this.#notAnInteger(field);
    if (count > EXACT_DIGITS) value = this.#readBig(field, start, at);
    else {
      if (first === 0x2d) value = -value;
      if (value < field.minNumber || value > field.maxNumber) throw this.#outOfRange(field, at);
      this.high = Math.floor(value / TWO_32) | 0;
      this.low = value | 0;
    }
    this.at = at;
    return value;
  }

  #readBig(field: IntegerField, start: number, end: number): number {
    // 20 digits and a sign hold every number there is a field for.
    const value = end - start > 21 ? undefined : BigInt(this.buffer.toString("latin1", start, end));
    if (value === undefined || value < field.min || value > field.max) throw this.#outOfRange(field, end);
    this.high = Number(BigInt.asIntN(32, value >> 32n));
    this.low = Number(BigInt.asIntN(32, value));
    return Number(value);
  }

  /** The last integer of a signed field. */
  signedValue(): bigint {
    return (BigInt(this.high) << 32n) | BigInt(this.low >>> 0);
  }

  /** The last integer of an unsigned field. */
  unsignedValue(): bigint {
    return BigInt.asUintN(64, this.signedValue());
  }

  #outOfRange(field: IntegerField, end: number): Error {
    const text = this.buffer.toString("latin1", this.at, Math.min(end, this.at + 40));
    return this.error(
      "DECANT_E_JSON_NUMBER",
      `"${field.name}" must be a whole number from ${field.min} to ${field.max}, got ${text}`,
      DAMAGE_HINT,
    );
  }

  #notAnInteger(field: IntegerField): Error {
    return this.error(
      "DECANT_E_JSON_NUMBER",
      `"${field.name}" must be a whole number without quotes, fraction or exponent, got ${this.describeValue()}`,
      DAMAGE_HINT,
    );
  }

  /** What stands at the cursor, in words. */
  describeValue(): string {
    const byte = this.buffer[this.at]!;
    if (byte === 0x22) return "a string";
    if (byte === 0x7b) return "an object";
    if (byte === 0x5b) return "a list";
    let end = this.at;
    while (end < this.end && end < this.at + 40 && /[-+.0-9A-Za-z]/.test(String.fromCharCode(this.buffer[end]!))) end++;
    return end === this.at ? "something else" : this.buffer.toString("latin1", this.at, end);
  }

  /**
   * Reads an object within the current step. `member` gets each name, in lower case as the reference takes them in any
   * case, and reads the value.
   */
  readObject(what: string, member: (name: string) => void): void {
    if (this.peek() !== 0x7b) {
      throw this.error("DECANT_E_JSON_VALUE", `${what} must be an object, got ${this.describeValue()}`, DAMAGE_HINT);
    }
    this.at++;
    if (this.peek() === 0x7d) {
      this.at++;
      return;
    }
    for (;;) {
      this.readKey();
      member(this.textValue().toLowerCase());
      const byte = this.peek();
      if (byte !== 0x2c && byte !== 0x7d) throw this.unexpected("',' or '}'");
      this.at++;
      if (byte === 0x7d) return;
    }
  }

  /** Reads a list, or `null` for an empty one, within the current step. `element` reads each value. */
  readList(what: string, element: () => void): void {
    if (this.readNull()) return;
    if (this.peek() !== 0x5b) {
      throw this.error("DECANT_E_JSON_VALUE", `"${what}" must be a list, got ${this.describeValue()}`, DAMAGE_HINT);
    }
    this.at++;
    if (this.peek() === 0x5d) {
      this.at++;
      return;
    }
    for (;;) {
      element();
      const byte = this.peek();
      if (byte !== 0x2c && byte !== 0x5d) throw this.unexpected("',' or ']'");
      this.at++;
      if (byte === 0x5d) return;
    }
  }

  /** Reads `true`, `false`, `null` or a number, whatever it is. */
  readScalar(): void {
    const byte = this.peek();
    const literal = LITERALS.get(byte);
    if (literal !== undefined) {
      this.#readLiteral(literal);
      return;
    }
    let end = this.at;
    while (end - this.at < MAX_NUMBER_BYTES && isNumberByte(this.buffer[end]!)) end++;
    this.needAt(end);
    if (!NUMBER_GRAMMAR.test(this.buffer.toString("latin1", this.at, end))) throw this.unexpected("a value");
    this.at = end;
  }
}

function isNumberByte(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || byte === 0x2d || byte === 0x2b || byte === 0x2e || (byte | 0x20) === 0x65;
}
