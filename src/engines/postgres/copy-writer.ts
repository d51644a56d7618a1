import { ByteWriter, copyBytes } from "../../base/bytes.ts";
import { DataError } from "../../base/errors.ts";

/** `PGCOPY\n\xff\r\n\0`, flags 0, no extension (docs/spec/sql.md §16.3). */
const HEADER: Buffer = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1");

/** Rows are sent when there are so many bytes of them: one COPY per megabyte costs next to nothing. */
const SEND_BYTES: number = 1024 * 1024;

const MAX_INT32 = 0x7fff_ffff;

/**
 * Collects rows of one table in the binary form of `COPY ... FROM STDIN`: per row `begin`, then one `put` per column in their
 * order. The room for a row is reserved with `begin`.
 */
export class CopyWriter {
  readonly table: string;
  readonly columns: readonly string[];
  readonly #writer = new ByteWriter(SEND_BYTES + 65536);
  #view: DataView = this.#writer.view;
  #at = 0;
  /** Rows so far, sent or not. */
  count = 0;

  /** `table`: name without prefix. */
  constructor(table: string, columns: readonly string[]) {
    this.table = table;
    this.columns = columns;
    this.#writer.writeBytes(HEADER);
  }

  /** Begins a row with byte strings of `bytes` bytes in all. */
  begin(bytes: number): void {
    this.#at = this.#writer.reserve(2 + this.columns.length * 12 + bytes);
    this.#view = this.#writer.view;
    this.#view.setInt16(this.#at, this.columns.length);
    this.#at += 2;
  }

  /** A 64-bit integer from its halves. */
  putHalves(high: number, low: number): void {
    const at = this.#at;
    this.#view.setInt32(at, 8);
    this.#view.setInt32(at + 4, high);
    this.#view.setInt32(at + 8, low);
    this.#at = at + 12;
  }

  /** A 64-bit integer, exact as a number or as a bigint. */
  putInt64(value: number | bigint): void {
    if (typeof value === "number") this.putHalves(Math.floor(value / 0x1_0000_0000), value | 0);
    else {
      this.putHalves(0, 0);
      this.#view.setBigInt64(this.#at - 8, BigInt.asIntN(64, value));
    }
  }

  /** An integer for an INTEGER column, which `assertInt32` has found to fit. */
  putInt32(value: number): void {
    this.#view.setInt32(this.#at, 4);
    this.#view.setInt32(this.#at + 4, value);
    this.#at += 8;
  }

  /** A byte string or text: `source[start..end)`. */
  putBytes(source: DataView, start: number, end: number): void {
    const at = this.#at;
    this.#view.setInt32(at, end - start);
    copyBytes(source, start, end, this.#view, at + 4);
    this.#at = at + 4 + end - start;
  }

  /** Ends the row; true when it is time to `take` what has been collected. */
  commit(): boolean {
    this.#writer.length = this.#at;
    this.count++;
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

/**
 * Throws `DataError` for a number that an INTEGER column cannot hold: PostgreSQL has no unsigned ones (docs/spec/sql.md §6).
 * The 64-bit number at `keyAt` of `bytes` says whose it is: `what` and that number.
 */
export function assertInt32(value: number, column: string, what: string, bytes: DataView, keyAt: number): void {
  if (value > MAX_INT32 || value < -MAX_INT32 - 1) {
    throw unsupported(
      `${column} ${value}`,
      `${what} ${bytes.getBigUint64(keyAt)}`,
      `the largest number is ${MAX_INT32}`,
    );
  }
}

/** A value that PostgreSQL has no room for. */
export function unsupported(value: string, owner: string, why: string): DataError {
  return new DataError("DECANT_E_UNSUPPORTED_VALUE", `PostgreSQL cannot hold ${value} of ${owner}: ${why}`, {
    location: { key: owner },
    hint: "The reference client cannot store it there either: change it in the source, or load into another kind of database",
  });
}
