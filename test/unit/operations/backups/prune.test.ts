import { describe, expect, test } from "vitest";
import type { Fence } from "../../../../src/operations/backups/fence.ts";
import { confirmBackup, pinBackup } from "../../../../src/operations/backups/mark-backup.ts";
import { type PruneReport, type PruneRequest, pruneBackups } from "../../../../src/operations/backups/prune.ts";
import { DEFAULT_POLICY_TEXT, parsePolicy } from "../../../../src/operations/backups/retention-policy.ts";
import { sidecarKey } from "../../../../src/operations/backups/sidecars.ts";
import { createContext } from "../../../../src/operations/context.ts";
import type { ObjectStorage } from "../../../../src/storage/object-storage.ts";
import { changedStorage, TestBucket, unsorted } from "../../../support/backup-bucket.ts";

const CONTEXT = createContext({ env: {} });

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** Whole minutes, so that names and times agree. The bucket's clock is that of this machine. */
const NOW = new Date(Math.floor(Date.now() / 60_000) * 60_000);

function ago(ms: number): Date {
  return new Date(NOW.getTime() - ms);
}

function prune(bucket: TestBucket, request: Partial<PruneRequest> = {}): Promise<PruneReport> {
  return pruneBackups(
    {
      storage: bucket.storage,
      store: undefined,
      policy: parsePolicy("all=2d"),
      fence: undefined,
      now: () => NOW,
      ...request,
    },
    CONTEXT,
  );
}

/** One backup a day for so many days, the newest an hour old. */
async function daily(days: number): Promise<TestBucket> {
  const bucket = new TestBucket();
  for (let i = 0; i < days; i++) await bucket.putBackup(ago(HOUR_MS + i * DAY_MS));
  return bucket;
}

