import { SQL_TABLES } from "./schema.ts";

/**
 * Collects rows of one table in the form in which a server takes them in bulk, as bytes. Per row: `begin`, one `put` per column in
 * the order of the columns, `commit`. A sink of a table whose rows have a number puts that in front of them by itself,
 * counting from 1.
 */
export interface RowSink {
  /** Begins a row with byte strings of `bytes` bytes in all. */
  begin(bytes: number): void;
  /** A 64-bit integer from its halves, signed as the column is. */
  putHalves(high: number, low: number): void;
  /** A 64-bit integer, exact as a number or as a bigint; larger bigints are cut to 64 bits. */
  putInt64(value: number | bigint): void;
  /** An integer that fits into a signed 32-bit column. */
  putInt32(value: number): void;
  /** A byte string: `source[start..end)`. */
  putBytes(source: DataView, start: number, end: number): void;
  /** A text in UTF-8, which the server converts where the column has another character set. */
  putText(source: DataView, start: number, end: number): void;
  /** Ends the row; true when it is time to send what has been collected. */
  commit(): boolean;
}

/**
 * The column by which a sink numbers the rows: the one that the database would fill, when it is not among those that are
 * written. Undefined where there is none.
 */
export function numberColumn(table: string, columns: readonly string[]): string | undefined {
  const auto = SQL_TABLES.find(({ name }) => name === table)?.columns.find(({ key }) => key === "auto");
  return auto === undefined || columns.includes(auto.name) ? undefined : auto.name;
}
