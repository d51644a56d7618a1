import { describe, expect, test } from "vitest";
import { viewOf } from "../../../../src/base/bytes.ts";
import { InternalError } from "../../../../src/base/errors.ts";
import { InsertWriter } from "../../../../src/engines/mysql/insert-writer.ts";
import { LoadDataWriter } from "../../../../src/engines/mysql/load-data-writer.ts";
import { PACKET_HEAD_BYTES, STATEMENT_HEAD_BYTES } from "../../../../src/engines/mysql/mysql-connection.ts";
import { MysqlServerError, ResultReceiver } from "../../../../src/engines/mysql/result-receiver.ts";
import type { RowTable, RowWriter } from "../../../../src/engines/mysql/row-writer.ts";
import { TextRowReader } from "../../../../src/engines/mysql/text-row-reader.ts";

function packet(...payload: (number | Buffer)[]): Buffer {
  const body = Buffer.concat(payload.map((part) => (typeof part === "number" ? Buffer.from([part]) : part)));
  const head = Buffer.alloc(4);
  head.writeUIntLE(body.length, 0, 3);
  return Buffer.concat([head, body]);
}

/** A value of a row: its size and its bytes; NULL where there is none. */
function value(content: string | Buffer | null): Buffer {
  if (content === null) return Buffer.from([0xfb]);
  const bytes = Buffer.from(content as Buffer);
  const head =
    bytes.length < 251
      ? [bytes.length]
      : bytes.length < 0x1_0000
        ? [0xfc, bytes.length & 0xff, bytes.length >> 8]
        : [0xfd, bytes.length & 0xff, (bytes.length >> 8) & 0xff, bytes.length >> 16];
  return Buffer.concat([Buffer.from(head), bytes]);
}

const COLUMN = packet(Buffer.from("a definition that nobody reads"));
const EOF = packet(0xfe, 0, 0, 2, 0);
const HEAD = [packet(2), COLUMN, COLUMN, EOF];

function receive(stream: Buffer, chunk: number): ResultReceiver {
  const receiver = new ResultReceiver({ execute: () => undefined });
  for (let at = 0; at < stream.length; at += chunk) receiver.execute(stream.subarray(at, at + chunk));
  return receiver;
}

function rowsOf(receiver: ResultReceiver): [bigint, string][] {
  const reader = new TextRowReader("jfs_test");
  const rows: [bigint, string][] = [];
  for (const page of receiver.pages) {
    reader.open(page);
    while (reader.nextRow()) {
      reader.readInt64();
      const number = reader.unsigned();
      const size = reader.readSize();
      const start = reader.skipBytes(size);
      rows.push([number, page.toString("latin1", start, start + size)]);
    }
  }
  return rows;
}