describe("clean-up", () => {
  test("deletes what the policy does not keep, with what belongs to it, and says why", async () => {
    const bucket = await daily(5);
    const report = await prune(bucket);
    expect(report.refusal).toBeUndefined();
    expect([report.deleted.size, report.deletedBytes, report.failed]).toEqual([3, 3, []]);
    expect(report.plan.decisions.map(({ keep, reasons }) => [keep, reasons[0]])).toEqual([
      [true, "the newest"],
      [true, "all of 2d"],
      ...Array(3).fill([false, "older than every rule reaches"]),
    ]);
    expect(await bucket.keys("meta/")).toHaveLength(2);
    expect(await bucket.keys("decant/")).toHaveLength(2);
  });

  test("says the same in a dry run, and changes nothing", async () => {
    const bucket = await daily(5);
    const before = await bucket.keys();
    const fence: Fence = { check: () => Promise.reject(new Error("asked in a dry run")) };
    const dry = await prune(bucket, { dryRun: true, fence });
    expect([dry.deleted.size, dry.dryRun]).toEqual([0, true]);
    expect(await bucket.keys()).toEqual(before);
    const real = await prune(bucket);
    const texts = ({ plan }: PruneReport) => plan.decisions.map(({ keep, reasons }) => [keep, ...reasons]);
    expect(texts(dry)).toEqual(texts(real));
  });

  test("leaves alone what is not exactly a backup, before and after backups in any order", async () => {
    const foreign = [
      "meta/zump-2020-10-20-010101.json.gz",
      "meta/aaa.txt",
      "meta/README",
      "meta/archive/keep.me",
      "meta/archive/dump-2020-01-01-000000.json.gz",
      "meta/dump-2020-01-01-000000.json",
      "meta/dump-2020-01-01-000000.json.gz.bak",
      "meta/dump-2020-02-30-000000.json.gz",
      "meta/dump-2020-01-01-000000.bin.zst",
      "decant/backups/dump-2020-01-01-000000.json.gz",
      "decant/backups/notes",
      "decant/other/dump-2020-01-01-000000.bin",
      "juicefs_uuid",
      "chunks/0/0/1_0_4",
    ];
    for (const order of [(storage: ObjectStorage) => storage, unsorted]) {
      const bucket = await daily(5);
      await bucket.put(...foreign);
      const report = await prune(bucket, { storage: order(bucket.storage) });
      expect([report.deleted.size, report.foreign]).toEqual([3, 11]);
      const left = await bucket.keys();
      for (const key of foreign) expect(left).toContain(key);
      expect(left).toHaveLength(foreign.length + 4);
    }
  });

  test("keeps pinned ones, also one that is pinned while it cleans up", async () => {
    const bucket = await daily(6);
    const names = (await bucket.keys("meta/")).map((key) => key.slice("meta/".length));
    await pinBackup({ storage: bucket.storage, name: names[0]! }, CONTEXT);
    const fence: Fence = {
      check: async () => {
        await pinBackup({ storage: bucket.storage, name: names[1]! }, CONTEXT);
      },
    };
    const report = await prune(bucket, { fence });
    expect([...report.deleted]).toEqual([names[2], names[3]]);
    expect(report.plan.decisions.at(-1)!.reasons).toEqual(["pinned"]);
  });

  test("keeps of 10,000 backups what the policy says, and deletes nothing more the next time", async () => {
    const bucket = new TestBucket();
    const times = Array.from({ length: 10_000 }, (_, i) => ago(HOUR_MS + i * HOUR_MS));
    bucket.putMany(times.map((time) => `meta/dump-${nameOf(time)}.json.gz`));
    await bucket.putBackup(ago(HOUR_MS));
    const policy = parsePolicy(DEFAULT_POLICY_TEXT);
    let checks = 0;
    const fence: Fence = {
      check: async () => {
        checks++;
      },
    };
    const storage = unsorted(bucket.storage);
    const report = await prune(bucket, { storage, policy, fence });
    const kept = report.plan.decisions.filter(({ keep }) => keep).length;
    expect(report.deleted.size).toBe(10_000 - kept);
    expect(checks).toBe(Math.ceil(report.deleted.size / 20));
    expect(kept).toBeGreaterThan(48 + 12 + 6 + 10);
    expect(await bucket.keys("meta/")).toHaveLength(kept);
    expect((await prune(bucket, { storage, policy })).deleted.size).toBe(0);
  });

  test("goes on where one cannot be deleted, and says which", async () => {
    const bucket = await daily(5);
    const stuck = (await bucket.keys("meta/"))[0]!;
    const storage = changedStorage(bucket.storage, {
      delete: async (key, signal) => {
        if (key === stuck) throw new Error("access denied");
        await bucket.storage.delete(key, signal);
      },
    });
    const report = await prune(bucket, { storage });
    expect(report.failed).toEqual([{ name: stuck.slice("meta/".length), reason: "access denied" }]);
    expect(report.deleted.size).toBe(2);
  });

  test("removes the sidecars of backups that are gone after a day, and only where they really are", async () => {
    const bucket = await daily(1);
    const orphan = (day: number) => sidecarKey("check", `dump-2026-01-0${day}-000000.json.gz`);
    await bucket.put(orphan(1), orphan(2), orphan(3), "meta/dump-2026-01-03-000000.json.gz");
    bucket.setModified(orphan(1), ago(2 * DAY_MS));
    bucket.setModified(orphan(3), ago(2 * DAY_MS));
    const hidden = changedStorage(bucket.storage, {
      async *list(prefix, options) {
        for await (const object of bucket.storage.list(prefix, options)) {
          if (!object.key.startsWith("meta/dump-2026-01-03")) yield object;
        }
      },
    });
    await prune(bucket, { storage: hidden });
    expect(await bucket.keys("decant/checks/")).toEqual([orphan(2), orphan(3)]);
  });
});

function nameOf(time: Date): string {
  return time.toISOString().slice(0, 19).replace("T", "-").replaceAll(":", "");
}

