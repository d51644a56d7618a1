import { describe, expect, test } from "vitest";
import { UsageError } from "../../../../src/base/errors.ts";
import { backupName } from "../../../../src/operations/backups/backup-name.ts";
import {
  type BackupQuality,
  decideRetention,
  type RetainedBackup,
} from "../../../../src/operations/backups/retention.ts";
import {
  calendarPeriod,
  DEFAULT_POLICY_TEXT,
  parsePolicy,
  policyText,
  spanStart,
} from "../../../../src/operations/backups/retention-policy.ts";

const NOW = new Date("2026-11-23T06:06:53Z");

function at(text: string, quality: BackupQuality = "good", pinned: boolean = false): RetainedBackup {
  return { backup: backupName(new Date(text), "json", "gzip"), quality, pinned };
}

function decide(items: readonly RetainedBackup[], policy: string = DEFAULT_POLICY_TEXT, now: Date = NOW) {
  return decideRetention(items, { policy: parsePolicy(policy), now }).map(({ item, keep, reasons }) => {
    return `${keep ? "keep" : "drop"} ${item.backup.time.toISOString().slice(0, 16)}: ${reasons.join("; ")}`;
  });
}

describe("a policy", () => {
  test("is written as it is read", () => {
    for (const text of [DEFAULT_POLICY_TEXT, "all=36h", "hour=3d,year=forever"]) {
      expect(policyText(parsePolicy(text))).toBe(text);
    }
    expect(policyText(parsePolicy(" all=2d , day=0d,week=1w"))).toBe("all=2d,week=1w");
  });

  test.each(["", "all", "all=", "all=2", "all=2x", "day=1d,day=2d", "decade=forever", "all=-1d", "all=0d", "all=1.5d"])(
    "%j is refused",
    (text) => {
      expect(() => parsePolicy(text)).toThrow(UsageError);
    },
  );

  test("counts months by the calendar", () => {
    const start = (unit: "month" | "year", count: number, now: string) =>
      new Date(spanStart({ count, unit }, new Date(now))).toISOString();
    expect(start("month", 2, "2026-11-23T06:06:53Z")).toBe("2026-09-23T06:06:53.000Z");
    expect(start("month", 1, "2026-03-31T01:00:00Z")).toBe("2026-02-28T01:00:00.000Z");
    expect(start("month", 13, "2026-01-15T00:00:00Z")).toBe("2024-12-15T00:00:00.000Z");
    expect(start("year", 2, "2024-02-29T00:00:00Z")).toBe("2022-02-28T00:00:00.000Z");
  });

  test("has days of UTC, weeks from Monday, months of any length", () => {
    const period = (kind: "day" | "week" | "month" | "year", time: string) => {
      const { start, end } = calendarPeriod(kind, new Date(time));
      return [start, end].map((each) => new Date(each).toISOString().slice(0, 10)).join(" ");
    };
    expect(period("day", "2026-11-23T23:59:59Z")).toBe("2026-11-23 2026-11-24");
    expect(period("week", "2026-11-23T00:00:00Z")).toBe("2026-11-23 2026-11-30");
    expect(period("week", "2026-11-22T23:59:59Z")).toBe("2026-11-16 2026-11-23");
    expect(period("month", "2024-02-29T12:00:00Z")).toBe("2024-02-01 2024-03-01");
    expect(period("year", "2024-02-29T12:00:00Z")).toBe("2024-01-01 2025-01-01");
  });
});

describe("retention", () => {
  test("keeps all of two days, then the newest of each day, week and month", () => {
    const items = [
      at("2026-11-23T06:00Z"),
      at("2026-11-21T07:00Z"),
      at("2026-11-21T06:00Z"),
      at("2026-11-20T23:00Z"),
      at("2026-11-20T01:00Z"),
      at("2026-11-08T23:00Z"),
      at("2026-11-08T01:00Z"),
      at("2026-11-04T01:00Z"),
      at("2026-10-31T23:00Z"),
      at("2026-10-30T23:00Z"),
      at("2026-03-31T23:00Z"),
      at("2026-03-01T23:00Z"),
      at("2020-01-01T00:00Z"),
    ];
    expect(decide(items)).toEqual([
      "keep 2026-11-23T06:00: the newest; the newest verified one; all of 2d; day 2026-11-23; week 2026-W48; month 2026-11",
      "keep 2026-11-21T07:00: all of 2d; day 2026-11-21; week 2026-W47",
      "drop 2026-11-21T06:00: dump-2026-11-21-070000.json.gz is kept for its time",
      "keep 2026-11-20T23:00: day 2026-11-20",
      "drop 2026-11-20T01:00: dump-2026-11-20-230000.json.gz is kept for its time",
      "keep 2026-11-08T23:00: week 2026-W45",
      "drop 2026-11-08T01:00: dump-2026-11-08-230000.json.gz is kept for its time",
      "drop 2026-11-04T01:00: dump-2026-11-08-230000.json.gz is kept for its time",
      "keep 2026-10-31T23:00: week 2026-W44; month 2026-10",
      "drop 2026-10-30T23:00: dump-2026-10-31-230000.json.gz is kept for its time",
      "keep 2026-03-31T23:00: month 2026-03",
      "drop 2026-03-01T23:00: dump-2026-03-31-230000.json.gz is kept for its time",
      "keep 2020-01-01T00:00: month 2020-01",
    ]);
  });

  test("prefers a verified backup over a newer one that nobody looked at, and that over a damaged one", () => {
    expect(
      decide([
        at("2026-11-23T06:00Z"),
        at("2026-11-15T20:00Z", "bad"),
        at("2026-11-15T15:00Z", "unknown"),
        at("2026-11-15T10:00Z"),
        at("2026-11-14T20:00Z", "bad"),
        at("2026-11-14T15:00Z", "unknown"),
        at("2026-11-13T20:00Z", "bad"),
      ]).map((line) => line.slice(0, 21)),
    ).toEqual([
      "keep 2026-11-23T06:00",
      "drop 2026-11-15T20:00",
      "drop 2026-11-15T15:00",
      "keep 2026-11-15T10:00",
      "drop 2026-11-14T20:00",
      "keep 2026-11-14T15:00",
      "keep 2026-11-13T20:00",
    ]);
  });

  test("keeps pins, and the newest verified backup however old it is", () => {
    expect(
      decide(
        [at("2026-11-23T06:00Z", "unknown"), at("2019-03-02T00:00Z", "unknown", true), at("2019-03-01T00:00Z")],
        "all=1d",
      ),
    ).toEqual([
      "keep 2026-11-23T06:00: the newest; all of 1d",
      "keep 2019-03-02T00:00: pinned",
      "keep 2019-03-01T00:00: the newest verified one",
    ]);
  });

  test("keeps what claims to be from the future, which takes no other's place", () => {
    expect(decide([at("2027-05-01T00:00Z"), at("2026-11-20T00:00Z")], "day=2w")).toEqual([
      "keep 2027-05-01T00:00: its time is in the future",
      "keep 2026-11-20T00:00: the newest; the newest verified one; day 2026-11-20",
    ]);
  });
});
