import { viewOf } from "../../base/bytes.ts";
import {
  ATTR_ATIME,
  ATTR_ATIMENSEC,
  ATTR_CTIME,
  ATTR_CTIMENSEC,
  ATTR_FLAGS,
  ATTR_GID,
  ATTR_LENGTH,
  ATTR_MAX_BYTES,
  ATTR_MTIME,
  ATTR_MTIMENSEC,
  ATTR_NLINK,
  ATTR_RDEV,
  ATTR_TAIL,
  ATTR_TYPE_MODE,
  ATTR_UID,
} from "../../volume/attribute.ts";
import { FILE_TYPE_NAMES } from "../../volume/file-type.ts";
import type { JsonSkipper } from "./json-skip.ts";
import { type IntegerField, integerField, type JsonTokens, S64_MAX, S64_MIN, U32_MAX, U64_MAX } from "./json-tokens.ts";
import { DAMAGE_HINT } from "./json-window.ts";
import { areWords, type Words, wordsOf } from "./json-words.ts";

const TWO_32 = 0x1_0000_0000;

/** Reports something that is read all the same; `member` says where inside the entry. */
export type Warn = (kind: string, text: string, member?: string) => void;

/** Members of `attr` in the order of the reference (docs/spec/json-dump.md §6). */
const INODE = 0;
const FLAGS = 1;
const TYPE = 2;
const MODE = 3;
const UID = 4;
const GID = 5;
const ATIME = 6;
const MTIME = 7;
const CTIME = 8;
const ATIMENSEC = 9;
const MTIMENSEC = 10;
const CTIMENSEC = 11;
const NLINK = 12;
const LENGTH = 13;
const RDEV = 14;
const TIER = 15;

const FIELDS: readonly IntegerField[] = [
  integerField("inode", 1n, U64_MAX),
  integerField("flags", 0n, 255n),
  integerField("type", 0n, 0n), // not a number
  integerField("mode", 0n, 65535n),
  integerField("uid", 0n, U32_MAX),
  integerField("gid", 0n, U32_MAX),
  integerField("atime", S64_MIN, S64_MAX),
  integerField("mtime", S64_MIN, S64_MAX),
  integerField("ctime", S64_MIN, S64_MAX),
  integerField("atimensec", 0n, U32_MAX),
  integerField("mtimensec", 0n, U32_MAX),
  integerField("ctimensec", 0n, U32_MAX),
  integerField("nlink", 0n, U32_MAX),
  integerField("length", 0n, S64_MAX),
  integerField("rdev", 0n, U32_MAX),
  integerField("tier", 0n, 255n),
];

/** Where a member lies in the attribute record and how many bytes it has there; inode, type, mode and tier are put elsewhere. */
const TARGET: readonly number[] = [
  -1,
  ATTR_FLAGS,
  -1,
  -1,
  ATTR_UID,
  ATTR_GID,
  ATTR_ATIME,
  ATTR_MTIME,
  ATTR_CTIME,
  ATTR_ATIMENSEC,
  ATTR_MTIMENSEC,
  ATTR_CTIMENSEC,
  ATTR_NLINK,
  ATTR_LENGTH,
  ATTR_RDEV,
  -1,
];
const WIDTH: readonly number[] = [8, 1, 0, 2, 4, 4, 8, 8, 8, 4, 4, 4, 4, 8, 4, 1];

const FIELD_BY_NAME: ReadonlyMap<string, number> = new Map(FIELDS.map((field, i) => [field.name, i]));

/** Members the reference always writes. */
const ALWAYS: number =
  (1 << INODE) |
  (1 << TYPE) |
  (1 << MODE) |
  (1 << UID) |
  (1 << GID) |
  (1 << ATIME) |
  (1 << MTIME) |
  (1 << CTIME) |
  (1 << NLINK) |
  (1 << LENGTH);

/** An attribute record that lacks more, in text that may be damaged, ends too early. */
const MAX_MISSING = 2;

/** The members in the layout of the reference: what stands before the name, and the name with its colon. */
const OPEN = 0x7b;
const COMMA = 0x2c;
const CLOSE = 0x7d;
const KEYS: readonly Words[] = FIELDS.map((field) => wordsOf(`"${field.name}":`));
/** Type names with quotes; `unknown` is none (docs/spec/json-dump.md §10). */
const TYPE_WORDS: readonly Words[] = FILE_TYPE_NAMES.map((name) => wordsOf(`"${name}"`));