describe("nothing is deleted", () => {
  test("where no backup is verified", async () => {
    const bucket = new TestBucket();
    for (let i = 0; i < 5; i++) await bucket.putBackup(ago(HOUR_MS + i * DAY_MS), { by: "juicefs" });
    const report = await prune(bucket);
    expect(report.refusal).toMatchObject({ cause: "unverified", reason: "No backup of the last 2d is verified" });
    expect(await bucket.keys("meta/")).toHaveLength(5);
  });

  test("where the newest verified one is old, which is named", async () => {
    const bucket = new TestBucket();
    for (let i = 0; i < 4; i++) await bucket.putBackup(ago(HOUR_MS + i * DAY_MS), { by: "juicefs" });
    const { name } = await bucket.putBackup(ago(5 * DAY_MS));
    const report = await prune(bucket);
    expect(report.refusal?.reason).toBe(`No backup of the last 2d is verified; the newest verified one is ${name}`);
    expect(report.deleted.size).toBe(0);
  });

  test("where one is suspicious, until it is confirmed", async () => {
    const bucket = await daily(5);
    const { name } = await bucket.putBackup(ago(60_000), { suspicious: ["inodes fell by 90 %, from 100 to 10"] });
    const report = await prune(bucket);
    expect(report.refusal).toEqual({
      cause: "frozen",
      reason: `Clean-up is frozen: ${name} is suspicious, its inodes fell by 90 %, from 100 to 10`,
      hint: `When that is right, say so with decant backups confirm META-URL ${name}`,
    });
    expect(await bucket.keys("meta/")).toHaveLength(6);
    await confirmBackup({ storage: bucket.storage, name }, CONTEXT);
    expect((await prune(bucket)).deleted.size).toBe(3);
  });

  test("when the turn is lost, after the batch that was begun", async () => {
    const bucket = new TestBucket();
    for (let i = 0; i < 50; i++) await bucket.putBackup(ago(HOUR_MS + i * DAY_MS));
    let checks = 0;
    const fence: Fence = {
      check: async () => {
        if (++checks === 2) throw new Error("the lease is lost");
      },
    };
    await expect(prune(bucket, { fence })).rejects.toThrow("the lease is lost");
    expect(await bucket.keys("meta/")).toHaveLength(30);
    const refused: Fence = { check: () => Promise.reject(new Error("the lease is lost")) };
    await expect(prune(bucket, { fence: refused })).rejects.toThrow("the lease is lost");
    expect(await bucket.keys("meta/")).toHaveLength(30);
  });

  test("when this host's clock differs from that of the object storage, whichever is wrong", async () => {
    for (const skew of [6 * 60_000, -6 * 60_000, 3650 * DAY_MS]) {
      const bucket = await daily(5);
      const report = await prune(bucket, { now: () => new Date(Date.now() + skew) });
      expect(report.refusal?.cause).toBe(skew < -HOUR_MS ? "unverified" : "clock");
      expect(report.refusal?.reason).toContain("The clock of the object storage says ");
      expect(await bucket.keys("meta/")).toHaveLength(5);
      expect((await bucket.keys("decant/")).filter((key) => key.includes("clock"))).toEqual([]);
    }
  });

  test("when this host's clock was wrong when the plan was made, and has been put right since", async () => {
    const bucket = await daily(5);
    let calls = 0;
    const report = await prune(bucket, { now: () => new Date(NOW.getTime() + (calls++ === 0 ? HOUR_MS : 0)) });
    expect(report.refusal?.cause).toBe("clock");
    expect(await bucket.keys("meta/")).toHaveLength(5);
  });

  test("when it differs from that of the database's server", async () => {
    const bucket = await daily(5);
    const store = { serverTime: async () => new Date(NOW.getTime() + DAY_MS) };
    expect((await prune(bucket, { store })).refusal).toMatchObject({
      cause: "clock",
      reason: expect.stringContaining("The clock of the database says "),
    });
    const same = { serverTime: async () => NOW };
    const none = { serverTime: async () => undefined };
    expect((await prune(bucket, { store: same, dryRun: true })).refusal).toBeUndefined();
    expect((await prune(bucket, { store: none })).deleted.size).toBe(3);
  });

  test("when the newest verified one was listed and is not there", async () => {
    const bucket = await daily(5);
    const newest = (await bucket.keys("meta/")).at(-1)!;
    const storage = changedStorage(bucket.storage, {
      head: async (key, signal) => (key === newest ? undefined : bucket.storage.head(key, signal)),
    });
    expect((await prune(bucket, { storage })).refusal?.cause).toBe("unreachable");
    expect(await bucket.keys("meta/")).toHaveLength(5);
  });
});

