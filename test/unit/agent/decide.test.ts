import { describe, expect, test } from "vitest";
import { type CheckFacts, checkDelayMs, type Decision, decide, retryDelayMs } from "../../../src/agent/decide.ts";

const HOUR = 3_600_000;
const MINUTE = 60_000;
const NOW = new Date("2026-11-23T12:00:00Z");

function ago(ms: number): Date {
  return new Date(NOW.getTime() - ms);
}

/** A volume of a thousand inodes whose last backup is half an hour old and in the bucket, at a period of an hour. */
function facts(changes: Partial<CheckFacts> = {}): CheckFacts {
  return {
    now: NOW,
    intervalMs: HOUR,
    stamp: { kind: "time", time: ago(HOUR / 2) },
    stampSeenMs: HOUR / 2,
    newestBackup: ago(HOUR / 2),
    newestGood: ago(HOUR / 2),
    unfinished: undefined,
    failure: undefined,
    usedInodes: 1000n,
    skipAbove: 1_000_000n,
    runs: [],
    ...changes,
  };
}

const at = (time: Date) => ({ stamp: { kind: "time", time } }) as const;
const wait = (reason: string, waitMs: number) => ({ action: "wait", reason, waitMs }) as Decision;
const backup = (reason: string) => ({ action: "backup", reason }) as Decision;

describe("the period", () => {
  test.each<[string, Partial<CheckFacts>, Decision]>([
    ["no stamp: the first backup", { stamp: { kind: "none" }, newestBackup: undefined }, backup("first")],
    ["half an hour old: waits for the rest", {}, wait("not-due", HOUR / 2)],
    ["a second too young", { ...at(ago(HOUR - 1000)), newestBackup: ago(HOUR) }, wait("not-due", 1000)],
    ["exactly an hour old: due", at(ago(HOUR)), backup("due")],
    ["days old: due", at(ago(50 * HOUR)), backup("due")],
    [
      "a longer period of our own: not due",
      { ...at(ago(HOUR)), intervalMs: 2 * HOUR, newestBackup: ago(HOUR) },
      wait("not-due", HOUR),
    ],
    [
      "a stamp a little ahead is the skew of a clock",
      { ...at(ago(-4 * MINUTE)), newestBackup: ago(0) },
      wait("not-due", HOUR + 4 * MINUTE),
    ],
  ])("%s", (_, changes, expected) => expect(decide(facts(changes))).toEqual(expected));
});

describe("a stamp of no use", () => {
  const garbage = { stamp: { kind: "unreadable", text: "garbage" } } as const;
  const future = at(ago(-365 * 24 * HOUR));
  test.each<[string, Partial<CheckFacts>, Decision]>([
    [
      "that cannot be read waits a period from when it was first seen",
      { ...garbage, stampSeenMs: 0 },
      wait("unreadable", HOUR),
    ],
    [
      "that cannot be read waits for the rest of the grace",
      { ...garbage, stampSeenMs: HOUR - 1 },
      wait("unreadable", 1),
    ],
    ["that cannot be read is repaired after a period", { ...garbage, stampSeenMs: HOUR }, backup("repair")],
    ["from the future waits likewise", { ...future, stampSeenMs: 10 * MINUTE }, wait("future", 50 * MINUTE)],
    ["from the future is repaired after a period", { ...future, stampSeenMs: HOUR }, backup("repair")],
    [
      "more than five minutes ahead is from the future",
      { ...at(ago(-5 * MINUTE - 1)), stampSeenMs: 0 },
      wait("future", HOUR),
    ],
    [
      "is repaired also where no backup can be made",
      { ...garbage, stampSeenMs: HOUR, usedInodes: 1_000_001n },
      { action: "skip", reason: "too-many-inodes", inodes: 1_000_001n, fittingMs: 2 * HOUR, repair: true },
    ],
  ])("%s", (_, changes, expected) => expect(decide(facts(changes))).toEqual(expected));
});

describe("a backup that was begun and is not there", () => {
  test.each<[string, Partial<CheckFacts>, Decision]>([
    ["by a client, half a period ago: is made", { newestBackup: ago(2 * HOUR) }, backup("missing")],
    ["by a client, and the bucket is empty: is made", { newestBackup: undefined }, backup("missing")],
    [
      "by a client, not yet half a period ago: may be on its way",
      { ...at(ago(HOUR / 2 - 1)), newestBackup: undefined },
      wait("not-due", HOUR / 2 + 1),
    ],
    [
      "by a client whose clock is slow: was seen only now",
      { ...at(ago(50 * MINUTE)), newestBackup: undefined, stampSeenMs: MINUTE },
      wait("not-due", 10 * MINUTE),
    ],
    ["as far as can be told, as nobody could look: waits", { newestBackup: "unknown" }, wait("not-due", HOUR / 2)],
    ["by name a second before the stamp: is there", { newestBackup: ago(HOUR / 2 + 1000) }, wait("not-due", HOUR / 2)],
    ["by name two seconds before the stamp: is another one", { newestBackup: ago(HOUR / 2 + 2000) }, backup("missing")],
    [
      "by an agent that died: is taken over at once",
      { unfinished: ago(MINUTE), ...at(ago(MINUTE)), newestBackup: ago(HOUR), newestGood: ago(HOUR), stampSeenMs: 0 },
      backup("take-over"),
    ],
    [
      "by an agent that died before it had read back what it uploaded: is taken over",
      { unfinished: ago(MINUTE), ...at(ago(MINUTE)), newestBackup: ago(MINUTE), newestGood: ago(HOUR) },
      backup("take-over"),
    ],
    [
      "by an agent that died after it was whole: is not made twice",
      { unfinished: ago(MINUTE), ...at(ago(MINUTE)), newestBackup: ago(MINUTE), newestGood: ago(MINUTE) },
      wait("not-due", 59 * MINUTE),
    ],
  ])("%s", (_, changes, expected) => expect(decide(facts(changes))).toEqual(expected));
});

