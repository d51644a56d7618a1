import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema, Int64ValueSchema, UInt64ValueSchema } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesFieldSize, ProtobufError, ProtobufReader, ProtobufWriter } from "../../../src/base/protobuf.ts";

describe("messages of protobuf", () => {
  test("numbers of 64 bits and bytes are those of another implementation, both ways", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.uint8Array(), (value, bytes) => {
        const number = new ProtobufWriter(16).number(1, value).written();
        expect(fromBinary(UInt64ValueSchema, number).value).toBe(value);
        const any = toBinary(AnySchema, { $typeName: "google.protobuf.Any", typeUrl: "a/b", value: bytes });
        expect(new ProtobufWriter(16).text(1, "a/b").bytes(2, bytes).written()).toEqual(Buffer.from(any));
        const reader = new ProtobufReader(number);
        expect(reader.next() ? reader.uint64() : 0n).toBe(value);
      }),
    );
  });

  test("a negative number has ten bytes", () => {
    const written = new ProtobufWriter().number(1, -5n).written();
    expect(fromBinary(Int64ValueSchema, written).value).toBe(-5n);
    const reader = new ProtobufReader(written);
    reader.next();
    expect(reader.int64()).toBe(-5n);
  });

  test("numbers above 32 bits keep all bits, as a JavaScript number too", () => {
    for (const value of [2 ** 31, 2 ** 32, 2 ** 35 + 1, Number.MAX_SAFE_INTEGER]) {
      const reader = new ProtobufReader(new ProtobufWriter().number(3, value).written());
      expect(reader.next()).toBe(true);
      expect([reader.field, reader.number(), reader.uint64()]).toEqual([3, value, BigInt(value)]);
    }
  });

  test("fields of every wire type are passed over, high field numbers are read", () => {
    const bytes = Buffer.from("0801 11ffffffffffffffff 1a0161 25ffffffff 820102c3a4".replaceAll(" ", ""), "hex");
    const reader = new ProtobufReader(bytes);
    const fields: number[] = [];
    while (reader.next()) fields.push(reader.field);
    expect(fields).toEqual([1, 2, 3, 4, 16]);
    expect(reader.text()).toBe("ä");
  });

  test("messages lie in messages, and empty elements of a list are kept", () => {
    const inner = new ProtobufWriter().number(1, 7);
    const written = new ProtobufWriter().message(1, inner).element(2, Buffer.alloc(0)).message(1, inner).written();
    const reader = new ProtobufReader(Buffer.from(written));
    const seen: unknown[] = [];
    while (reader.next()) {
      if (reader.field === 2) seen.push(reader.view().length);
      else {
        const sub = reader.message();
        sub.next();
        seen.push(sub.number());
      }
    }
    expect(seen).toEqual([7, 0, 7]);
  });

  test("a message that is opened by its size is the same as one that is written apart", () => {
    for (const size of [1, 127, 128, 16383, 16384]) {
      const value = Buffer.alloc(size, 0x61);
      const apart = new ProtobufWriter().message(5, new ProtobufWriter().bytes(2, value)).written();
      const opened = new ProtobufWriter().open(5, bytesFieldSize(size)).slice(2, value, 0, size).written();
      expect(opened.equals(apart)).toBe(true);
    }
  });

  test("nothing is written for zero, false and empty bytes", () => {
    const writer = new ProtobufWriter().number(1, 0).number(2, 0n).bool(3, false).bytes(4, Buffer.alloc(0)).text(5, "");
    expect(writer.written().length).toBe(0);
  });

  test("bytes that are no message give an error, whatever they are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const reader = new ProtobufReader(Buffer.from(bytes));
        try {
          while (reader.next()) void 0;
        } catch (error) {
          expect(error).toBeInstanceOf(ProtobufError);
        }
      }),
    );
    const read = (hex: string) => () => new ProtobufReader(Buffer.from(hex, "hex")).next();
    expect(read("0a05616263")).toThrow("field 1 ends behind the end of its message");
    expect(read("08ffffffffffffffffff02")).toThrow("a number has more than 64 bits");
    expect(read("08ff")).toThrow("the message is cut off");
    expect(read("0b")).toThrow("field 1 has the unknown wire type 3");
  });

  test("a field of another type than expected is refused", () => {
    const reader = new ProtobufReader(new ProtobufWriter().number(1, 2n ** 60n).written());
    reader.next();
    expect(() => reader.view()).toThrow("field 1 has wire type 0 instead of 2");
    expect(() => reader.number()).toThrow("the number in field 1 is too large");
  });
});
