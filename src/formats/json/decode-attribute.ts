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
import { packWord, wordsOf } from "./json-words.ts";

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

/** What a value may be for the fast path to take it; larger modes lead to a warning, larger numbers to an error. */
const FAST_MAX: readonly number[] = FIELDS.map((field, i) => (i === MODE ? 0xfff : field.maxNumber));

/** Key text with quotes and colon, as three words (json-words.ts), and its size. */
const KEY_WORDS = FIELDS.map((field) => wordsOf(`"${field.name}":`));
const KEY_FIRST: readonly number[] = KEY_WORDS.map((words) => words.first);
const KEY_MIDDLE: readonly number[] = KEY_WORDS.map((words) => words.middle);
const KEY_LAST: readonly number[] = KEY_WORDS.map((words) => words.last);
const KEY_SIZE: readonly number[] = KEY_WORDS.map((words) => words.size);
const KEY_MIDDLE_AT: readonly number[] = KEY_WORDS.map((words) => words.middleAt);

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

/** Type names with quotes; `unknown` is none (docs/spec/json-dump.md §10). */
const TYPE_TEXTS: readonly Buffer[] = FILE_TYPE_NAMES.map((name) => Buffer.from(`"${name}"`));
const TYPE_FIRST: readonly number[] = FILE_TYPE_NAMES.map((name) => packWord(name, 0));

/** Reads `attr` objects into attribute records. */
export class AttributeReader {
  /** The record without parent, ACL ids and tier: the first `ATTR_TAIL` bytes count. */
  readonly record: Buffer = Buffer.alloc(ATTR_MAX_BYTES);
  inodeHigh = 0;
  inodeLow = 0;
  type = 0;
  tier = 0;
  readonly #out: DataView = new DataView(this.record.buffer, this.record.byteOffset, this.record.byteLength);
  readonly #tokens: JsonTokens;
  readonly #skipper: JsonSkipper;
  readonly #warn: Warn;
  #mode = 0;

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
    const out = this.#out;
    // Members that may be left out; the others are always overwritten on the fast path.
    this.record[ATTR_FLAGS] = 0;
    out.setUint32(ATTR_ATIMENSEC, 0);
    out.setUint32(ATTR_MTIMENSEC, 0);
    out.setUint32(ATTR_CTIMENSEC, 0);
    out.setUint32(ATTR_RDEV, 0);
    this.tier = 0;
  }

  /** The layout of the reference: no white space, no escapes, plain numbers. False, and nothing read, for all else. */
  #readFast(): boolean {
    const buffer = this.#tokens.buffer;
    const view = this.#tokens.view;
    let at = this.#tokens.at;
    if (buffer[at] !== 0x7b) return false;
    let seen = 0;
    let byte = 0x2c;
    while (byte === 0x2c) {
      at++;
      const field = fieldAt(buffer, view, at);
      if (field < 0 || (seen & (1 << field)) !== 0) return false;
      seen |= 1 << field;
      at += KEY_SIZE[field]!;
      if (field === TYPE) {
        at = this.#fastType(buffer, view, at);
        if (at < 0) return false;
        byte = buffer[at]!;
        continue;
      }
      const start = at;
      let value = 0;
      for (;;) {
        byte = buffer[at]!;
        if (byte < 0x30 || byte > 0x39) break;
        value = value * 10 + (byte - 0x30);
        at++;
      }
      const digits = at - start;
      if (digits === 0 || digits > 15 || (digits > 1 && buffer[start] === 0x30) || value > FAST_MAX[field]!)
        return false;
      this.#store(field, Math.floor(value / 0x1_0000_0000), value | 0);
    }
    if (byte !== 0x7d || (seen & ALWAYS) !== ALWAYS || (this.inodeLow | this.inodeHigh) === 0) return false;
    this.#out.setUint16(ATTR_TYPE_MODE, (this.type << 12) | this.#mode);
    this.#tokens.at = at + 1;
    return true;
  }

  #fastType(buffer: Buffer, view: DataView, at: number): number {
    const word = view.getUint32(at + 1);
    for (let type = 1; type < TYPE_FIRST.length; type++) {
      if (TYPE_FIRST[type] !== word) continue;
      const text = TYPE_TEXTS[type]!;
      for (let i = 0; i < text.length; i++) if (buffer[at + i] !== text[i]) return -1;
      this.type = type;
      return at + text.length;
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
    if (width === 4) this.#out.setUint32(target, low);
    else if (width === 8) {
      this.#out.setUint32(target, high);
      this.#out.setUint32(target + 4, low);
    } else this.record[target] = low;
  }

  /** Any layout. */
  #readAny(): void {
    const tokens = this.#tokens;
    this.record.fill(0, 0, ATTR_TAIL);
    this.#mode = 0;
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
    this.#out.setUint16(ATTR_TYPE_MODE, (this.type << 12) | (this.#mode & 0xfff));
  }

  #readMember(seen: number): number {
    const tokens = this.#tokens;
    tokens.readKey();
    const name = tokens.textValue();
    const field = FIELD_BY_NAME.get(name) ?? FIELD_BY_NAME.get(name.toLowerCase());
    if (field === undefined) {
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
    this.#warn(
      "missing-attribute",
      "Entries lack attributes that dumps always have: they were taken as 0",
      `attr without ${missing.join(", ")}`,
    );
  }
}

export const UNKNOWN_MEMBER_TEXT = "Members that decant does not know were skipped";

/** The member whose name begins at `at` with its quote, written without escapes; -1 for any other. */
function fieldAt(buffer: Buffer, view: DataView, at: number): number {
  const field = candidate(buffer, at);
  if (
    field < 0 ||
    view.getUint32(at) !== KEY_FIRST[field] ||
    view.getUint32(at + KEY_MIDDLE_AT[field]!) !== KEY_MIDDLE[field]
  ) {
    return -1;
  }
  return view.getUint32(at + KEY_SIZE[field]! - 4) === KEY_LAST[field] ? field : -1;
}

/** The only member that the name can be, judged by as few bytes as possible. */
function candidate(buffer: Buffer, at: number): number {
  const longTime = buffer[at + 6] !== 0x22;
  switch (buffer[at + 1]) {
    case 0x61:
      return longTime ? ATIMENSEC : ATIME;
    case 0x63:
      return longTime ? CTIMENSEC : CTIME;
    case 0x66:
      return FLAGS;
    case 0x67:
      return GID;
    case 0x69:
      return INODE;
    case 0x6c:
      return LENGTH;
    case 0x6d:
      return buffer[at + 2] === 0x6f ? MODE : longTime ? MTIMENSEC : MTIME;
    case 0x6e:
      return NLINK;
    case 0x72:
      return RDEV;
    case 0x74:
      return buffer[at + 2] === 0x79 ? TYPE : TIER;
    case 0x75:
      return UID;
    default:
      return -1;
  }
}
