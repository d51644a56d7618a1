import { ByteWriter, copyBytes } from "../../base/bytes.ts";
import { putHalves } from "../../base/digits.ts";
import type { SqlInteger } from "../sql/node-row.ts";
import type { RowSink } from "../sql/row-sink.ts";
import type { MysqlConnection } from "./mysql-connection.ts";

/** A portion of this size costs the server little beyond its rows, and more would only take memory. */
const PORTION_BYTES = 1024 * 1024;

const MINUS = 0x2d;
const BACKSLASH = 0x5c;

/** Digits, sign and separator of a 64-bit integer, and what `putHalves` wants to have free behind it. */
const INTEGER_BYTES = 26;

/** Rows that are sent at once. */
export interface RowPortion {
  /** As the writer has made them; borrowed from `ByteWriter.take`. */
  readonly bytes: Buffer;
  readonly rows: number;
}

/** What a writer of rows is told of its table. */
export interface RowTable {
  /** Name without prefix. */
  readonly name: string;
  /** With prefix, quoted. */
  readonly fullName: string;
  readonly columns: readonly string[];
  /** Gets the numbers of the rows, where they have one. */
  readonly numberColumn: string | undefined;
  /** How many rows are stored already. */
  readonly rowsBefore?: number | undefined;
}

/** How the values of a row are told apart. */
export interface RowSyntax {
  /** What is in front of the rows of a portion, and the room for what follows them. */
  readonly head: Buffer;
  readonly tailBytes: number;
  readonly beforeRow: number | undefined;
  readonly betweenRows: number | undefined;
  readonly afterValue: number;
  readonly afterRow: number;
  /** By byte: what stands behind a backslash in its place, 0 for a byte that stands for itself. */
  readonly escapes: Uint8Array;
}

/**
 * Collects rows of one table as text: decimal numbers, and byte strings in which what would end them is escaped. How a portion
 * is stored is the business of the two kinds.
 */
export abstract class RowWriter implements RowSink {
  readonly table: RowTable;
  readonly #syntax: RowSyntax;
  readonly #limit: number;
  readonly #start: number;
  readonly isNumbered: boolean;
  readonly #afterValue: number;
  readonly #escapes: Uint8Array;
  protected readonly bytes: ByteWriter;
  protected at = 0;
  #rows = 0;
  #rowsBefore: number;

  /** `maxPacketBytes`: what the server takes at once. */
  protected constructor(table: RowTable, syntax: RowSyntax, maxPacketBytes: number) {
    this.table = table;
    this.#syntax = syntax;
    this.#limit = Math.min(PORTION_BYTES, Math.floor(maxPacketBytes / 2));
    this.#start = syntax.head.length;
    this.isNumbered = table.numberColumn !== undefined;
    this.#rowsBefore = table.rowsBefore ?? 0;
    this.#afterValue = syntax.afterValue;
    this.#escapes = syntax.escapes;
    this.bytes = new ByteWriter(this.#limit + 0x4_0000);
    this.bytes.writeBytes(syntax.head);
  }

  /** Rows so far, sent or not, those before included. */
  get rowCount(): number {
    return this.#rowsBefore + this.#rows;
  }

  /** Stores a portion of this writer. */
  abstract store(connection: MysqlConnection, portion: RowPortion): Promise<void>;

  abstract putBytes(source: DataView, start: number, end: number): void;
  abstract putText(source: DataView, start: number, end: number): void;

  begin(bytes: number): void {
    const { beforeRow, betweenRows } = this.#syntax;
    // Every byte may need a backslash; a row has at most 19 columns.
    this.at = this.bytes.reserve(2 * bytes + 20 * INTEGER_BYTES);
    const { view } = this.bytes;
    if (betweenRows !== undefined && this.at > this.#start) view.setUint8(this.at++, betweenRows);
    if (beforeRow !== undefined) view.setUint8(this.at++, beforeRow);
    if (this.isNumbered) this.putInt64(this.#rowsBefore + this.#rows + 1);
  }

  putHalves(high: number, low: number): void {
    const { view } = this.bytes;
    if (high < 0) {
      view.setUint8(this.at++, MINUS);
      const lower = -low >>> 0;
      this.at = putHalves(view, this.at, (lower === 0 ? -high : ~high) >>> 0, lower);
    } else {
      this.at = putHalves(view, this.at, high, low >>> 0);
    }
    view.setUint8(this.at++, this.#afterValue);
  }

  putInt64(value: SqlInteger): void {
    if (typeof value === "number") this.putHalves(Math.floor(value / 0x1_0000_0000), value | 0);
    else this.putHalves(Number(BigInt.asIntN(32, value >> 32n)), Number(BigInt.asIntN(32, value)));
  }

  putInt32(value: number): void {
    this.putHalves(value < 0 ? -1 : 0, value);
  }

  commit(): boolean {
    this.bytes.view.setUint8(this.at - 1, this.#syntax.afterRow); // in the place of what follows the last value
    this.bytes.length = this.at;
    this.#rows++;
    return this.at >= this.#limit;
  }

  /** The rows so far, undefined when there are none. Starts another portion. */
  take(): RowPortion | undefined {
    if (this.#rows === 0) return undefined;
    const rows = this.#rows;
    this.bytes.reserve(this.#syntax.tailBytes);
    this.endPortion();
    const bytes = this.bytes.take();
    this.bytes.writeBytes(this.#syntax.head);
    this.#rows = 0;
    this.#rowsBefore += rows;
    return { bytes, rows };
  }

  /** Writes what follows the rows of a portion. */
  protected abstract endPortion(): void;

  /** Copies bytes with what must be escaped escaped, and what follows a value behind them. */
  protected putEscaped(source: DataView, start: number, end: number): void {
    const { view } = this.bytes;
    const escapes = this.#escapes;
    let at = this.at;
    let from = start;
    for (let i = start; i < end; i++) {
      const letter = escapes[source.getUint8(i)]!;
      if (letter === 0) continue;
      copyBytes(source, from, i, view, at);
      at += i - from;
      view.setUint8(at, BACKSLASH);
      view.setUint8(at + 1, letter);
      at += 2;
      from = i + 1;
    }
    copyBytes(source, from, end, view, at);
    this.at = at + end - from;
  }
}

/** The table of `RowSyntax.escapes`: each byte with what stands for it. */
export function escapeTable(...pairs: (readonly [byte: number, letter: number])[]): Uint8Array {
  const escapes = new Uint8Array(256);
  for (const [byte, letter] of pairs) escapes[byte] = letter;
  return escapes;
}
