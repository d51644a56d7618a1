import { expect, test } from "vitest";
import { parseStamp, stampBytes } from "../../../src/agent/stamp.ts";

test.each([
  ["2026-11-23T06:03:33Z", "2026-11-23T06:03:33.000Z"],
  ["2026-11-23T14:03:33+08:00", "2026-11-23T06:03:33.000Z"],
  ["2026-11-22T22:33:33-07:30", "2026-11-23T06:03:33.000Z"],
  ["2026-11-23T06:03:33.123456789Z", "2026-11-23T06:03:33.123Z"],
  ["2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"],
])("%s is the instant %s, whatever its zone", (text, instant) => {
  expect(parseStamp(Buffer.from(text))).toEqual({ kind: "time", time: new Date(instant) });
});

test.each([
  "garbage",
  " 2026-11-23T06:03:33Z",
  "2026-11-23T06:03:33",
  "2026-11-23T06:03:33z",
  "2026-02-30T06:03:33Z",
  "2026-13-01T06:03:33Z",
  "2026-11-23T25:03:33Z",
  "2026-11-23T06:03:33+25:00",
  "2026-11-23T06:03:33+08:60",
  "2026-11-23 06:03:33Z",
  "1732341813",
])("%j is no time", (text) => {
  expect(parseStamp(Buffer.from(text))).toEqual({ kind: "unreadable", text });
});

test("no value and an empty one mean that there was no backup", () => {
  expect(parseStamp(undefined)).toEqual({ kind: "none" });
  expect(parseStamp(Buffer.alloc(0))).toEqual({ kind: "none" });
});

test("what cannot be shown is escaped, and a long value is cut off", () => {
  expect(parseStamp(Buffer.from([0xff, 0x0a, 0x41]))).toEqual({ kind: "unreadable", text: "\\xff\\x0aA" });
  expect(parseStamp(Buffer.alloc(100, "x"))).toEqual({ kind: "unreadable", text: `${"x".repeat(40)}...` });
});

test("what is written is read again, to the second", () => {
  const time = new Date("2026-11-23T06:03:33.987Z");
  expect(parseStamp(stampBytes(time))).toEqual({ kind: "time", time: new Date("2026-11-23T06:03:33.000Z") });
});
