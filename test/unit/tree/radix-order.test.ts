import { describe, expect, test } from "vitest";
import { OrderKeys, sortByKeys } from "../../../src/tree/radix-order.ts";

function sorted(keys: readonly number[], order: readonly number[] = keys.map((_, i) => i)): number[] {
  const held = new OrderKeys(keys.length);
  for (const [ordinal, key] of keys.entries()) held.set(ordinal, key);
  return [...sortByKeys(held, keys.length, Uint32Array.from(order), new Uint32Array(keys.length))];
}

/** The same numbers in every run, of up to `bits` bits, with some that occur often. */
function someKeys(count: number, bits: number): number[] {
  let state = bits;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 0x1_0000_0000;
  };
  return Array.from({ length: count }, () => Math.floor(next() * 2 ** (next() < 0.2 ? 2 : bits)));
}

describe("ordinals sorted by their keys", () => {
  test.each([1, 8, 11, 12, 20, 22, 23, 32, 33, 38, 40])(
    "are in order with keys of %i bits, equal ones as they stood",
    (bits) => {
      const keys = someKeys(5000, bits);
      const ordinals = keys.map((_, i) => i);
      expect(sorted(keys)).toEqual(ordinals.toSorted((a, b) => keys[a]! - keys[b]! || a - b));
      // Sorted from the other end, equal ones stand the other way round.
      expect(sorted(keys, ordinals.toReversed())).toEqual(ordinals.toSorted((a, b) => keys[a]! - keys[b]! || b - a));
    },
  );

  test("are left alone where all keys are equal, one, or none", () => {
    expect(sorted([7, 7, 7], [2, 0, 1])).toEqual([2, 0, 1]);
    expect(sorted([2 ** 37])).toEqual([0]);
    expect(sorted([])).toEqual([]);
  });

  test("are told apart by the highest bit alone", () => {
    expect(sorted([2 ** 37 + 5, 5, 2 ** 37 + 4])).toEqual([1, 2, 0]);
  });
});

test("keys are equal only where all of their bits are", () => {
  const keys = new OrderKeys(3);
  for (const [ordinal, key] of [2 ** 33 + 1, 2 ** 34 + 1, 2 ** 33 + 1].entries()) keys.set(ordinal, key);
  expect([keys.areEqual(0, 1), keys.areEqual(0, 2), keys.get(1)]).toEqual([false, true, 2 ** 34 + 1]);
});
