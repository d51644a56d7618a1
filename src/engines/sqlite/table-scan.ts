import type { FlatKind } from "../../volume/records.ts";
import type { RowDecoder } from "../sql/record-decoders.ts";

/**
 * How the records of one kind are read from a table. Rows come packed into one byte string (sql/decimal.ts), many rows per
 * value where `key` allows paging: fetching a value costs far more than what is in it.
 */
export interface TableScan {
  readonly kind: FlatKind;
  /** Name in the catalog. */
  readonly table: string;
  /** Expressions over alias `t`, packed in this order. */
  readonly fields: readonly string[];
  /** Numbers that are nearly always 0: a 0 follows the fields where all of them are, else a 1 and then they. */
  readonly rareFields?: readonly string[];
  readonly newDecoder: () => RowDecoder;
  /** Column that numbers the rows: pages of many rows by this key. Undefined: row by row. */
  readonly key?: string;
  /** Column that says to which inode the row belongs, for the kinds of a subtree. */
  readonly inode?: string;
  /** Conditions, each giving a part of the rows; undefined: all rows. */
  readonly where?: readonly string[];
  /** Column of the values that may be too large for a packed row. */
  readonly large?: string;
}