/** Reads `attr` objects into attribute records. */
export class AttributeReader {
  /** The record without parent, ACL ids and tier: the first `ATTR_TAIL` bytes count. */
  readonly record: Buffer = Buffer.alloc(ATTR_MAX_BYTES);
  readonly view: DataView = viewOf(this.record);
  inodeHigh = 0;
  inodeLow = 0;
  type = 0;
  tier = 0;
  readonly #tokens: JsonTokens;
  readonly #skipper: JsonSkipper;
  readonly #warn: Warn;
  #mode = 0;
  #hasUnknown = false;

  constructor(tokens: JsonTokens, skipper: JsonSkipper, warn: Warn) {
    this.#tokens = tokens;
    this.#skipper = skipper;
    this.#warn = warn;
  }

  /** Reads the object at the cursor, within one step. */
  read(): void {
    const tokens = this.#tokens;
    tokens.peek();
    this.#clear();
    if (this.#readFast()) return;
    this.#clear();
    this.#readAny();
  }

  #clear(): void {
    const out = this.view;
    // Members that may be left out; the others are always overwritten on the fast path.
    this.record[ATTR_FLAGS] = 0;
    out.setUint32(ATTR_ATIMENSEC, 0);
    out.setUint32(ATTR_MTIMENSEC, 0);
    out.setUint32(ATTR_CTIMENSEC, 0);
    out.setUint32(ATTR_RDEV, 0);
    this.tier = 0;
  }

