import fc from "fast-check";
import { expect, test } from "vitest";
import { backupName } from "../../src/operations/backups/backup-name.ts";
import { type BackupQuality, decideRetention, type RetainedBackup } from "../../src/operations/backups/retention.ts";
import {
  calendarPeriod,
  parsePolicy,
  type RetentionPolicy,
  spanStart,
} from "../../src/operations/backups/retention-policy.ts";
import { runsOf } from "./runs.ts";

const HOUR_MS = 3_600_000;
const BEGIN = Date.UTC(2023, 0, 1);

const quality = fc.constantFrom<BackupQuality>("good", "good", "good", "unknown", "bad");

const policy = fc
  .constantFrom(
    "all=2d,day=2w,week=2mo,month=forever",
    "all=6h,hour=2d,day=1w",
    "day=3d,week=1mo,month=1y,year=forever",
    "week=5w",
    "all=1d",
  )
  .map((text) => parsePolicy(text));

/** Gaps between backups, in hours: mostly regular, at times long. */
const history = fc.array(
  fc.record({
    gap: fc.oneof({ weight: 8, arbitrary: fc.integer({ min: 1, max: 30 }) }, fc.integer({ min: 1, max: 2000 })),
    quality,
    pinned: fc.integer({ min: 0, max: 19 }).map((n) => n === 0),
  }),
  { minLength: 1, maxLength: 60 },
);

function* backupsOf(
  gaps: readonly { gap: number; quality: BackupQuality; pinned: boolean }[],
): Generator<RetainedBackup> {
  let time = BEGIN;
  for (const { gap, ...rest } of gaps) {
    time += gap * HOUR_MS;
    yield { backup: backupName(new Date(time), "json", "gzip"), ...rest };
  }
}

const keysOf = (items: readonly RetainedBackup[]) => items.map(({ backup }) => backup.key).sort();

function prune(items: readonly RetainedBackup[], rules: RetentionPolicy, now: Date): RetainedBackup[] {
  return decideRetention(items, { policy: rules, now })
    .filter(({ keep }) => keep)
    .map(({ item }) => item);
}

/** Every period that a rule reaches and that ever had a backup has one, as good as the best it had. */
function expectPeriodsKept(
  all: readonly RetainedBackup[],
  kept: readonly RetainedBackup[],
  rules: RetentionPolicy,
  now: Date,
) {
  const rank = { bad: 0, unknown: 1, good: 2 };
  for (const { period, span } of rules) {
    const start = spanStart(span, now);
    const best = (items: readonly RetainedBackup[]) => {
      const ranks = new Map<string, number>();
      for (const item of items) {
        if (period === "all") {
          if (item.backup.time.getTime() >= start) ranks.set(item.backup.key, 0);
          continue;
        }
        const bounds = calendarPeriod(period, item.backup.time);
        if (bounds.end <= start) continue;
        const name = String(bounds.start);
        ranks.set(name, Math.max(ranks.get(name) ?? 0, rank[item.quality]));
      }
      return [...ranks].sort();
    };
    expect(best(kept)).toEqual(best(all));
  }
}

test("a clean-up after every backup leaves no period empty that had one, in thousands of histories", () => {
  fc.assert(
    fc.property(history, policy, (gaps, rules) => {
      const all: RetainedBackup[] = [];
      let kept: RetainedBackup[] = [];
      for (const item of backupsOf(gaps)) {
        all.push(item);
        const now = new Date(item.backup.time.getTime() + 1000);
        kept = prune([...kept, item], rules, now);
        const newestGood = all.findLast((each) => each.quality === "good");
        if (newestGood !== undefined) expect(keysOf(kept)).toContain(newestGood.backup.key);
        expect(keysOf(kept)).toContain(item.backup.key);
        for (const each of all) if (each.pinned) expect(keysOf(kept)).toContain(each.backup.key);
        expectPeriodsKept(all, kept, rules, now);
      }
      // Cleaning up often and cleaning up once come to the same, but for what was the newest once.
      const now = new Date(all.at(-1)!.backup.time.getTime() + 1000);
      expect(keysOf(kept)).toEqual(keysOf(prune(all, rules, now)));
    }),
    runsOf(2000),
  );
});

test("the order of a listing does not matter, and a second clean-up finds nothing to do", () => {
  const shuffled = history.chain((gaps) => {
    const items = [...backupsOf(gaps)];
    return fc.tuple(fc.constant(items), fc.shuffledSubarray(items, { minLength: items.length }));
  });
  fc.assert(
    fc.property(shuffled, policy, fc.integer({ min: -2000, max: 2000 }), ([items, mixed], rules, hours) => {
      const now = new Date(items.at(-1)!.backup.time.getTime() + hours * HOUR_MS);
      const kept = prune(items, rules, now);
      expect(keysOf(prune(mixed, rules, now))).toEqual(keysOf(kept));
      expect(keysOf(prune(kept, rules, now))).toEqual(keysOf(kept));
    }),
    runsOf(2000),
  );
});
