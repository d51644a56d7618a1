import { expect, test } from "vitest";
import { SeenRanges } from "../../../../src/engines/foundationdb/seen-ranges.ts";

function ranges(...added: readonly (readonly [string, string])[]): string[] {
  const seen = new SeenRanges(2);
  for (const [start, end] of added) seen.add(Buffer.from(start), Buffer.from(end));
  return Array.from(seen, ([start, end]) => `${start} ${end}`);
}

test("what was read is covered by one range for each family of keys", () => {
  expect(ranges()).toEqual([]);
  expect(ranges(["p:A3", "p:A5"], ["p:A1", "p:A2"], ["p:A4", "p:A9"])).toEqual(["p:A1 p:A9"]);
  expect(ranges(["p:SS", "p:ST"], ["p:A1", "p:A2"], ["p:U", "p:V"])).toEqual(["p:SS p:ST", "p:A1 p:A2", "p:U p:V"]);
  expect(ranges(["p:", "p;"], ["p:A", "p:B"])).toEqual(["p: p;", "p:A p:B"]); // the whole volume, and a part
  expect(ranges(["p:A", "p:A"])).toEqual([]);
});
