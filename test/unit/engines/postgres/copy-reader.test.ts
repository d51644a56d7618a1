import { describe, expect, test } from "vitest";
import { viewOf } from "../../../../src/base/bytes.ts";
import { DataError } from "../../../../src/base/errors.ts";
import { CopyReader } from "../../../../src/engines/postgres/copy-reader.ts";
import { CopyWriter } from "../../../../src/engines/postgres/copy-writer.ts";

/** Rows of an integer of 8 bytes, one of 4, and a byte string. */
const ROWS: readonly (readonly [bigint, number, Buffer])[] = [
  [0n, 0, Buffer.alloc(0)],
  [-1n, -1, Buffer.from("name")],
  [(1n << 53n) + 1n, 2147483647, Buffer.from([0xff, 0, 0x0a])],
  [-(1n << 63n), -2147483648, Buffer.alloc(300, 0x80)],
];

function write(): Buffer {
  const writer = new CopyWriter("edge", ["a", "b", "c"]);
  for (const [a, b, c] of ROWS) {
    writer.begin(c.length);
    writer.putInt64(a);
    writer.putInt32(b);
    writer.putBytes(viewOf(c), 0, c.length);
    expect(writer.commit()).toBe(false);
  }
  return writer.take()!;
}

function readRow(reader: CopyReader): [bigint, number, Buffer] {
  reader.readInt64();
  const a = BigInt.asIntN(64, reader.unsigned());
  reader.readInt64();
  expect(reader.high).toBe(reader.low < 0 ? -1 : 0);
  const b = reader.low;
  const size = reader.readSize();
  const start = reader.skipBytes(size);
  return [a, b, Buffer.from(reader.bytes.subarray(start, start + size))];
}

function read(bytes: Buffer, piece: number, fields = 3): { rows: unknown[]; ended: boolean } {
  const reader = new CopyReader("jfs_edge", fields);
  const rows: unknown[] = [];
  for (let at = 0; at < bytes.length; at += piece) {
    reader.push(Buffer.from(bytes.subarray(at, at + piece)));
    while (reader.next()) rows.push(readRow(reader));
  }
  return { rows, ended: reader.ended };
}

describe("rows of COPY in binary form", () => {
  test.each([1, 2, 3, 7, 64, 100_000])("are read as they were written, in pieces of %i bytes", (piece) => {
    expect(read(write(), piece)).toEqual({ rows: ROWS, ended: true });
  });

  test("have the bytes that the server sends", () => {
    const writer = new CopyWriter("edge", ["parent", "name", "inode", "type"]);
    const name = viewOf(Buffer.from("d"));
    writer.begin(1);
    writer.putHalves(0, 1);
    writer.putBytes(name, 0, 1);
    writer.putInt64(3);
    writer.putInt32(2);
    writer.commit();
    // docs/spec/sql.md §16.3
    const row = "0004 00000008 0000000000000001 00000001 64 00000008 0000000000000003 00000004 00000002".replaceAll(
      " ",
      "",
    );
    const head = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1").toString("hex");
    expect(writer.take()!.toString("hex")).toBe(`${head}${row}ffff`);
    expect(writer.take()).toBeUndefined();
  });

  test("have an extension of the head that is skipped, and NULL, which is 0 and empty", () => {
    const head = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x03abc", "latin1");
    const row = Buffer.from("0003ffffffffffffffffffffffffffff", "hex");
    expect(read(Buffer.concat([head, row]), 5)).toEqual({ rows: [[0n, 0, Buffer.alloc(0)]], ended: true });
  });

  test("that are cut off have not ended, wherever that is", () => {
    const bytes = write();
    for (let size = 0; size < bytes.length; size++) expect(read(bytes.subarray(0, size), 11).ended).toBe(false);
  });

  test.each([
    ["another number of values", () => read(write(), 100, 4), "it has 3 values"],
    ["another format", () => read(Buffer.alloc(40), 100), "it is not in COPY's binary format"],
    [
      "values that are no integers",
      () => {
        const reader = new CopyReader("jfs_edge", 3);
        reader.push(Buffer.concat([write().subarray(0, 19), Buffer.from("000300000002", "hex"), Buffer.alloc(30)]));
        reader.next();
        reader.readInt64();
      },
      "a value in it is no integer",
    ],
    [
      "values that were not all read",
      () => {
        const reader = new CopyReader("jfs_edge", 3);
        reader.push(write());
        reader.next();
        reader.readInt64();
        reader.next();
      },
      "its values are not those that were asked for",
    ],
  ])("with %s are refused", (_, attempt, message) => {
    expect(attempt).toThrow(DataError);
    expect(attempt).toThrow(`Cannot read a row of jfs_edge: ${message}`);
  });
});
