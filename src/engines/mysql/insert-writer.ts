import { type MysqlConnection, STATEMENT_HEAD_BYTES } from "./mysql-connection.ts";
import { escapeTable, type RowPortion, type RowTable, RowWriter } from "./row-writer.ts";

const COMMA = 0x2c;
const OPEN = 0x28;
const CLOSE = 0x29;
const QUOTE = 0x27;
const BACKSLASH = 0x5c;

const BINARY: Buffer = Buffer.from("_binary'");
const TEXT: Buffer = Buffer.from("_utf8mb4'");

/**
 * Collects rows in `INSERT` statements of many rows. Byte strings are literals of single characters, whatever they look like
 * in a character set.
 */
export class InsertWriter extends RowWriter {
  readonly #tail: Buffer;

  /** `tail` follows the rows. */
  constructor(table: RowTable, maxPacketBytes: number, tail: string = "") {
    const columns = table.numberColumn === undefined ? table.columns : [table.numberColumn, ...table.columns];
    const names = columns.map((name) => `\`${name}\``).join(",");
    const text = Buffer.from(`INSERT INTO ${table.fullName} (${names}) VALUES `);
    const syntax = {
      head: Buffer.concat([Buffer.alloc(STATEMENT_HEAD_BYTES), text]),
      tailBytes: tail.length,
      beforeRow: OPEN,
      betweenRows: COMMA,
      afterValue: COMMA,
      afterRow: CLOSE,
      escapes: escapeTable([QUOTE, QUOTE], [BACKSLASH, BACKSLASH]),
    };
    super(table, syntax, maxPacketBytes);
    this.#tail = Buffer.from(tail);
  }

  async store(connection: MysqlConnection, { bytes }: RowPortion): Promise<void> {
    await connection.execute(bytes);
  }

  putBytes(source: DataView, start: number, end: number): void {
    this.#putLiteral(BINARY, source, start, end);
  }

  putText(source: DataView, start: number, end: number): void {
    this.#putLiteral(TEXT, source, start, end);
  }

  protected endPortion(): void {
    this.bytes.writeBytes(this.#tail);
  }

  #putLiteral(introducer: Buffer, source: DataView, start: number, end: number): void {
    this.bytes.buffer.set(introducer, this.at);
    this.at += introducer.length;
    this.putEscaped(source, start, end);
    const { view } = this.bytes;
    view.setUint8(this.at, QUOTE);
    view.setUint8(this.at + 1, COMMA);
    this.at += 2;
  }
}
