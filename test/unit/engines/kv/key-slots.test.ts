import { expect, test } from "vitest";
import { KeySlots } from "../../../../src/engines/kv/key-slots.ts";

test("a key that comes again is found in the batch before it, whatever stands around it", () => {
  const slots = new KeySlots();
  const bytes = Buffer.from("..one..two..one");
  expect(slots.note(bytes, 2, 5, 1)).toBe(0);
  expect(slots.note(bytes, 7, 10, 2)).toBe(0);
  expect(slots.note(bytes, 12, 15, 3)).toBe(1);
  expect(slots.note(bytes, 2, 5, 4)).toBe(3);
  expect(slots.note(bytes, 2, 4, 5)).toBe(0);
});