describe("a clock that has jumped, on every machine at once", () => {
  /** Object storage whose clock is the jumped one too, so that nothing shows. */
  function jumped(bucket: TestBucket, now: Date): Partial<PruneRequest> {
    const storage = changedStorage(bucket.storage, {
      head: async (key, signal) => {
        const info = await bucket.storage.head(key, signal);
        return info === undefined || !key.includes("clock") ? info : { ...info, modified: now };
      },
    });
    return { storage, now: () => now };
  }

  const policy = parsePolicy("all=2d,day=2w,week=2mo");

  test.each([30, 365, 36_500])("%d days ahead lets nothing go that would not have gone anyway", async (days) => {
    const bucket = await daily(100);
    await prune(bucket, { policy });
    const before = await bucket.keys("meta/");
    const future = new Date(NOW.getTime() + days * DAY_MS);
    await bucket.putBackup(future);
    const report = await prune(bucket, { policy, ...jumped(bucket, future) });
    // As if two days had gone by.
    expect(report.plan.asOf.getTime()).toBeLessThanOrEqual(NOW.getTime() + 2 * DAY_MS);
    expect(report.deleted.size).toBeLessThanOrEqual(3);
    const left = await bucket.keys("meta/");
    expect(before.filter((key) => !left.includes(key)).length).toBe(report.deleted.size);
  });

  test("and a long pause look alike: the first backup after it lets go what was due before, the second one the rest", async () => {
    const bucket = new TestBucket();
    for (let i = 0; i < 5; i++) await bucket.putBackup(ago((300 + i) * DAY_MS));
    await bucket.putBackup(ago(2 * HOUR_MS));
    const report = await prune(bucket);
    expect([report.refusal, report.deleted.size]).toEqual([undefined, 4]);
    expect(report.plan.decisions[0]!.reasons).toEqual([
      `the newest, long after the one before: ages are taken as of ${ago(298 * DAY_MS)
        .toISOString()
        .slice(0, 10)}`,
    ]);
    await bucket.putBackup(ago(HOUR_MS));
    expect((await prune(bucket)).deleted.size).toBe(1);
  });

  test("back lets nothing go, and what it made ahead stays", async () => {
    const bucket = await daily(20);
    const past = ago(400 * DAY_MS);
    const report = await prune(bucket, { policy, ...jumped(bucket, past) });
    expect(report.deleted.size).toBe(0);
    const { name } = await bucket.putBackup(new Date(NOW.getTime() + 300 * DAY_MS));
    const later = await prune(bucket, { policy });
    expect(later.plan.decisions.find(({ item }) => item.backup.name === name)?.reasons).toEqual([
      "its time is in the future",
    ]);
  });

  test("and where no more backups are made, none go, however long that is", async () => {
    const bucket = await daily(20);
    await prune(bucket, { policy: parsePolicy("all=2d,day=2w") });
    const left = await bucket.keys("meta/");
    const muchLater = new Date(NOW.getTime() + 2000 * DAY_MS);
    const report = await prune(bucket, { policy: parsePolicy("all=2d,day=2w"), ...jumped(bucket, muchLater) });
    expect(report.deleted.size).toBeLessThanOrEqual(2);
    const again = await prune(bucket, { policy: parsePolicy("all=2d,day=2w"), ...jumped(bucket, muchLater) });
    expect(again.deleted.size).toBe(0);
    expect(left.length - report.deleted.size).toBeGreaterThan(10);
  });
});