describe("an attempt of our own that failed", () => {
  const failed = (retryInMs: number) => ({
    failure: { begunAt: ago(10 * MINUTE), retryInMs },
    ...at(ago(10 * MINUTE)),
    newestBackup: ago(2 * HOUR),
    newestGood: ago(2 * HOUR) as Date | "unknown",
  });
  test.each<[string, Partial<CheckFacts>, Decision]>([
    ["waits for its time", failed(20_000), wait("retry-later", 20_000)],
    ["is repeated then, not after a period", failed(0), backup("retry")],
    [
      "is repeated also when nobody could look into the bucket",
      { ...failed(0), newestBackup: "unknown", newestGood: "unknown" },
      backup("retry"),
    ],
    [
      "needs no repetition when somebody else has made one",
      { ...failed(0), newestBackup: ago(MINUTE), newestGood: ago(MINUTE) },
      wait("not-due", 50 * MINUTE),
    ],
    [
      "is not repeated when the volume has grown too large",
      { ...failed(0), usedInodes: 1_000_001n },
      { action: "skip", reason: "too-many-inodes", inodes: 1_000_001n, fittingMs: 2 * HOUR, repair: false },
    ],
  ])("%s", (_, changes, expected) => expect(decide(facts(changes))).toEqual(expected));
});

describe("the number of inodes", () => {
  const due = at(ago(3 * HOUR));
  const skip = (reason: string, inodes: bigint, fittingMs: number) =>
    ({ action: "skip", reason, inodes, fittingMs, repair: false }) as Decision;
  test.each<[string, Partial<CheckFacts>, Decision]>([
    ["a million is backed up", { usedInodes: 1_000_000n }, backup("due")],
    ["one more is skipped at an hour", { usedInodes: 1_000_001n }, skip("too-many-inodes", 1_000_001n, 2 * HOUR)],
    [
      "one more is skipped at less",
      { usedInodes: 1_000_001n, intervalMs: 5 * MINUTE },
      skip("too-many-inodes", 1_000_001n, 2 * HOUR),
    ],
    ["one more is backed up at more than an hour", { usedInodes: 1_000_001n, intervalMs: HOUR + 1 }, backup("due")],
    ["0 never skips", { usedInodes: 10n ** 12n, skipAbove: 0n }, backup("due")],
    ["a limit of one's own", { usedInodes: 11n, skipAbove: 10n }, skip("too-many-inodes", 11n, 2 * HOUR)],
    [
      "not due: nothing is skipped",
      { usedInodes: 1_000_001n, ...at(ago(0)), newestBackup: ago(0) },
      wait("not-due", HOUR),
    ],
    ["auto makes the first one, to learn from it", { usedInodes: 10n ** 9n, skipAbove: "auto" }, backup("due")],
    [
      "auto makes what takes half a period",
      { usedInodes: 2_000_000n, skipAbove: "auto", runs: [{ inodes: 1_000_000, durationMs: 15 * MINUTE }] },
      backup("due"),
    ],
    [
      "auto skips what takes longer, and names the period in whole hours",
      { usedInodes: 2_000_001n, skipAbove: "auto", runs: [{ inodes: 1_000_000, durationMs: 15 * MINUTE }] },
      skip("does-not-fit", 2_000_001n, 2 * HOUR),
    ],
    [
      "auto names a period below an hour in five minutes",
      { intervalMs: 5 * MINUTE, skipAbove: "auto", runs: [{ inodes: 1000, durationMs: 4 * MINUTE }] },
      skip("does-not-fit", 1000n, 10 * MINUTE),
    ],
    [
      "auto believes the slowest of the last three",
      {
        usedInodes: 1000n,
        skipAbove: "auto",
        runs: [1, 2, 40, 1000].map((minutes) => ({ inodes: 1000, durationMs: minutes * MINUTE })),
      },
      skip("does-not-fit", 1000n, 2 * HOUR),
    ],
    [
      "auto learns nothing from an empty volume",
      { skipAbove: "auto", runs: [{ inodes: 0, durationMs: 2 * HOUR }] },
      backup("due"),
    ],
  ])("%s", (_, changes, expected) => expect(decide(facts({ ...due, ...changes }))).toEqual(expected));
});

test("checks come every tenth of the period, 5 % more or less", () => {
  expect([checkDelayMs(HOUR, 0), checkDelayMs(HOUR, 0.5), checkDelayMs(HOUR, 1)]).toEqual([342_000, 360_000, 378_000]);
});

test("attempts are repeated after 30 s, then twice as long each time, at most half a period", () => {
  const delays = [1, 2, 3, 7, 8, 1000].map((failures) => retryDelayMs(failures, HOUR, 0.5) / 1000);
  expect(delays).toEqual([30, 60, 120, 1800, 1800, 1800]);
  expect(retryDelayMs(1, 20_000, 0.5)).toBe(10_000);
  expect(retryDelayMs(1, HOUR, 0)).toBe(27_000);
  expect(retryDelayMs(1, HOUR, 1)).toBeCloseTo(33_000, 6);
});
