import { ByteWriter, copyBytes } from "../../base/bytes.ts";
import type { RowSink } from "../sql/row-sink.ts";

/** `PGCOPY\n\xff\r\n\0`, flags 0, no extension (docs/spec/sql.md §16.3). */
const HEADER: Buffer = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1");

/** Rows are sent when there are so many bytes of them: one COPY per megabyte costs next to nothing. */
const SEND_BYTES: number = 1024 * 1024;

/** Collects rows of one table in the binary form of `COPY ... FROM STDIN`. The room for a row is reserved with `begin`. */
export class CopyWriter implements RowSink {
  readonly table: string;
  readonly columns: readonly string[];
  readonly isNumbered: boolean;
  readonly #writer = new ByteWriter(SEND_BYTES + 65536);
  #view: DataView = this.#writer.view;
  #at = 0;
  #count: number;

  /**
   * `table`: name without prefix. `numberColumn` gets the numbers of the rows, where they have one; `rowsBefore` are stored
   * already.
   */
  constructor(table: string, columns: readonly string[], numberColumn?: string, rowsBefore: number = 0) {
    this.table = table;
    this.columns = numberColumn === undefined ? columns : [numberColumn, ...columns];
    this.isNumbered = numberColumn !== undefined;
    this.#count = rowsBefore;
    this.#writer.writeBytes(HEADER);
  }

  /** Rows so far, sent or not, those before included. */
  get rowCount(): number {
    return this.#count;
  }

  begin(bytes: number): void {
    this.#at = this.#writer.reserve(2 + this.columns.length * 12 + bytes);
    this.#view = this.#writer.view;
    this.#view.setInt16(this.#at, this.columns.length);
    this.#at += 2;
    if (this.isNumbered) this.putInt64(this.#count + 1);
  }

  putHalves(high: number, low: number): void {
    const at = this.#at;
    this.#view.setInt32(at, 8);
    this.#view.setInt32(at + 4, high);
    this.#view.setInt32(at + 8, low);
    this.#at = at + 12;
  }

  putInt64(value: number | bigint): void {
    if (typeof value === "number") this.putHalves(Math.floor(value / 0x1_0000_0000), value | 0);
    else {
      this.putHalves(0, 0);
      this.#view.setBigInt64(this.#at - 8, BigInt.asIntN(64, value));
    }
  }

  putInt32(value: number): void {
    this.#view.setInt32(this.#at, 4);
    this.#view.setInt32(this.#at + 4, value);
    this.#at += 8;
  }

  putBytes(source: DataView, start: number, end: number): void {
    const at = this.#at;
    this.#view.setInt32(at, end - start);
    copyBytes(source, start, end, this.#view, at + 4);
    this.#at = at + 4 + end - start;
  }

  /** Sessions speak UTF-8, so a text travels as its bytes. */
  putText(source: DataView, start: number, end: number): void {
    this.putBytes(source, start, end);
  }

  commit(): boolean {
    this.#writer.length = this.#at;
    this.#count++;
    return this.#at >= SEND_BYTES;
  }

  /** The rows so far with what ends them, undefined when there are none. Starts again. */
  take(): Buffer | undefined {
    if (this.#writer.length === HEADER.length) return undefined;
    this.#writer.writeU16(0xffff);
    const bytes = this.#writer.take();
    this.#writer.writeBytes(HEADER);
    return bytes;
  }
}
