import type { Statement } from "better-sqlite3";
import { DataError } from "../../base/errors.ts";
import type { Connection } from "./sqlite-connection.ts";
import { isSqliteError } from "./sqlite-errors.ts";
import { quote } from "./sqlite-schema.ts";

/** Measured: 50 is about twice as fast as 1, and more gains nothing. */
const ROWS_PER_STATEMENT = 50;

export interface InserterOptions {
  /** Columns bound as bytes but stored as text; bytes that are no UTF-8 stay as they are. */
  readonly text?: readonly string[];
  /** What to do with a row whose key exists; undefined: that is an error. */
  readonly onConflict?: string;
  /** Columns at the beginning that are the key, where that is not one integer; such rows go in one by one. */
  readonly keyColumns?: number;
}

/**
 * Inserts rows in groups. Take `next()`, fill the columns into `values` from that offset, call `commit()`; `flush()` writes
 * what is left.
 */
export class RowInserter {
  readonly values: unknown[];
  readonly #db: Connection;
  readonly #table: string;
  readonly #width: number;
  readonly #keyColumns: number;
  readonly #rows: number;
  readonly #group: Statement;
  readonly #single: Statement;
  #used = 0;

  constructor(db: Connection, table: string, columns: readonly string[], options: InserterOptions = {}) {
    this.#db = db;
    this.#table = table;
    this.#width = columns.length;
    this.#keyColumns = options.keyColumns ?? 1;
    this.#rows = options.keyColumns === undefined ? ROWS_PER_STATEMENT : 1;
    this.values = new Array(columns.length * this.#rows).fill(0);
    const row = `(${columns.map((name) => (options.text?.includes(name) ? "CAST(? AS TEXT)" : "?")).join(",")})`;
    const insert = (rows: number): string => {
      const target = `${quote(table)} (${columns.map(quote).join(",")})`;
      const conflict = options.onConflict === undefined ? "" : ` ON CONFLICT ${options.onConflict}`;
      return `INSERT INTO ${target} VALUES ${new Array(rows).fill(row).join(",")}${conflict}`;
    };
    this.#group = db.prepare(insert(this.#rows));
    this.#single = db.prepare(insert(1));
  }

  /** Offset in `values` of the next row. */
  next(): number {
    return this.#used * this.#width;
  }

  commit(): void {
    if (++this.#used < this.#rows) return;
    this.#used = 0;
    this.#run(this.#group, 0, this.#rows);
  }

  flush(): void {
    const rows = this.#used;
    this.#used = 0;
    for (let i = 0; i < rows; i++) this.#run(this.#single, i, 1);
  }

  #run(statement: Statement, first: number, rows: number): void {
    const values =
      rows === this.#rows ? this.values : this.values.slice(first * this.#width, (first + 1) * this.#width);
    try {
      // As arguments: an array is read element by element through the library's interface, which takes twice as long.
      statement.run(...values);
    } catch (error) {
      if (!isSqliteError(error, "SQLITE_CONSTRAINT")) throw error;
      const key = this.#refusedKey(first, rows);
      throw new DataError("DECANT_E_DUPLICATE", `Cannot store two rows of ${this.#table} with the same key ${key}`, {
        cause: error,
        location: { key: `${this.#table} ${key}` },
      });
    }
  }

  /** Rows of a group are stored in order: the refused one comes after the last whose key, the rowid, was stored. */
  #refusedKey(first: number, rows: number): string {
    const keyOf = (row: number): string => {
      const key = this.values.slice(row * this.#width, row * this.#width + this.#keyColumns);
      return key.map(describe).join(", ");
    };
    const stored = describe(this.#db.prepare("SELECT last_insert_rowid()").pluck().get());
    for (let row = first + rows - 1; row > first; row--) if (keyOf(row - 1) === stored) return keyOf(row);
    return keyOf(first);
  }
}

function describe(key: unknown): string {
  return typeof key === "number" || typeof key === "bigint" ? String(BigInt.asUintN(64, BigInt(key))) : String(key);
}
