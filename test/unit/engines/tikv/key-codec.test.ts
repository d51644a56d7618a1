import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { keyAfter } from "../../../../src/engines/kv/prefixed-keys.ts";
import { decodeKey, encodeKey, isWithin, lowerEnd } from "../../../../src/engines/tikv/key-codec.ts";

const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array));

describe("the encoded form of keys", () => {
  test.each([
    ["", "0000000000000000f7"],
    ["6863fd73657474696e67", "6863fd7365747469ff6e67000000000000f9"], // captured from the reference: docs/spec/kv-stores.md §2.4
    ["0000000000000000", "0000000000000000ff0000000000000000f7"],
    ["01", "0100000000000000f8"],
  ])("of %s is %s", (key, encoded) => {
    expect(encodeKey(Buffer.from(key, "hex")).toString("hex")).toBe(encoded);
    expect(decodeKey(Buffer.from(encoded, "hex")).toString("hex")).toBe(key);
  });

  test("is undone, and keeps the order of keys", () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(decodeKey(encodeKey(a))).toEqual(a);
        expect(Math.sign(encodeKey(a).compare(encodeKey(b)))).toBe(Math.sign(a.compare(b)));
      }),
    );
  });

  test("that nobody has is refused, with the bytes", () => {
    for (const hex of ["61", "00000000000000fff8", "0000000000000000ff", "616161616161616100", "7480000000000000ff"]) {
      expect(() => decodeKey(Buffer.from(hex, "hex"))).toThrow(`the boundary ${hex}, which is not the encoded form`);
    }
    fc.assert(
      fc.property(bytes, (encoded) => {
        try {
          if (encoded.length > 0) expect(encodeKey(decodeKey(encoded))).toEqual(encoded);
        } catch (error) {
          expect((error as { code?: string }).code).toBe("DECANT_E_TIKV_REGION_KEY");
        }
      }),
    );
  });

  test("an empty boundary is none", () => {
    expect(decodeKey(Buffer.alloc(0))).toEqual(Buffer.alloc(0));
    expect(isWithin(Buffer.from("z"), Buffer.from("a"), Buffer.alloc(0))).toBe(true);
    expect(isWithin(Buffer.from("a"), Buffer.from("a"), Buffer.from("b"))).toBe(true);
    expect(isWithin(Buffer.from("b"), Buffer.from("a"), Buffer.from("b"))).toBe(false);
    expect(lowerEnd(Buffer.alloc(0), Buffer.from("b")).toString()).toBe("b");
    expect(lowerEnd(Buffer.from("b"), Buffer.alloc(0)).toString()).toBe("b");
    expect(lowerEnd(Buffer.from("b"), Buffer.from("a")).toString()).toBe("a");
    expect(keyAfter(Buffer.from("a"))).toEqual(Buffer.from("a\0"));
  });
});
