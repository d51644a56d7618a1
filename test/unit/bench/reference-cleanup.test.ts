import { expect, test } from "vitest";
import { referenceKeeps } from "../../../bench/reference-cleanup.ts";

const HOUR_MS = 3_600_000;

test("the model of the reference's clean-up keeps what the reference was seen to keep (docs/spec/auto-backup.md §8)", () => {
  const now = Date.parse("2026-11-23T06:06:53Z");
  const first = Date.parse("2026-11-23T06:05:36Z");
  const times = [now, ...Array.from({ length: 3200 }, (_, i) => first - i * 6 * HOUR_MS)];
  const kept = referenceKeeps(times, now).map((time) => new Date(time).toISOString().slice(0, 16));
  expect(kept).toHaveLength(51);
  expect(kept.slice(0, 9)).toEqual([
    "2026-11-23T06:06",
    "2026-11-23T06:05",
    "2026-11-23T00:05",
    "2026-11-22T18:05",
    "2026-11-22T12:05",
    "2026-11-22T06:05",
    "2026-11-22T00:05",
    "2026-11-21T18:05",
    "2026-11-21T12:05",
  ]);
  expect(kept.slice(9, 21).map((text) => text.slice(5))).toEqual([
    "11-20T12:05",
    "11-19T12:05",
    "11-18T12:05",
    "11-17T12:05",
    "11-16T12:05",
    "11-15T12:05",
    "11-14T12:05",
    "11-13T12:05",
    "11-12T12:05",
    "11-11T12:05",
    "11-10T12:05",
    "11-09T12:05",
  ]);
  expect(kept.slice(21, 28).map((text) => text.slice(5, 10))).toEqual([
    "11-02",
    "10-26",
    "10-19",
    "10-12",
    "10-05",
    "09-28",
    "09-21",
  ]);
  expect(kept.slice(28, 31).map((text) => text.slice(5, 10))).toEqual(["08-22", "07-23", "06-23"]);
  expect(kept.slice(-3)).toEqual(["2024-12-30T12:05", "2024-11-30T12:05", "2024-11-23T12:05"]);
});
