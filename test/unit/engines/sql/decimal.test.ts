import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PackedRowReader } from "../../../../src/engines/sql/decimal.ts";

function readAll(text: string, count: number): bigint[] {
  const row = new PackedRowReader("jfs_node");
  row.open(Buffer.from(text));
  const values = Array.from({ length: count }, () => {
    row.readInt64();
    return BigInt.asIntN(64, row.unsigned());
  });
  row.expectEnd();
  return values;
}

const int64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -(2n ** 53n) - 2n, max: 2n ** 53n + 2n }),
  fc.bigInt({ min: -(2n ** 32n) - 2n, max: 2n ** 32n + 2n }),
  fc.bigInt({ min: -100_000n, max: 100_000n }),
);

describe("a packed row", () => {
  test("gives back every 64-bit integer", () => {
    fc.assert(
      fc.property(fc.array(int64, { minLength: 1, maxLength: 20 }), (values) => {
        expect(readAll(values.join(" "), values.length)).toEqual(values);
      }),
    );
  });

  test.each([
    9007199254740991n,
    9007199254740992n,
    9007199254740993n,
    9223372032828243968n,
    9223372036854775807n,
    -9223372036854775808n,
    -9007199254740993n,
    -4294967296n,
    4294967295n,
    0n,
  ])("gives back %s", (value) => {
    expect(readAll(`7 ${value} -1`, 3)).toEqual([7n, value, -1n]);
  });

  test("holds bytes of any value between its numbers", () => {
    const row = new PackedRowReader("jfs_edge");
    const name = Buffer.from([0x20, 0, 0xff, 0x31, 0x20]);
    row.open(Buffer.concat([Buffer.from("5 "), name, Buffer.from(" 42")]));
    const start = row.skipBytes(row.readSize());
    expect(row.bytes.subarray(start, start + name.length)).toEqual(name);
    expect(row.readSize()).toBe(42);
    row.expectEnd();
  });

  test.each(["9", "99", "999", "9999", "99999", "-9999"])("ends %s where bytes of any value begin", (number) => {
    const row = new PackedRowReader("jfs_edge");
    row.open(Buffer.concat([Buffer.from(`${number} `), Buffer.from([0xff, 0xfe, 0xff, 0x39])]));
    row.readInt64();
    expect(BigInt.asIntN(64, row.unsigned())).toBe(BigInt(number));
    expect(row.at).toBe(number.length + 1);
  });

  test.each(["9\xff 1", "12:4 1", "123/ 1", "1234\x80 1", "12345;6 1"])("refuses %j", (text) => {
    const row = new PackedRowReader("jfs_node");
    row.open(Buffer.from(text, "latin1"));
    expect(() => row.readInt64()).toThrow("a value in it is not of the column's type");
  });

  test.each(["", "x", "-", "1.5", "1e9", "12345678901234567890", "7 x", " 7"])("refuses %j", (text) => {
    expect(() => readAll(text, 2)).toThrow("Cannot read a row of jfs_node: a value in it is not of the column's type");
  });

  test("refuses rows that are longer than what was read", () => {
    expect(() => readAll("1 2 3", 2)).toThrow("Cannot read a row of jfs_node");
  });
});
