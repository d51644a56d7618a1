import { DataError } from "../../base/errors.ts";

/** An error that the server sent, with the names that the library gives them. */
export class MysqlServerError extends Error {
  readonly errno: number;
  readonly sqlState: string;

  constructor(errno: number, sqlState: string, message: string) {
    super(message);
    this.name = "MysqlServerError";
    this.errno = errno;
    this.sqlState = sqlState;
  }
}

const HEAD_BYTES = 4;
const OK = 0x00;
const LOCAL_INFILE = 0xfb;
const EOF = 0xfe;
const ERROR = 0xff;
const MAX_EOF_BYTES = 9;
/** A packet of this size is continued by the next one. */
const CONTINUED_BYTES = 0xff_ffff;

/**
 * Takes apart the answer to one statement in the text protocol: nothing but OK or an error, or the number of columns, their
 * definitions, EOF, rows, EOF. Rows are not decoded but handed on in pages, as they came. A packet: u24 size (little-endian),
 * u8 sequence number, payload.
 */
export class ResultReceiver {
  /** What received before, to be put back. */
  readonly replaced: { execute(chunk: Buffer): void };
  /** Buffers of whole row packets, oldest first. */
  readonly pages: Buffer[] = [];
  ended = false;
  onProgress: () => void = () => undefined;
  #error: Error | undefined;
  #rest: Buffer | undefined;
  /** Packets before the first row; undefined until their number is known. */
  #ahead: number | undefined;

  constructor(replaced: { execute(chunk: Buffer): void }) {
    this.replaced = replaced;
  }

  /** Throws what the server answered, or what is wrong with its answer. */
  throwError(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  /** Takes what the socket has read. */
  execute(chunk: Buffer): void {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    let rowsFrom = -1;
    let rowsEnd = 0;
    while (at + HEAD_BYTES <= bytes.length && !this.ended) {
      const size = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
      const end = at + HEAD_BYTES + size;
      if (end > bytes.length) break;
      if (this.#ahead === 0) {
        if (this.#isRow(bytes, at + HEAD_BYTES, end)) {
          if (rowsFrom < 0) rowsFrom = at;
          rowsEnd = end;
        }
      } else {
        this.#takeHead(bytes, at + HEAD_BYTES, end);
      }
      at = end;
    }
    this.#rest = at < bytes.length ? bytes.subarray(at) : undefined;
    if (rowsFrom >= 0) this.pages.push(bytes.subarray(rowsFrom, rowsEnd));
    this.onProgress();
  }

  #isRow(bytes: Buffer, start: number, end: number): boolean {
    const first = bytes[start];
    if (first === ERROR) this.#fail(serverError(bytes, start, end));
    else if (first === EOF && end - start < MAX_EOF_BYTES) this.ended = true;
    else if (end - start === CONTINUED_BYTES) {
      this.#fail(new DataError("DECANT_E_SQL_VALUE", "Cannot read a row of 16 MiB or more"));
    }
    return !this.ended;
  }

  #takeHead(bytes: Buffer, start: number, end: number): void {
    const first = bytes[start];
    if (first === ERROR) this.#fail(serverError(bytes, start, end));
    else if (this.#ahead !== undefined) this.#ahead--;
    else if (first === OK) this.ended = true;
    else if (first === LOCAL_INFILE || first === EOF)
      this.#fail(new Error("The server sent an answer that was not asked for"));
    else this.#ahead = first! + 1; // no query here has more than 250 columns
  }

  #fail(error: Error): void {
    this.#error = error;
    this.ended = true;
  }
}

/** 0xff, u16 number (little-endian), '#', 5 characters of state, message. */
function serverError(bytes: Buffer, start: number, end: number): MysqlServerError {
  const hasState = bytes[start + 3] === 0x23;
  const textAt = start + (hasState ? 9 : 3);
  const state = hasState ? bytes.toString("latin1", start + 4, start + 9) : "";
  return new MysqlServerError(bytes.readUInt16LE(start + 1), state, bytes.toString("utf8", textAt, end));
}
