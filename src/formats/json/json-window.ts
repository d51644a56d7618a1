import { viewOf } from "../../base/bytes.ts";
import { DataError } from "../../base/errors.ts";
import { packWord } from "./json-words.ts";

/** Thrown by a step that has reached the end of what was read so far: refill the window and repeat the step. */
export const NEED_DATA: unique symbol = Symbol("more input is needed");

/**
 * The longest piece of a document that has to be in memory at once: a string, an attribute object, one chunk with its
 * slices, the setting. Real ones are far below; a larger one is refused before memory is taken for it.
 */
export const MAX_TOKEN_BYTES: number = 64 * 1024 * 1024;

/** Zero bytes kept behind the data, so that fast paths may look this far ahead without asking where the data ends. */
const PADDING = 64;
const INITIAL_BYTES = 512 * 1024;
const NEWLINE = 0x0a;
const FOUR_BLANKS = packWord("    ", 0);

/**
 * A sliding window over a document. Steps read at `at` and call `commit` when they are through; when one throws
 * `NEED_DATA`, `rewind` takes it back to its beginning. Behind `end` there are always zero bytes: as no token but a string
 * may hold a zero byte, meeting one is the moment to ask whether the data ends there.
 */
export class JsonWindow {
  buffer: Buffer = Buffer.alloc(INITIAL_BYTES + PADDING);
  view: DataView = viewOf(this.buffer);
  /** Where the data ends in `buffer`. */
  end = 0;
  /** The cursor. */
  at = 0;
  /** Line of the cursor, from 1. */
  line = 1;
  /** Where the current step began. */
  committed = 0;
  /** Names what is being read, for messages: `entry "/a/b"`. Set by the decoder. */
  describe: () => { subject: string; path: string | undefined } = () => ({ subject: "the JSON dump", path: undefined });
  #committedLine = 1;
  /** Offset of `buffer[0]` in the document. */
  #base = 0;
  readonly #maxTokenBytes: number;

  constructor(maxTokenBytes: number = MAX_TOKEN_BYTES) {
    this.#maxTokenBytes = maxTokenBytes;
  }

  /** Offset of the cursor in the document. */
  get offset(): number {
    return this.#base + this.at;
  }

  /** Bytes of the document read so far. */
  get received(): number {
    return this.#base + this.end;
  }

  /** Bytes of the current step that are in the window. */
  get pending(): number {
    return this.end - this.committed;
  }

  /** Ends a step: what lies before the cursor is not needed any more. */
  commit(): void {
    this.committed = this.at;
    this.#committedLine = this.line;
  }

  /** Takes the cursor back to where the step began. */
  rewind(): void {
    this.at = this.committed;
    this.line = this.#committedLine;
  }

  /** Moves the cursor behind all that was read, for the message that more was expected there. */
  skipToEnd(): void {
    this.skipTo(this.end);
  }

  /** Where in the window, from the cursor on, a text of ASCII characters begins; -1 when it does not. */
  find(text: string): number {
    const at = this.buffer.indexOf(text, this.at, "latin1");
    return at + text.length <= this.end ? at : -1;
  }

  /** Moves the cursor to a place behind it. */
  skipTo(position: number): void {
    for (; this.at < position; this.at++) if (this.buffer[this.at] === NEWLINE) this.line++;
  }

  /** Moves the cursor to `size` bytes before the end of what was read, if that is behind it. */
  skipAllBut(size: number): void {
    this.skipTo(this.end - size);
  }

  /** Appends input; offsets into `buffer` taken before are void. Call between steps only. The chunk is copied. */
  append(chunk: Uint8Array): void {
    const needed = this.end - this.committed + chunk.length;
    if (this.end + chunk.length + PADDING > this.buffer.length) this.#makeRoom(needed);
    this.buffer.set(chunk, this.end);
    this.end += chunk.length;
    this.buffer.fill(0, this.end, this.end + PADDING);
  }

  #makeRoom(needed: number): void {
    if (this.pending > this.#maxTokenBytes) {
      this.rewind();
      throw this.error(
        "DECANT_E_JSON_LIMIT",
        `a single value is longer than ${this.#maxTokenBytes} bytes`,
        "No dump has values of this size; the file is damaged or not a JuiceFS dump",
      );
    }
    let target = this.buffer;
    // Half empty after moving: else the next chunks would move the rest again and again.
    if (needed * 2 + PADDING > target.length) {
      let capacity = target.length - PADDING;
      while (capacity < needed * 2) capacity *= 2;
      target = Buffer.allocUnsafeSlow(capacity + PADDING);
    }
    this.buffer.copy(target, 0, this.committed, this.end);
    this.buffer = target;
    this.view = viewOf(target);
    this.#base += this.committed;
    this.end -= this.committed;
    this.at -= this.committed;
    this.committed = 0;
  }

  /** Throws `NEED_DATA` when the cursor has reached the end of the data. */
  needAt(position: number): void {
    if (position >= this.end) throw NEED_DATA;
  }

  /** Skips white space and returns the byte at the cursor. */
  peek(): number {
    const buffer = this.buffer;
    let at = this.at;
    for (;;) {
      const byte = buffer[at]!;
      if (byte > 0x20) {
        this.at = at;
        return byte;
      }
      if (byte === NEWLINE) {
        this.line++;
        // The indent: most of the bytes of a dump.
        while (this.view.getUint32(at + 1) === FOUR_BLANKS) at += 4;
      } else if (byte !== 0x20 && byte !== 0x0d && byte !== 0x09) {
        this.at = at;
        this.needAt(at);
        return byte;
      }
      at++;
    }
  }

  /** Skips white space and takes the byte `expected`; `wanted` says in words what would be right here. */
  expect(expected: number, wanted: string): void {
    if (this.peek() !== expected) throw this.unexpected(wanted);
    this.at++;
  }

  /** The error for the byte at the cursor. */
  unexpected(wanted: string): DataError {
    return this.error("DECANT_E_JSON_SYNTAX", `expected ${wanted}, got ${this.#printableByte()}`, DAMAGE_HINT);
  }

  /**
   * A `DataError` that names what is being read and where. `at` is a place in `buffer`, the cursor unless told. The line is
   * that of the cursor.
   */
  error(code: string, problem: string, hint: string, at: number = this.at): DataError {
    const { subject, path } = this.describe();
    const offset = this.#base + at;
    return new DataError(code, `Cannot read ${subject} (line ${this.line}, byte ${offset}): ${problem}`, {
      hint,
      location: path === undefined ? { offset, line: this.line } : { offset, line: this.line, path },
    });
  }

  #printableByte(): string {
    const byte = this.buffer[this.at]!;
    if (byte > 0x20 && byte < 0x7f) return `'${String.fromCharCode(byte)}'`;
    return `byte 0x${byte.toString(16).padStart(2, "0")}`;
  }
}

/** For everything that can only come about by damage or by an editor. */
export const DAMAGE_HINT: string =
  "The file is damaged or was edited by hand; take another copy or an earlier backup, correct the place named, or take what can be read " +
  "with --keep-going";
