import type { JsonTokens } from "./json-tokens.ts";
import { NEED_DATA } from "./json-window.ts";

const NEWLINE = 0x0a;
const BLANK = 0x20;
const QUOTE = 0x22;
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
