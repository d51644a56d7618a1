import { ByteWriter, copyBytes } from "../../base/bytes.ts";
import { putHalves } from "../../base/digits.ts";
import { DataError } from "../../base/errors.ts";
import type { SqlInteger } from "../sql/node-row.ts";
import { STATEMENT_HEAD_BYTES } from "./mysql-connection.ts";

/** A statement of this size costs the server little beyond its rows, and more would only take memory. */
const STATEMENT_BYTES = 1024 * 1024;
const MAX_INT32 = 0x7fff_ffff;

const COMMA = 0x2c;
const OPEN = 0x28;
const CLOSE = 0x29;
const MINUS = 0x2d;
const QUOTE = 0x27;
const BACKSLASH = 0x5c;

const BINARY: Buffer = Buffer.from("_binary'");
const TEXT: Buffer = Buffer.from("_utf8mb4'");

/** Digits, sign and comma of a 64-bit integer, and what `putHalves` wants to have free behind it. */
const INTEGER_BYTES = 26;

/**
 * Collects rows of one table in `INSERT` statements of many rows, as bytes. Per row: `begin`, one `put` per column in their
 * order, `commit`. Byte strings are literals of single characters, whatever they look like in a character set.
 */
export class InsertWriter {
  /** Name without prefix. */
  readonly table: string;
  readonly #head: Buffer;
  readonly #tail: Buffer;
  readonly #limit: number;
  readonly #writer: ByteWriter;
  readonly #start: number;
  #at = 0;

  /** `fullName` is quoted; `tail` follows the rows. */
  constructor(table: string, fullName: string, columns: readonly string[], maxPacketBytes: number, tail: string = "") {
    this.table = table;
    const names = columns.map((name) => `\`${name}\``).join(",");
    this.#head = Buffer.from(`INSERT INTO ${fullName} (${names}) VALUES `);
    this.#tail = Buffer.from(tail);
    this.#limit = Math.min(STATEMENT_BYTES, Math.floor(maxPacketBytes / 2));
    this.#writer = new ByteWriter(this.#limit + 0x4_0000);
    this.#start = STATEMENT_HEAD_BYTES + this.#head.length;
    this.#begin();
  }

  /** Begins a row with byte strings of `bytes` bytes in all. */
  begin(bytes: number): void {
    // Every byte may need a backslash; a row has at most 19 columns.
    this.#at = this.#writer.reserve(2 * bytes + 20 * INTEGER_BYTES);
    const { view } = this.#writer;
    if (this.#at > this.#start) view.setUint8(this.#at++, COMMA);
    view.setUint8(this.#at++, OPEN);
  }

  /** A 64-bit integer from its halves, signed as the column is. */
  putHalves(high: number, low: number): void {
    const { view } = this.#writer;
    if (high < 0) {
      view.setUint8(this.#at++, MINUS);
      const lower = -low >>> 0;
      this.#at = putHalves(view, this.#at, (lower === 0 ? -high : ~high) >>> 0, lower);
    } else {
      this.#at = putHalves(view, this.#at, high, low >>> 0);
    }
    view.setUint8(this.#at++, COMMA);
  }

  /** A 64-bit integer, exact as a number or as a bigint. */
  putInt64(value: SqlInteger): void {
    if (typeof value === "number") this.putHalves(Math.floor(value / 0x1_0000_0000), value | 0);
    else this.putHalves(Number(BigInt.asIntN(32, value >> 32n)), Number(BigInt.asIntN(32, value)));
  }

  /** An integer for an INT column. Throws `DataError` for one that it cannot hold (docs/spec/sql.md §6). */
  putInt32(value: number, column: string, of: () => string): void {
    if (value > MAX_INT32 || value < -MAX_INT32 - 1) throw tooLarge(value, column, of());
    this.putHalves(value < 0 ? -1 : 0, value);
  }

  /** A byte string: `source[start..end)`. */
  putBytes(source: DataView, start: number, end: number): void {
    this.#putLiteral(BINARY, source, start, end);
  }

  /** A text in UTF-8, which the server converts where the column has another character set. */
  putText(source: DataView, start: number, end: number): void {
    this.#putLiteral(TEXT, source, start, end);
  }

  /** Ends the row; true when it is time to `take` the statement. */
  commit(): boolean {
    this.#writer.view.setUint8(this.#at - 1, CLOSE); // in the place of the last comma
    this.#writer.length = this.#at;
    return this.#at >= this.#limit;
  }

  /** The statement, undefined when there are no rows. Starts another one. */
  take(): Buffer | undefined {
    if (this.#writer.length === this.#start) return undefined;
    this.#writer.writeBytes(this.#tail);
    const statement = this.#writer.take();
    this.#begin();
    return statement;
  }

  #begin(): void {
    this.#writer.length = this.#writer.reserve(STATEMENT_HEAD_BYTES) + STATEMENT_HEAD_BYTES;
    this.#writer.writeBytes(this.#head);
  }

  #putLiteral(introducer: Buffer, source: DataView, start: number, end: number): void {
    const { view, buffer } = this.#writer;
    buffer.set(introducer, this.#at);
    let at = this.#at + introducer.length;
    let from = start;
    for (let i = start; i < end; i++) {
      const byte = source.getUint8(i);
      if (byte !== QUOTE && byte !== BACKSLASH) continue;
      copyBytes(source, from, i, view, at);
      at += i - from;
      view.setUint8(at++, BACKSLASH);
      from = i;
    }
    copyBytes(source, from, end, view, at);
    at += end - from;
    view.setUint8(at, QUOTE);
    view.setUint8(at + 1, COMMA);
    this.#at = at + 2;
  }
}

const HINT =
  "The reference client cannot store it there either; change it in the source, or load into another kind of database";

/** For a number above what a column holds. */
export function tooLarge(value: number | bigint, column: string, of: string): DataError {
  return new DataError(
    "DECANT_E_UNSUPPORTED_VALUE",
    `MySQL cannot hold ${column} ${value} of ${of}: the largest number there is ${MAX_INT32}`,
    { location: { key: of }, hint: HINT },
  );
}

/** For a byte string that a column cannot hold. */
export function unsupportedBytes(what: string, of: string, why: string): DataError {
  return new DataError("DECANT_E_UNSUPPORTED_VALUE", `MySQL cannot hold ${what} of ${of}: ${why}`, {
    location: { key: of },
    hint: HINT,
  });
}
