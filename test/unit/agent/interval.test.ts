import { expect, test } from "vitest";
import { parseBackupInterval, parseInterval } from "../../../src/agent/interval.ts";
import { UsageError } from "../../../src/base/errors.ts";

test.each([
  ["", 0],
  ["0", 0],
  ["-1", 0],
  ["-5m", 0],
  ["300", 300_000],
  ["60.5", 60_500],
  ["1e3", 1_000_000],
  ["8h", 28_800_000],
  ["1h30m50s", 5_450_000],
  ["0.05h", 180_000],
  ["1d", 86_400_000],
  ["1.5d", 129_600_000],
  ["1d12h", 129_600_000],
  [".5h", 1_800_000],
  ["500ms", 500],
  ["1500us", 1.5],
  ["1500µs", 1.5],
  ["2m1m", 180_000],
])("%j is %d ms", (text, ms) => {
  expect(parseInterval(text)).toBeCloseTo(ms, 6);
});

test.each(["abc", "1x", "12h1d", "1 h", "h", "d", "1h-5m", "--1", "NaN", "Infinity", "0x10", "1_000"])(
  "%j is refused: the reference would make no backups and say so once",
  (text) => {
    expect(() => parseInterval(text)).toThrow(UsageError);
  },
);

test("a period below five minutes is refused with the reference's words, unless its switch for tests is set", () => {
  for (const [text, shown] of [
    ["1", "1s"],
    ["299s", "4m59s"],
    ["4m59s", "4m59s"],
    ["0.05h", "3m0s"],
  ] as const) {
    expect(() => parseBackupInterval(text, {})).toThrow(`backup-meta should not be less than 5 minutes: ${shown}`);
    expect(() => parseBackupInterval(text, { SKIP_BACKUP_META_CHECK: "1" })).toThrow(UsageError);
  }
  expect(parseBackupInterval("20s", { SKIP_BACKUP_META_CHECK: "true" })).toBe(20_000);
  for (const text of ["300", "5m", "1d"]) expect(parseBackupInterval(text, {})).toBeGreaterThanOrEqual(300_000);
  for (const text of ["0", "-1", ""]) expect(parseBackupInterval(text, {})).toBe(0);
});
