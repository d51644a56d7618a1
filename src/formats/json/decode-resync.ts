import type { JsonTokens } from "./json-tokens.ts";
import { NEED_DATA } from "./json-window.ts";

const NEWLINE = 0x0a;
const BLANK = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const CLOSE = 0x7d;
const CLOSE_LIST = 0x5d;

/** An entry at depth 1, below the root, stands this far in; each further one by `STEP` more. */
const FIRST_INDENT = 6;
const STEP = 4;
const END_INDENT = 2;
const NAME_END = Buffer.from('": {');
const ATTR = Buffer.from('"attr": {"inode":');
const TRASH = Buffer.from('"Trash": {');
/** As many blanks as no value has, but the beginning of a line. */
const RUN = Buffer.from("    ");
/** A longer line is judged in pieces. */
const MAX_LINE_BYTES = 64 * 1024;

/** Where the text of a tree can be read again. */
export interface ReadAgain {
  /** Of the entry, 1 below the root; 0: the tree ends here, or has ended, as the next one begins. */
  readonly depth: number;
  /** Where in the window its name begins, or what follows the tree. */
  readonly at: number;
}

/**
 * Finds the next entry behind text that is no JSON any more. Dumps have the name and the attributes of an entry on lines of their
 * own, and their indent tells the depth (docs/spec/json-dump.md §2); in a document that was laid out otherwise nothing is found.
 */
export class EntryFinder {
  /**
   * Whether the directories around what was found are those that were open before: so as long as no more than one line was damaged, and
   * that in a way in which it cannot hide the end of one directory and the beginning of another.
   */
  isCertain = true;
  readonly #tokens: JsonTokens;
  #badLines = 0;
  #isWithinLine = true;

  constructor(tokens: JsonTokens) {
    this.#tokens = tokens;
  }

  /** Begins within the line at hand. */
  begin(): void {
    this.isCertain = true;
    this.#badLines = 0;
    this.#isWithinLine = true;
  }

  /** Passes one line, or stays before one with which reading can go on. Throws `NEED_DATA`. */
  step(): ReadAgain | undefined {
    const tokens = this.#tokens;
    const { buffer, end } = tokens;
    const start = tokens.at;
    const newline = buffer.indexOf(NEWLINE, start);
    if (newline < 0 || newline >= end) {
      if (end - start < MAX_LINE_BYTES) throw NEED_DATA;
      this.#judge(start, end);
      this.#isWithinLine = true;
      tokens.skipTo(end);
      return undefined;
    }
    if (!this.#isWithinLine) {
      const found = this.#entry(start, newline) ?? this.#end(start);
      if (found !== undefined) return found;
    }
    this.#judge(start, newline);
    this.#isWithinLine = false;
    tokens.skipTo(newline + 1);
    return undefined;
  }

  /** Goes on behind an entry that was found. */
  pass(): void {
    const { buffer, at } = this.#tokens;
    this.#tokens.skipTo(buffer.indexOf(NEWLINE, at) + 1);
  }

  #entry(start: number, newline: number): ReadAgain | undefined {
    const { buffer, end } = this.#tokens;
    const at = firstNonBlank(buffer, start);
    const indent = at - start;
    if (buffer[at] !== QUOTE || indent < FIRST_INDENT || (indent - FIRST_INDENT) % STEP !== 0) return undefined;
    if (!isText(buffer, newline - NAME_END.length, NAME_END)) return undefined;
    const attr = newline + 1 + indent + 2;
    if (attr + ATTR.length > end) throw NEED_DATA;
    if (firstNonBlank(buffer, newline + 1) !== attr || !isText(buffer, attr, ATTR)) return undefined;
    return { depth: (indent - FIRST_INDENT) / STEP + 1, at };
  }

  #end(start: number): ReadAgain | undefined {
    const { buffer } = this.#tokens;
    const at = firstNonBlank(buffer, start);
    if (at - start !== END_INDENT) return undefined;
    if (buffer[at] === CLOSE) return { depth: 0, at: at + 1 };
    return isText(buffer, at, TRASH) ? { depth: 0, at } : undefined;
  }

  #judge(start: number, end: number): void {
    const { buffer } = this.#tokens;
    const at = firstNonBlank(buffer, start);
    const first = buffer[at];
    const isLine =
      !this.#isWithinLine && at - start >= END_INDENT && (first === QUOTE || first === CLOSE || first === CLOSE_LIST);
    if (!isLine && at < end) this.#badLines++;
    let runs = 0;
    for (let from = at; ; ) {
      const run = buffer.indexOf(RUN, from);
      if (run < 0 || run >= end) break;
      runs++;
      from = firstNonBlank(buffer, run);
    }
    // What was in the middle of a line when reading stopped counts as one; the damage itself may be in the next.
    if (this.#badLines > 2 || (!isLine && runs > 1) || hasControl(buffer, at, end)) this.isCertain = false;
  }
}

