/**
 * Reads the values of one row after another in the order of the query's columns, whatever form they have: packed text
 * (decimal.ts) or the fields of a server's protocol. The decoders of record-decoders.ts know nothing but this.
 */
export interface RowReader {
  /** Where the values are, borrowed while the row is read. */
  readonly bytes: Buffer;
  readonly view: DataView;
  /** The halves of the integer read last, both as signed int32. */
  readonly high: number;
  readonly low: number;
  /** Byte strings above this size stand outside: in their place is a number by which to fetch them. */
  readonly inlineBytes: number;

  /** Reads an integer into `high` and `low`; NULL is 0. Throws `DataError` for anything but an integer of 64 bits. */
  readInt64(): void;

  /** Reads the size of the byte string that comes next; NULL is 0. */
  readSize(): number;

  /** Skips the byte string whose size was read; returns the offset of its first byte. */
  skipBytes(size: number): number;

  /** Skips a name whose size was read and is too large for a record. */
  skipLongName(size: number): void;

  /** `high` and `low` as an unsigned number. */
  unsigned(): bigint;
}
