import { describe, expect, test } from "vitest";
import { UsageError } from "../../../../src/base/errors.ts";
import { type BackupMeasure, parseMaxShrink, shrinkage } from "../../../../src/operations/backups/shrink-guard.ts";

const BEFORE: BackupMeasure = {
  inodes: 1000n,
  usedSpace: 1n << 40n,
  entries: 1000,
  documentBytes: 500_000,
  format: "json",
  whole: true,
};

describe("a backup is suspicious", () => {
  test("when a number fell by more than the limit, which is named with both values", () => {
    expect(shrinkage(BEFORE, { ...BEFORE, inodes: 499n }, 50)).toEqual(["inodes fell by 50 %, from 1,000 to 499"]);
    expect(shrinkage(BEFORE, { ...BEFORE, usedSpace: 1n << 38n }, 50)).toEqual([
      "used space fell by 75 %, from 1.0 TiB to 256 GiB",
    ]);
    expect(shrinkage(BEFORE, { ...BEFORE, entries: 3, documentBytes: 1000 }, 50)).toEqual([
      "entries fell by 99 %, from 1,000 to 3",
      "document size fell by 99 %, from 488 KiB to 1000 B",
    ]);
  });

  test("when everything is gone", () => {
    const nothing = { ...BEFORE, inodes: 0n, usedSpace: 0n, entries: 0, documentBytes: 0 };
    expect(shrinkage(BEFORE, nothing, 99)).toHaveLength(4);
  });

  test("at the very limit it is not", () => {
    expect(shrinkage(BEFORE, { ...BEFORE, inodes: 500n }, 50)).toEqual([]);
  });

  test("at 0 for anything less, at 100 for nothing", () => {
    expect(shrinkage(BEFORE, { ...BEFORE, inodes: 999n }, 0)).toHaveLength(1);
    expect(shrinkage(BEFORE, BEFORE, 0)).toEqual([]);
    expect(shrinkage(BEFORE, { ...BEFORE, inodes: 0n, entries: 0 }, 100)).toEqual([]);
  });

  test("not when it grew, or when there was nothing or a counter that cannot be right", () => {
    expect(shrinkage(BEFORE, { ...BEFORE, inodes: 5000n, entries: 5000 }, 0)).toEqual([]);
    for (const inodes of [0n, -5n]) expect(shrinkage({ ...BEFORE, inodes }, { ...BEFORE, inodes: -9n }, 0)).toEqual([]);
  });

  test("not by the document of another format, or of a part", () => {
    const small = { ...BEFORE, entries: 1, documentBytes: 1 };
    expect(shrinkage(BEFORE, { ...small, format: "binary" }, 50)).toEqual([]);
    expect(shrinkage(BEFORE, { ...small, whole: false }, 50)).toEqual([]);
  });

  test("also where numbers are beyond those of JavaScript", () => {
    const space = (1n << 63n) - 1n;
    expect(shrinkage({ ...BEFORE, usedSpace: space }, { ...BEFORE, usedSpace: space - 1n }, 0)).toEqual([]);
    expect(shrinkage({ ...BEFORE, usedSpace: space }, { ...BEFORE, usedSpace: space / 3n }, 50)).toHaveLength(1);
  });
});

test.each([
  ["50", 50],
  ["50%", 50],
  ["0", 0],
  ["100", 100],
  ["12.5", 12.5],
])("--max-shrink %s is %d percent", (text, percent) => {
  expect(parseMaxShrink(text)).toBe(percent);
});

test.each(["", "-1", "101", "100.1", "half", "5e1", "%", "1 0", "NaN"])("--max-shrink %j is refused", (text) => {
  expect(() => parseMaxShrink(text)).toThrow(UsageError);
});