/** What an entry can be without: an element of a list, or another member. */
export type PartKind = "chunks" | "xattrs" | "member";

/** Less than a block of a disk: where one is lost, what stands behind it may belong to another file. */
const MAX_DAMAGED_TEXT = 500;
const MAX_DAMAGED_IN_FORM = 16;

/** How a part stands in dumps. Within a string, the quotes would be escaped. */
interface PartForm {
  /** Begins the next element. */
  readonly head: Buffer | undefined;
  readonly lineEnd: RegExp;
  /** Whether text without control characters can be one damaged part and no more. */
  isPart(text: string): boolean;
}

const CHUNK_TEXT = /"(?:index|slices|id|chunkid|pos|size|off|len)":|[\d{}[\],]/g;
const ACL_TEXT =
  /"(?:posix_acl_access|posix_acl_default|owner|group|other|mask|users|groups|id|perm)":|null|[\d{}[\], ]/g;
const FORMS: Readonly<Record<PartKind, PartForm>> = {
  chunks: {
    head: Buffer.from('{"index":'),
    lineEnd: /\]\}\]?,?$/,
    isPart: (text) => hasForm(text, CHUNK_TEXT),
  },
  xattrs: {
    head: Buffer.from('{"name":'),
    lineEnd: /"\}\]?,?$/,
    isPart: (text) => text.length <= MAX_DAMAGED_TEXT && !/"(?:inode|index|perm)":/.test(text),
  },
  member: {
    head: undefined,
    lineEnd: /(?:\}|null),?$/,
    isPart: (text) => text.includes("acl_") && hasForm(text, ACL_TEXT),
  },
};
/** With what the line behind a part begins, where that is the next member. */
const NEXT_MEMBERS = ["}", '"posix_acl_default": {', '"xattrs": [', '"chunks": ['].map((text) => Buffer.from(text));
const MAX_MEMBER_BYTES = 32;

/**
 * Finds what stands behind a part that cannot be read, in its line or at the begin of the next: chunks have lines of their own. It finds
 * nothing where the damage may have hidden the end of the entry: what follows would be taken for a part of the wrong file.
 */
export class PartFinder {
  /** Of what is looked for. */
  kind: PartKind = "chunks";
  readonly #tokens: JsonTokens;

  constructor(tokens: JsonTokens) {
    this.#tokens = tokens;
  }

  /**
   * Begins with the part that cannot be read. What is at the cursor then: an `element` or the end of the list, or a `member` or the end of
   * the entry. Throws `NEED_DATA`.
   */
  step(): "element" | "member" | "nothing" {
    const tokens = this.#tokens;
    const { buffer, end } = tokens;
    const { head, lineEnd, isPart } = FORMS[this.kind];
    let start = tokens.at;
    while (start < end && isBetweenElements(buffer[start]!)) start++;
    const found = head === undefined ? NOWHERE : within(buffer.indexOf(head, start + 1), end - head.length + 1);
    const newline = within(buffer.indexOf(NEWLINE, start), end);
    const at = Math.min(found, newline);
    if (at === NOWHERE) {
      if (end - start < MAX_LINE_BYTES) throw NEED_DATA;
      return "nothing";
    }
    const passed = buffer.toString("latin1", start, at);
    if (hasControl(buffer, start, at) || !isPart(passed)) return "nothing";
    if (found < newline) {
      tokens.skipTo(found);
      return "element";
    }
    const next = firstNonBlank(buffer, newline + 1);
    if (next + MAX_MEMBER_BYTES > end) throw NEED_DATA;
    if (!lineEnd.test(passed)) return "nothing";
    const isElement = head !== undefined && (buffer[next] === CLOSE_LIST || isText(buffer, next, head));
    if (!isElement && !NEXT_MEMBERS.some((text) => isText(buffer, next, text))) return "nothing";
    tokens.skipTo(next);
    return isElement ? "element" : "member";
  }
}

/** But for some bytes, text is of this form. No number in it is longer than 64 bits, and nothing stands there again and again. */
function hasForm(text: string, form: RegExp): boolean {
  return !/\d{21}|(\D)\1{3}/.test(text) && text.replace(form, "").length <= MAX_DAMAGED_IN_FORM;
}

const NOWHERE = Number.POSITIVE_INFINITY;

function isBetweenElements(byte: number): boolean {
  return byte === COMMA || byte === BLANK || byte === NEWLINE;
}

/** A place that was found before `end`, else one behind all. */
function within(at: number, end: number): number {
  return at >= 0 && at < end ? at : NOWHERE;
}

function firstNonBlank(buffer: Buffer, start: number): number {
  let at = start;
  while (buffer[at] === BLANK) at++;
  return at;
}

function isText(buffer: Buffer, at: number, text: Buffer): boolean {
  return at >= 0 && buffer.compare(text, 0, text.length, at, at + text.length) === 0;
}

function hasControl(buffer: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (buffer[at]! < BLANK && buffer[at] !== 0x0d) return true;
  return false;
}
