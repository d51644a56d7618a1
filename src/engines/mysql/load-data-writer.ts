import { EngineError, InternalError } from "../../base/errors.ts";
import { LOCAL_FILE, type MysqlConnection, PACKET_HEAD_BYTES, STATEMENT_HEAD_BYTES } from "./mysql-connection.ts";
import { toMysqlError } from "./mysql-errors.ts";
import { MysqlServerError } from "./result-receiver.ts";
import { escapeTable, type RowPortion, type RowTable, RowWriter } from "./row-writer.ts";

const TAB = 0x09;
const NEWLINE = 0x0a;
const BACKSLASH = 0x5c;
const [LETTER_0, LETTER_T, LETTER_N] = [0x30, 0x74, 0x6e] as const;

const FORMAT = "CHARACTER SET binary FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n'";

/**
 * Collects rows for `LOAD DATA LOCAL INFILE`, which costs the server a good deal less than statements do that it must parse
 * (docs/spec/sql.md §16.2). For tables of numbers and byte strings only: to the server all is bytes.
 */
export class LoadDataWriter extends RowWriter {
  /** With `STATEMENT_HEAD_BYTES` free bytes in front. */
  readonly #statement: Buffer;

  constructor(table: RowTable, maxPacketBytes: number) {
    const syntax = {
      head: Buffer.alloc(PACKET_HEAD_BYTES),
      tailBytes: PACKET_HEAD_BYTES,
      beforeRow: undefined,
      betweenRows: undefined,
      afterValue: TAB,
      afterRow: NEWLINE,
      escapes: escapeTable([0, LETTER_0], [TAB, LETTER_T], [NEWLINE, LETTER_N], [BACKSLASH, BACKSLASH]),
    };
    super(table, syntax, maxPacketBytes);
    const columns = table.numberColumn === undefined ? table.columns : [table.numberColumn, ...table.columns];
    const names = columns.map((name) => `\`${name}\``).join(",");
    const text = `LOAD DATA LOCAL INFILE '${LOCAL_FILE}' INTO TABLE ${table.fullName} ${FORMAT} (${names})`;
    this.#statement = Buffer.concat([Buffer.alloc(STATEMENT_HEAD_BYTES), Buffer.from(text)]);
  }

  /** With LOCAL the server leaves out or alters what it cannot store, and only warns of it: here all of that is an error. */
  async store(connection: MysqlConnection, { bytes, rows }: RowPortion): Promise<void> {
    const { affectedRows, warnings } = await connection.loadRows(this.#statement, bytes);
    if (affectedRows === rows && warnings === 0) return;
    const [first] = await connection.rows<[level: string, code: bigint, message: string]>("SHOW WARNINGS LIMIT 1");
    const { url } = connection.address;
    if (first !== undefined) throw toMysqlError(new MysqlServerError(Number(first[1]), "", first[2]), url, "use");
    const what = `it stored ${affectedRows} of ${rows} rows of ${this.table.fullName} with ${warnings} warnings`;
    throw new EngineError("DECANT_E_MYSQL", `Cannot use ${url}: ${what}`);
  }

  putBytes(source: DataView, start: number, end: number): void {
    this.putEscaped(source, start, end);
    this.bytes.view.setUint8(this.at++, TAB);
  }

  putText(): never {
    throw new InternalError("DECANT_E_LOADER_STATE", `Texts of ${this.table.name} need a character set`);
  }

  protected endPortion(): void {
    this.bytes.length += PACKET_HEAD_BYTES;
  }
}
