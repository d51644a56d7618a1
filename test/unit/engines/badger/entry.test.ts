import fc from "fast-check";
import { expect, test } from "vitest";
import { viewOf } from "../../../../src/base/bytes.ts";
import { compareKeyViews, compareWholeKeys } from "../../../../src/engines/badger/entry.ts";

/** Keys that are often equal for a while, of bytes whose sign matters. */
const keys = fc.array(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), { maxLength: 14 }).map((bytes) => Buffer.from(bytes));

test("keys compared by words are in the order of their bytes, wherever they stand", () => {
  fc.assert(
    fc.property(keys, keys, keys, fc.nat(3), (common, a, b, shift) => {
      const [left, right] = [Buffer.concat([common, a]), Buffer.concat([common, b])];
      const wanted = Buffer.compare(left, right);
      expect(Math.sign(compareWholeKeys(left, right))).toBe(wanted);
      const shifted = Buffer.concat([Buffer.alloc(shift, 0xaa), right, Buffer.alloc(9, 0x55)]);
      const order = compareKeyViews(viewOf(left), 0, left.length, viewOf(shifted), shift, right.length);
      expect(Math.sign(order)).toBe(wanted);
    }),
  );
});