describe("rows of the text protocol", () => {
  const rows: readonly (readonly [string | null, string | null])[] = [
    ["0", ""],
    ["-1", "a"],
    [null, null],
    ["9007199254740993", "b".repeat(250)],
    ["-9223372036854775808", "c".repeat(251)],
    ["9223372032828243968", "d".repeat(70_000)],
    ["4294967296", "e".repeat(65_535)],
  ];
  const stream = Buffer.concat([...HEAD, ...rows.map(([a, b]) => packet(value(a), value(b))), EOF]);
  const expected = rows.map(([a, b]) => [BigInt.asUintN(64, BigInt(a ?? 0)), b ?? ""]);

  test.each([1, 2, 3, 5, 7, 100, 4096, 65_536, 1_000_000])(
    "are the same when they come in pieces of %i bytes",
    (size) => {
      const receiver = receive(stream, size);
      expect(receiver.ended).toBe(true);
      receiver.throwError();
      expect(rowsOf(receiver)).toEqual(expected);
    },
  );

  test("are none for a statement without result, and for an empty one", () => {
    for (const answer of [packet(0, 0, 0, 2, 0, 0, 0), Buffer.concat([...HEAD, EOF])]) {
      const receiver = receive(answer, 3);
      expect([receiver.ended, receiver.pages]).toEqual([true, []]);
      receiver.throwError();
    }
  });

  test("are counted by the server for a statement without result", () => {
    const sizes: readonly (readonly [bytes: number[], rows: number])[] = [
      [[0], 0],
      [[250], 250],
      [[0xfc, 0xfb, 0], 251],
      [[0xfd, 1, 2, 3], 0x030201],
      [[0xfe, 1, 0, 0, 0, 1, 0, 0, 0], 0x1_0000_0001],
    ];
    for (const [affected, affectedRows] of sizes) {
      for (const [lastNumber] of sizes) {
        const receiver = receive(packet(0, ...affected, ...lastNumber, 2, 0, 0x34, 0x12, Buffer.from("Records: 1")), 5);
        receiver.throwError();
        expect(receiver.outcome).toEqual({ affectedRows, warnings: 0x1234 });
      }
    }
    expect(receive(packet(0), 1).outcome).toEqual({ affectedRows: Number.NaN, warnings: Number.NaN });
  });

  test("are asked for by the name under which they are offered, once", () => {
    const ask = (name: string, offered?: string): ResultReceiver => {
      const receiver = new ResultReceiver({ execute: () => undefined }, offered);
      receiver.execute(packet(0xfb, Buffer.from(name)));
      return receiver;
    };
    const asked = ask("rows", "rows");
    expect([asked.ended, asked.fileAskedBy]).toEqual([false, 0]);
    for (const other of [ask("/etc/passwd", "rows"), ask("", "rows"), ask("rows")]) {
      expect([other.ended, other.fileAskedBy, other.isOutOfStep]).toEqual([true, undefined, true]);
      expect(() => other.throwError()).toThrow("The server sent a request for the file");
    }
    asked.execute(packet(0xfb, Buffer.from("rows")));
    expect(asked.isOutOfStep).toBe(true);
    const rows = ask("rows", "rows");
    rows.execute(Buffer.concat(HEAD));
    expect(() => rows.throwError()).toThrow("The server sent an answer that was not asked for");
  });

  test("end with the server's error, also after some of them", () => {
    const error = packet(0xff, 0x25, 0x05, Buffer.from("#70100Query execution was interrupted"));
    for (const answer of [error, Buffer.concat([...HEAD, packet(value("1"), value("x")), error])]) {
      const receiver = receive(answer, 4);
      expect(receiver.ended).toBe(true);
      expect(() => receiver.throwError()).toThrow(
        new MysqlServerError(1317, "70100", "Query execution was interrupted"),
      );
    }
  });

  test("that are not what was asked for are an error, never a wrong number", () => {
    const reader = new TextRowReader("jfs_test");
    for (const text of ["", "-", "1.5", "abc", "12x4", "99999999999999999999", "9223372036854775808"]) {
      reader.open(packet(value(text)));
      reader.nextRow();
      expect(() => reader.readInt64()).toThrow("Cannot read a row of jfs_test");
    }
    reader.open(packet(value("1"), value("2")));
    reader.nextRow();
    reader.readInt64();
    expect(() => reader.nextRow()).toThrow("Cannot read a row of jfs_test"); // a column was not read
    reader.open(packet(5, 0x31));
    reader.nextRow();
    expect(() => reader.readInt64()).toThrow("Cannot read a row of jfs_test"); // beyond the end of the row
  });
});

const table = (columns: readonly string[], numberColumn?: string): RowTable => ({
  name: "t",
  fullName: "`jfs_t`",
  columns,
  numberColumn,
});

const NUMBERS = [0n, -1n, 1n << 53n, -(1n << 63n), (1n << 63n) - 1n, -4294967296n];
const DIGITS = ["0", "-1", "9007199254740992", "-9223372036854775808", "9223372036854775807", "-4294967296"];

/** Numbers of both forms, in rows of their own. */
function putNumbers(writer: RowWriter, numbers: readonly number[]): void {
  for (const number of numbers) {
    for (const form of [number, BigInt(number)]) {
      writer.begin(0);
      writer.putInt64(form);
      writer.commit();
    }
  }
}

const PLAIN_NUMBERS = [0, -1, 4294967295, -4294967297, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];

