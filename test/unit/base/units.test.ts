import { describe, expect, test } from "vitest";
import { formatGoDuration, parseDurationSeconds } from "../../../src/base/go-duration.ts";
import { formatRfc3339 } from "../../../src/base/rfc3339.ts";
import { formatBytes, formatCount, formatDuration, parseMbps, parseSize } from "../../../src/base/units.ts";

test.each([
  [0n, "0 B"],
  [9n, "9 B"],
  [1023n, "1023 B"],
  [1024n, "1.0 KiB"],
  [10240n, "10 KiB"],
  [10737n, "10 KiB"],
  [11776n, "12 KiB"],
  [10737418240n, "10 GiB"],
  [1099511627776n, "1.0 TiB"],
  [1610612736n, "1.5 GiB"],
  [1099511627776000n, "1000 TiB"],
  [(1n << 64n) - 1n, "16 EiB"],
])("%s bytes are shown as %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test("counts have thousands separators and durations fit their size", () => {
  expect([0, 999, 1000, 1234567n].map(formatCount)).toEqual(["0", "999", "1,000", "1,234,567"]);
  expect([5, 1500, 59_960, 200_000, 7_500_000].map(formatDuration)).toEqual([
    "5 ms",
    "1.5 s",
    "1 min 0 s",
    "3 min 20 s",
    "2 h 5 min",
  ]);
});

describe("sizes", () => {
  test.each([
    ["5", "K", 5120n],
    ["5", "G", 5n << 30n],
    ["4M", "K", 4n << 20n],
    ["1.5k", "G", 1536n],
    ["12B", "G", 12n],
    [".5G", "B", 1n << 29n],
    ["0.00001", "G", 10737n],
    ["9007199254740993B", "G", 9007199254740993n],
    ["", "G", 0n],
  ] as const)("'%s' counted in %s", (text, unit, bytes) => {
    expect(parseSize(text, "capacity", unit)).toBe(bytes);
  });

  test.each([
    ["5x", "invalid unit"],
    ["5b", "invalid unit"],
    ["1GiB", '"1Gi" is no number'],
    ["-1", '"-1" is no number'],
    ["G", "empty number"],
    ["16E", "out of range"],
  ])("'%s' is refused", (text, reason) => {
    expect(() => parseSize(text, "block-size", "K")).toThrow(`Invalid value "${text}" for "block-size": ${reason}`);
  });
});

test("limits are Mbps in steps of 1000, fractions cut off", () => {
  expect(["100", "1G", "0.5", "1024M", "2.5T", ""].map((text) => parseMbps(text, "x"))).toEqual([
    100n,
    1000n,
    0n,
    1024n,
    2500000n,
    0n,
  ]);
  for (const text of ["10x", "-5", "G"]) expect(() => parseMbps(text, "upload-limit")).toThrow("upload-limit");
});

test("durations are read and written as the reference does", () => {
  expect(["2h", "1h30m5s", "0", "500ms", "1.5m", "-1s"].map(parseDurationSeconds)).toEqual([
    7200, 5405, 0, 0.5, 90, -1,
  ]);
  expect(["90", "1d", "", "h", "1h-5m"].map(parseDurationSeconds)).toEqual(Array(5).fill(undefined));
  expect([0, 59_000, 90_000, 7_200_000, 864_000_000, 250, 1500].map(formatGoDuration)).toEqual([
    "0s",
    "59s",
    "1m30s",
    "2h0m0s",
    "240h0m0s",
    "250ms",
    "1.5s",
  ]);
});

test("times are RFC 3339 in local time", () => {
  expect(Date.parse(formatRfc3339(1795413908n))).toBe(1795413908000);
  expect(formatRfc3339(-5n)).toMatch(/^19(69|70)-/);
  expect(formatRfc3339(1795413908n)).toMatch(/^2026-11-2\dT\d\d:\d\d:08(Z|[+-]\d\d:\d\d)$/);
});