  /**
   * The layout of the reference: its order, no white space, no escapes, plain numbers. False, and nothing read, for all
   * else.
   */
  #readFast(): boolean {
    const out = this.view;
    const tokens = this.#tokens;
    let at = this.#fastMember(OPEN, INODE, tokens.at);
    if (at < 0 || tokens.digits === 0) return false;
    this.inodeHigh = Math.floor(tokens.digits / TWO_32);
    this.inodeLow = tokens.digits | 0;
    at = this.#fastOptional(FLAGS, at);
    at = this.#fastType(at);
    at = this.#fastMember(COMMA, MODE, at);
    const mode = tokens.digits;
    at = this.#fastWord(UID, at);
    at = this.#fastWord(GID, at);
    at = this.#fastLong(ATIME, at);
    at = this.#fastLong(MTIME, at);
    at = this.#fastLong(CTIME, at);
    at = this.#fastOptional(ATIMENSEC, at);
    at = this.#fastOptional(MTIMENSEC, at);
    at = this.#fastOptional(CTIMENSEC, at);
    at = this.#fastWord(NLINK, at);
    at = this.#fastLong(LENGTH, at);
    at = this.#fastOptional(RDEV, at);
    at = this.#fastOptional(TIER, at);
    // Larger modes lead to a warning.
    if (at < 0 || tokens.buffer[at] !== CLOSE || mode > 0xfff) return false;
    out.setUint16(ATTR_TYPE_MODE, (this.type << 12) | mode);
    tokens.at = at + 1;
    return true;
  }

  /** Reads the number of `field` at `at`; returns where it ends, -1 when something else stands there or came before. */
  #fastMember(before: number, field: number, at: number): number {
    if (at < 0) return -1;
    const tokens = this.#tokens;
    const key = KEYS[field]!;
    if (tokens.buffer[at] !== before || !areWords(tokens.view, at + 1, key)) return -1;
    const end = tokens.skipDigits(at + 1 + key.size);
    return end < 0 || tokens.digits > FIELDS[field]!.maxNumber ? -1 : end;
  }

  #fastWord(field: number, at: number): number {
    const end = this.#fastMember(COMMA, field, at);
    this.view.setUint32(TARGET[field]!, this.#tokens.digits);
    return end;
  }

  #fastLong(field: number, at: number): number {
    const end = this.#fastMember(COMMA, field, at);
    const value = this.#tokens.digits;
    this.view.setUint32(TARGET[field]!, value / TWO_32);
    this.view.setUint32(TARGET[field]! + 4, value);
    return end;
  }

  #fastOptional(field: number, at: number): number {
    const end = this.#fastMember(COMMA, field, at);
    if (end < 0) return at;
    this.#store(field, 0, this.#tokens.digits | 0);
    return end;
  }

  #fastType(at: number): number {
    if (at < 0) return -1;
    const { buffer, view } = this.#tokens;
    const key = KEYS[TYPE]!;
    if (buffer[at] !== COMMA || !areWords(view, at + 1, key)) return -1;
    const start = at + 1 + key.size;
    for (let type = 1; type < TYPE_WORDS.length; type++) {
      const words = TYPE_WORDS[type]!;
      if (!areWords(view, start, words)) continue;
      this.type = type;
      return start + words.size;
    }
    return -1;
  }

  #store(field: number, high: number, low: number): void {
    switch (field) {
      case INODE:
        this.inodeHigh = high;
        this.inodeLow = low;
        return;
      case MODE:
        this.#mode = low;
        return;
      case TIER:
        this.tier = low;
        return;
    }
    const target = TARGET[field]!;
    const width = WIDTH[field]!;
    if (width === 4) this.view.setUint32(target, low);
    else if (width === 8) {
      this.view.setUint32(target, high);
      this.view.setUint32(target + 4, low);
    } else this.record[target] = low;
  }

  /** Any layout. */
  #readAny(): void {
    const tokens = this.#tokens;
    this.record.fill(0, 0, ATTR_TAIL);
    this.#mode = 0;
    this.#hasUnknown = false;
    if (tokens.peek() !== 0x7b) {
      throw tokens.error("DECANT_E_JSON_ENTRY", `"attr" must be an object, got ${tokens.describeValue()}`, DAMAGE_HINT);
    }
    tokens.at++;
    let seen = 0;
    if (tokens.peek() === 0x7d) tokens.at++;
    else {
      for (;;) {
        seen = this.#readMember(seen);
        const byte = tokens.peek();
        if (byte !== 0x2c && byte !== 0x7d) throw tokens.unexpected("',' or '}'");
        tokens.at++;
        if (byte === 0x7d) break;
      }
    }
    this.#checkSeen(seen);
    if (this.#mode > 0xfff)
      this.#warn("mode-bits", "Mode bits above the twelve permission bits were dropped", "attr.mode");
    this.view.setUint16(ATTR_TYPE_MODE, (this.type << 12) | (this.#mode & 0xfff));
  }

  #readMember(seen: number): number {
    const tokens = this.#tokens;
    tokens.readKey();
    const name = tokens.textValue();
    const field = FIELD_BY_NAME.get(name) ?? FIELD_BY_NAME.get(name.toLowerCase());
    if (field === undefined) {
      this.#hasUnknown = true;
      this.#warn("unknown-member", UNKNOWN_MEMBER_TEXT, `attr.${name}`);
      this.#skipper.skipValue();
      return seen;
    }
    if ((seen & (1 << field)) !== 0)
      throw tokens.error("DECANT_E_JSON_ENTRY", `"attr" has "${name}" twice`, DAMAGE_HINT);
    if (field === TYPE) this.#readType();
    else {
      tokens.readInteger(FIELDS[field]!);
      this.#store(field, tokens.high, tokens.low);
    }
    return seen | (1 << field);
  }

  #readType(): void {
    const tokens = this.#tokens;
    tokens.readString(false, 'a file type in quotes, such as "regular"');
    const name = tokens.textValue();
    const type = FILE_TYPE_NAMES.indexOf(name, 1);
    if (type < 0) {
      throw tokens.error(
        "DECANT_E_JSON_ENTRY",
        `unknown file type "${name}"`,
        `Types are ${FILE_TYPE_NAMES.slice(1).join(", ")}. A dump says "unknown" for an entry whose record in the source is damaged: correct the type or remove the entry`,
      );
    }
    this.type = type;
  }

  #checkSeen(seen: number): void {
    const missing = FIELDS.filter((_, i) => (ALWAYS & (1 << i)) !== 0 && (seen & (1 << i)) === 0).map(
      ({ name }) => name,
    );
    if (missing.length === 0) return;
    if ((seen & (1 << TYPE)) === 0 || (seen & (1 << INODE)) === 0) {
      throw this.#tokens.error(
        "DECANT_E_JSON_ENTRY",
        `"attr" has no "${missing.includes("inode") ? "inode" : "type"}"`,
        DAMAGE_HINT,
      );
    }
    if (this.#tokens.isSalvaging && (this.#hasUnknown || missing.length > MAX_MISSING)) {
      const known = this.#hasUnknown ? ", but members that are not known" : "";
      throw this.#tokens.error("DECANT_E_JSON_ENTRY", `"attr" has no "${missing.join('", "')}"${known}`, DAMAGE_HINT);
    }
    this.#warn(
      "missing-attribute",
      "Entries lack attributes that dumps always have: they were taken as 0",
      `attr without ${missing.join(", ")}`,
    );
  }
}

export const UNKNOWN_MEMBER_TEXT = "Members that decant does not know were skipped";