describe("an INSERT statement", () => {
  const statementOf = (writer: InsertWriter): string =>
    writer.take()?.bytes.subarray(STATEMENT_HEAD_BYTES).toString("latin1") ?? "";

  test("has the rows with every byte and every number as it is", () => {
    const writer = new InsertWriter(table(["a", "b", "c"]), 16_777_216, " AND SO ON");
    const bytes = Buffer.from("it's \\ 0:\0 ff:\xff and longer than a word", "latin1");
    for (const number of NUMBERS) {
      writer.begin(bytes.length * 2);
      writer.putInt64(number);
      writer.putBytes(viewOf(bytes), 0, bytes.length);
      writer.putText(viewOf(bytes), 0, 4);
      writer.commit();
    }
    const literal = "_binary'it\\'s \\\\ 0:\0 ff:\xff and longer than a word',_utf8mb4'it\\'s'";
    const rows = DIGITS.map((number) => `(${number},${literal})`).join(",");
    expect(statementOf(writer)).toBe(`INSERT INTO \`jfs_t\` (\`a\`,\`b\`,\`c\`) VALUES ${rows} AND SO ON`);
    expect(writer.take()).toBeUndefined();
  });

  test("writes numbers of both forms alike", () => {
    const writer = new InsertWriter(table(["a"]), 16_777_216);
    putNumbers(writer, PLAIN_NUMBERS);
    const rows = PLAIN_NUMBERS.flatMap((number) => [`(${number})`, `(${number})`]).join(",");
    expect(statementOf(writer)).toBe(`INSERT INTO \`jfs_t\` (\`a\`) VALUES ${rows}`);
  });

  test("numbers its rows where they have a number, and goes on in the next one", () => {
    const writer = new InsertWriter(table(["a"], "id"), 16_777_216);
    for (const expected of ["(1,7),(2,7)", "(3,7)"]) {
      for (const _ of expected.split("),")) {
        writer.begin(0);
        writer.putInt32(7);
        writer.commit();
      }
      expect(statementOf(writer)).toBe(`INSERT INTO \`jfs_t\` (\`id\`,\`a\`) VALUES ${expected}`);
    }
  });

  test("is full before the server's limit", () => {
    expectToFillUp(new InsertWriter(table(["a"]), 1024 * 1024));
  });
});

describe("rows for LOAD DATA", () => {
  const rowsOf = (writer: LoadDataWriter): string =>
    writer.take()?.bytes.subarray(PACKET_HEAD_BYTES, -PACKET_HEAD_BYTES).toString("latin1") ?? "";

  test("have every byte and every number as it is, or what stands for it", () => {
    const writer = new LoadDataWriter(table(["a", "b", "c"]), 16_777_216);
    const bytes = Buffer.from("it's \\N \t\n\r\0 ff:\xff \x1a\\", "latin1");
    for (const number of NUMBERS) {
      writer.begin(bytes.length);
      writer.putBytes(viewOf(bytes), 0, bytes.length);
      writer.putInt64(number);
      writer.putBytes(viewOf(bytes), 0, 0);
      writer.commit();
    }
    const text = "it's \\\\N \\t\\n\r\\0 ff:\xff \x1a\\\\";
    expect(rowsOf(writer)).toBe(DIGITS.map((number) => `${text}\t${number}\t\n`).join(""));
    expect(writer.take()).toBeUndefined();
  });

  test("write numbers of both forms alike, and number themselves where they have a number", () => {
    const writer = new LoadDataWriter(table(["a"], "id"), 16_777_216);
    putNumbers(writer, PLAIN_NUMBERS);
    const rows = PLAIN_NUMBERS.flatMap((number, i) => [`${2 * i + 1}\t${number}\n`, `${2 * i + 2}\t${number}\n`]);
    expect(rowsOf(writer)).toBe(rows.join(""));
    putNumbers(writer, [5]);
    expect(rowsOf(writer)).toBe("13\t5\n14\t5\n");
  });

  test("are full before the server's limit", () => {
    expectToFillUp(new LoadDataWriter(table(["a"]), 1024 * 1024));
  });

  test("cannot be texts, which need a character set", () => {
    const writer = new LoadDataWriter(table(["a"]), 1024 * 1024);
    expect(() => writer.putText()).toThrow(InternalError);
  });
});

/** With values in which every byte is escaped. */
function expectToFillUp(writer: RowWriter): void {
  const limit = 1024 * 1024;
  const escaped = Buffer.alloc(65_535, "\\");
  for (let isFull = false; !isFull; ) {
    writer.begin(escaped.length);
    writer.putBytes(viewOf(escaped), 0, escaped.length);
    isFull = writer.commit();
  }
  const { bytes, rows } = writer.take()!;
  expect(rows).toBe(4);
  expect(bytes.length).toBeGreaterThan(limit / 2);
  expect(bytes.length).toBeLessThan(limit);
}
