import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ByteWriter } from "../../../../src/base/bytes.ts";
import {
  parseSigned,
  parseUnsigned,
  signedOrZero,
  toBigInt,
  writeNumberArgument,
  writePairArgument,
} from "../../../../src/engines/redis/decimal.ts";
import { writeSignedArgument } from "../../../../src/engines/redis/record-writer.ts";

const U64 = fc.oneof(fc.bigInt(0n, (1n << 64n) - 1n), fc.bigInt(0n, 1n << 54n), fc.bigInt(0n, 1000n));
const S64 = fc.oneof(fc.bigInt(-(1n << 63n), (1n << 63n) - 1n), fc.bigInt(-1000n, 1000n));
const high = (value: bigint): number => Number((value >> 32n) & 0xffff_ffffn);
const low = (value: bigint): number => Number(value & 0xffff_ffffn);
const bulk = (text: string): string => `$${text.length}\r\n${text}\r\n`;

describe("decimal numbers in keys", () => {
  test("are parsed as BigInt does it", () => {
    fc.assert(
      fc.property(U64, (value) => {
        const out = { hi: 0, lo: 0 };
        const text = Buffer.from(String(value));
        expect(parseUnsigned(text, 0, text.length, out)).toBe(true);
        expect(toBigInt(out.hi, out.lo)).toBe(value);
      }),
    );
  });

  test("are written as BigInt does it, alone and in pairs", () => {
    fc.assert(
      fc.property(U64, U64, (a, b) => {
        const writer = new ByteWriter(16);
        writeNumberArgument(writer, Buffer.from("i"), high(a), low(a));
        writePairArgument(writer, Buffer.from("{12}c"), high(a), low(a), 0x5f, high(b), low(b));
        expect(writer.written().toString()).toBe(bulk(`i${a}`) + bulk(`{12}c${a}_${b}`));
      }),
    );
  });

  test("may be signed", () => {
    fc.assert(
      fc.property(S64, (value) => {
        const out = { hi: 0, lo: 0 };
        const text = Buffer.from(String(value));
        expect(parseSigned(text, 0, text.length, out)).toBe(true);
        expect(BigInt.asIntN(64, toBigInt(out.hi, out.lo))).toBe(value);
        expect(signedOrZero(text)).toBe(value);
        const writer = new ByteWriter(16);
        writeSignedArgument(writer, out.hi, out.lo);
        expect(writer.written().toString()).toBe(bulk(String(value)));
      }),
    );
  });

  test.each(["", "-1", "+1", "007", "1a", "18446744073709551616", "99999999999999999999", "1_0", " 1"])(
    "%j is no key number",
    (text) => {
      expect(parseUnsigned(Buffer.from(text), 0, text.length, { hi: 0, lo: 0 })).toBe(false);
    },
  );

  test("a counter that is no number counts as 0", () => {
    for (const text of ["", "-", "abc", "1.5", "9223372036854775808", "-9223372036854775809"]) {
      expect(signedOrZero(Buffer.from(text))).toBe(0n);
    }
    expect(signedOrZero(null)).toBe(0n);
    expect(signedOrZero(Buffer.from("007"))).toBe(7n);
  });
});
