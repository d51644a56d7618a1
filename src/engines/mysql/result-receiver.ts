import { DataError, EngineError } from "../../base/errors.ts";

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

/** What a server says of a statement without result. */
export interface Outcome {
  readonly affectedRows: number;
  readonly warnings: number;
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
 * definitions, EOF, rows, EOF. Rows are not decoded but handed on in pages, as they came. Before OK the server may ask for the
 * one file that is offered. A packet: u24 size (little-endian), u8 sequence number, payload.
 */
export class ResultReceiver {
  /** What received before, to be put back. */
  readonly replaced: { execute(chunk: Buffer): void };
  /** Buffers of whole row packets, oldest first. */
  readonly pages: Buffer[] = [];
  ended = false;
  /** Sequence number of the packet in which the server asked for the file that is offered. */
  fileAskedBy: number | undefined;
  /** The answer is none that follows from the statement: what the server expects now is not known. */
  isOutOfStep = false;
  outcome: Outcome = { affectedRows: 0, warnings: 0 };
  onProgress: () => void = () => undefined;
  readonly #offeredFile: string | undefined;
  #error: Error | undefined;
  #rest: Buffer | undefined;
  /** Packets before the first row; undefined until their number is known. */
  #ahead: number | undefined;

  /** A server may ask for a file of this machine by any name: none but `offeredFile` is noticed. */
  constructor(replaced: { execute(chunk: Buffer): void }, offeredFile?: string) {
    this.replaced = replaced;
    this.#offeredFile = offeredFile;
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
    else if (first === OK) {
      this.outcome = readOutcome(bytes.subarray(start, end));
      this.ended = true;
    } else if (first === LOCAL_INFILE) this.#takeFileRequest(bytes, start, end);
    else if (first === EOF || this.fileAskedBy !== undefined) this.#failOutOfStep("an answer that was not asked for");
    else this.#ahead = first! + 1; // no query here has more than 250 columns
  }

  #takeFileRequest(bytes: Buffer, start: number, end: number): void {
    const name = bytes.toString("utf8", start + 1, end);
    if (name === this.#offeredFile && this.fileAskedBy === undefined) this.fileAskedBy = bytes[start - 1]!;
    else this.#failOutOfStep(`a request for the file ${JSON.stringify(name)}, which it does not get`);
  }

  #failOutOfStep(what: string): void {
    this.isOutOfStep = true;
    this.#fail(new EngineError("DECANT_E_MYSQL_PROTOCOL", `The server sent ${what}`));
  }

  #fail(error: Error): void {
    this.#error = error;
    this.ended = true;
  }
}

/** 0x00, number of affected rows, last number of a row (both of 1 to 9 bytes), u16 status, u16 warnings (little-endian). */
function readOutcome(packet: Buffer): Outcome {
  const affectedRows = readLength(packet, 1);
  const statusAt = 1 + lengthBytes(packet, 1) + lengthBytes(packet, 1 + lengthBytes(packet, 1));
  // A packet that is too short says nothing that could be believed.
  const warnings = statusAt + 4 <= packet.length ? packet.readUInt16LE(statusAt + 2) : Number.NaN;
  return { affectedRows, warnings };
}

/** The protocol's integers: below 251 in one byte, else 2, 3 or 8 bytes behind a byte that says which. */
function lengthBytes(packet: Buffer, at: number): number {
  const first = packet[at]!;
  if (first < 0xfb) return 1;
  return first === 0xfc ? 3 : first === 0xfd ? 4 : 9;
}

function readLength(packet: Buffer, at: number): number {
  const bytes = lengthBytes(packet, at);
  if (at + bytes > packet.length) return Number.NaN;
  if (bytes === 1) return packet[at]!;
  return bytes < 9 ? packet.readUIntLE(at + 1, bytes - 1) : Number(packet.readBigUInt64LE(at + 1));
}

/** 0xff, u16 number (little-endian), '#', 5 characters of state, message. */
function serverError(bytes: Buffer, start: number, end: number): MysqlServerError {
  const hasState = bytes[start + 3] === 0x23;
  const textAt = start + (hasState ? 9 : 3);
  const state = hasState ? bytes.toString("latin1", start + 4, start + 9) : "";
  return new MysqlServerError(bytes.readUInt16LE(start + 1), state, bytes.toString("utf8", textAt, end));
}
