import { describe, expect, test } from "vitest";
import { viewOf } from "../../../../src/base/bytes.ts";
import { InsertWriter } from "../../../../src/engines/mysql/insert-writer.ts";
import { STATEMENT_HEAD_BYTES } from "../../../../src/engines/mysql/mysql-connection.ts";
import { MysqlServerError, ResultReceiver } from "../../../../src/engines/mysql/result-receiver.ts";
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

describe("an INSERT statement", () => {
  const statementOf = (writer: InsertWriter): string =>
    writer.take()?.subarray(STATEMENT_HEAD_BYTES).toString("latin1") ?? "";

  test("has the rows with every byte and every number as it is", () => {
    const writer = new InsertWriter("t", "`jfs_t`", ["a", "b", "c"], 16_777_216, " AND SO ON");
    const bytes = Buffer.from("it's \\ 0:\0 ff:\xff and longer than a word", "latin1");
    for (const number of [0n, -1n, 1n << 53n, -(1n << 63n), (1n << 63n) - 1n, -4294967296n]) {
      writer.begin(bytes.length * 2);
      writer.putInt64(number);
      writer.putBytes(viewOf(bytes), 0, bytes.length);
      writer.putText(viewOf(bytes), 0, 4);
      writer.commit();
    }
    const literal = "_binary'it\\'s \\\\ 0:\0 ff:\xff and longer than a word',_utf8mb4'it\\'s'";
    const numbers = ["0", "-1", "9007199254740992", "-9223372036854775808", "9223372036854775807", "-4294967296"];
    const rows = numbers.map((number) => `(${number},${literal})`).join(",");
    expect(statementOf(writer)).toBe(`INSERT INTO \`jfs_t\` (\`a\`,\`b\`,\`c\`) VALUES ${rows} AND SO ON`);
    expect(writer.take()).toBeUndefined();
  });

  test("writes numbers of both forms alike", () => {
    const writer = new InsertWriter("t", "`t`", ["a"], 16_777_216);
    const numbers = [0, -1, 4294967295, -4294967297, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];
    for (const number of numbers) {
      for (const form of [number, BigInt(number)]) {
        writer.begin(0);
        writer.putInt64(form);
        writer.commit();
      }
    }
    const rows = numbers.flatMap((number) => [`(${number})`, `(${number})`]).join(",");
    expect(statementOf(writer)).toBe(`INSERT INTO \`t\` (\`a\`) VALUES ${rows}`);
  });

  test("is full before the server's limit", () => {
    const limit = 1024 * 1024;
    const writer = new InsertWriter("t", "`t`", ["a"], limit);
    const quotes = Buffer.alloc(65_535, "'");
    for (let isFull = false; !isFull; ) {
      writer.begin(quotes.length);
      writer.putBytes(viewOf(quotes), 0, quotes.length);
      isFull = writer.commit();
    }
    const statement = writer.take()!;
    expect(statement.length).toBeGreaterThan(limit / 2);
    expect(statement.length).toBeLessThan(limit);
  });
});
