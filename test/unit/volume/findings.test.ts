import { expect, test } from "vitest";
import { FindingList } from "../../../src/volume/findings.ts";

test("findings of one kind with one sentence are counted together, with the first five examples", () => {
  const findings = new FindingList();
  for (let i = 1; i <= 7; i++) findings.add("link-count", () => `inode ${i}`);
  findings.add("link-count", undefined, 3);
  expect(findings.all).toEqual([
    {
      kind: "link-count",
      text: "Link counts that did not fit the tree were recomputed",
      count: 10,
      examples: ["inode 1", "inode 2", "inode 3", "inode 4", "inode 5"],
      loss: false,
    },
  ]);
});

test("a loss that an engine reports stays one after a note of the same kind that is none", () => {
  const findings = new FindingList();
  findings.addOther("reader", "Keys of other applications were ignored", false, undefined, 54);
  findings.addOther("reader", "Keys that hold a value of the wrong type were left out", true);
  findings.addOther("reader", "Keys of other applications were ignored", false);
  expect(findings.all.map(({ text, count, loss }) => ({ text, count, loss }))).toEqual([
    { text: "Keys of other applications were ignored", count: 55, loss: false },
    { text: "Keys that hold a value of the wrong type were left out", count: 1, loss: true },
  ]);
});
