import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { digitCount, putHalves, putString, putUint } from "../../../src/base/digits.ts";

const ROOM = 32;

/** Powers of ten and of two and their neighbours, beside random numbers: where the number of digits or halves changes. */
const U64 = fc.oneof(
  fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
  fc
    .tuple(fc.constantFrom(2n, 10n), fc.integer({ min: 0, max: 64 }), fc.integer({ min: -1, max: 1 }))
    .map(([base, exponent, offset]) => base ** BigInt(exponent) + BigInt(offset))
    .filter((value) => value >= 0n && value < 1n << 64n),
);

function written(put: (view: DataView, to: number) => number): string {
  const bytes = Buffer.alloc(ROOM, "?");
  const end = put(new DataView(bytes.buffer, bytes.byteOffset, ROOM), 1);
  expect(bytes[0]).toBe("?".charCodeAt(0));
  return bytes.toString("latin1", 1, end);
}

describe("decimal digits", () => {
  test("are those of String, and as many as announced", () => {
    fc.assert(
      fc.property(U64, (value) => {
        const high = Number(value >> 32n);
        const low = Number(value & 0xffff_ffffn);
        expect(written((view, to) => putHalves(view, to, high, low))).toBe(String(value));
        expect(digitCount(high, low)).toBe(String(value).length);
      }),
      { numRuns: 2000 },
    );
  });

  test("of numbers below 2^32 alone", () => {
    fc.assert(
      fc.property(
        U64.map((value) => Number(value & 0xffff_ffffn)),
        (value) => {
          expect(written((view, to) => putUint(view, to, value))).toBe(String(value));
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("of every number of up to four digits", () => {
    for (let value = 0; value < 10_000; value++) {
      if (written((view, to) => putUint(view, to, value)) !== String(value)) throw new Error(String(value));
    }
  });

  test("and other ASCII text", () => {
    expect(written((view, to) => putString(view, to, "-12"))).toBe("-12");
  });
});
