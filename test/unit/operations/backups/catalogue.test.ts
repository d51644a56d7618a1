import { describe, expect, test } from "vitest";
import { backupName } from "../../../../src/operations/backups/backup-name.ts";
import { type Catalogue, lastGood, readCatalogue } from "../../../../src/operations/backups/catalogue.ts";
import { confirmBackup, findBackup, pinBackup, unpinBackup } from "../../../../src/operations/backups/mark-backup.ts";
import { readRunStatus, writeRunStatus } from "../../../../src/operations/backups/run-status.ts";
import { sidecarKey, thisAuthor, writeSidecar } from "../../../../src/operations/backups/sidecars.ts";
import { createContext } from "../../../../src/operations/context.ts";
import { changedStorage, TestBucket, unsorted } from "../../../support/backup-bucket.ts";

const CONTEXT = createContext({ env: {} });
const { signal } = CONTEXT;

const FIRST = "2026-11-20T01:02:03Z";
const SECOND = "2026-11-21T01:02:03Z";
const THIRD = "2026-11-22T01:02:03Z";

function states({ entries }: Catalogue): string[] {
  return entries.map(({ backup, quality }) => `${backup.name.slice(5, 15)} ${quality}`);
}

describe("the catalogue", () => {
  test("of an empty bucket is empty", async () => {
    expect(await readCatalogue(new TestBucket().storage, signal)).toEqual({
      entries: [],
      foreign: 0,
      orphans: [],
      runs: [],
      frozenBy: undefined,
    });
  });

  test("merges both folders, newest first, and counts what is no backup", async () => {
    const bucket = new TestBucket();
    await bucket.putBackup(FIRST);
    await bucket.put(
      "decant/backups/dump-2026-11-21-010203.bin.zst",
      "meta/README",
      "meta/sub/dump-2026-11-20-010203.json.gz",
    );
    await bucket.put("meta/zump-2026-10-20-010101.json.gz", "decant/backups/other");
    await bucket.putBackup(THIRD, { by: "juicefs" });
    for (const storage of [bucket.storage, unsorted(bucket.storage)]) {
      const catalogue = await readCatalogue(storage, signal);
      expect(states(catalogue)).toEqual(["2026-11-22 unknown", "2026-11-21 unknown", "2026-11-20 good"]);
      expect(catalogue.foreign).toBe(4);
    }
  });

  test("does not keep what is no backup, however much there is", async () => {
    const bucket = new TestBucket();
    await bucket.putBackup(FIRST);
    const crowded = changedStorage(bucket.storage, {
      async *list(prefix, options) {
        yield* bucket.storage.list(prefix, options);
        const object = { size: 1, modified: new Date() };
        for (let i = 0; i < 100_000; i++)
          yield { key: `${prefix}dump-2026-11-20-${i}.json.gz.manifest.json`, ...object };
      },
    });
    const { entries, foreign, orphans } = await readCatalogue(crowded, signal);
    expect([entries.length, foreign, orphans.length]).toEqual([1, 200_000, 0]);
  });

  test("takes a backup for good only while it has the size that was read back", async () => {
    const bucket = new TestBucket();
    const backup = await bucket.putBackup(FIRST);
    expect(states(await readCatalogue(bucket.storage, signal))).toEqual(["2026-11-20 good"]);
    await bucket.put([backup.key, "longer"]);
    const { entries } = await readCatalogue(bucket.storage, signal);
    expect([entries[0]!.quality, entries[0]!.why]).toEqual(["bad", "6 bytes instead of 1: it is not what was written"]);
  });

  test("does not know the quality where the manifest is damaged, cut off, of another object, or from the future", async () => {
    for (const content of ["", "{", "[]", "null", '{"manifestVersion":1}', '{"manifestVersion":2,"sha256":"x"}']) {
      const bucket = new TestBucket();
      const { name } = await bucket.putBackup(FIRST);
      await bucket.put([sidecarKey("manifest", name), content]);
      const { entries } = await readCatalogue(bucket.storage, signal);
      expect([entries[0]!.quality, entries[0]!.manifest]).toEqual(["unknown", undefined]);
      expect(entries[0]!.sidecars).toEqual(new Set(["manifest"]));
    }
  });

  test("lets a later check count for more than the manifest, as long as it was of the same object", async () => {
    const bucket = new TestBucket();
    const { name } = await bucket.putBackup(FIRST);
    const check = {
      ok: false,
      at: THIRD,
      by: { ...thisAuthor() },
      storedBytes: 1,
      bytes: 1,
      problems: ["It is cut off"],
    };
    const key = sidecarKey("check", name);
    await writeSidecar(bucket.storage, key, check, signal);
    const [bad] = (await readCatalogue(bucket.storage, signal)).entries;
    expect([bad!.quality, bad!.why]).toEqual(["bad", "damaged: It is cut off"]);
    await writeSidecar(bucket.storage, key, { ...check, storedBytes: 2 }, signal);
    expect(states(await readCatalogue(bucket.storage, signal))).toEqual(["2026-11-20 good"]);
    const theirs = await bucket.putBackup(SECOND, { by: "juicefs" });
    await writeSidecar(bucket.storage, sidecarKey("check", theirs.name), { ...check, ok: true, problems: [] }, signal);
    expect(states(await readCatalogue(bucket.storage, signal))).toEqual(["2026-11-21 good", "2026-11-20 good"]);
  });

  test("names sidecars of backups that are gone", async () => {
    const bucket = new TestBucket();
    const { key, name } = await bucket.putBackup(FIRST);
    await bucket.storage.delete(key, signal);
    await bucket.put("decant/pins/no-backup.json", "decant/pins/sub/dump-2026-11-20-010203.json.gz.json");
    const { orphans } = await readCatalogue(bucket.storage, signal);
    expect(orphans.map((orphan) => [orphan.key, orphan.backupKey])).toEqual([[sidecarKey("manifest", name), key]]);
  });

  test("keeps integers that JavaScript's numbers cannot hold", async () => {
    const bucket = new TestBucket();
    const inodes = (1n << 53n) + 1n;
    await bucket.putBackup(FIRST, { inodes });
    const { entries } = await readCatalogue(bucket.storage, signal);
    expect(entries[0]!.manifest!.backup.usage).toEqual({ inodes, usedSpace: inodes * 4096n });
  });

  test("passes on what the storage throws", async () => {
    const bucket = new TestBucket();
    await bucket.putBackup(FIRST);
    const broken = changedStorage(bucket.storage, { get: () => Promise.reject(new Error("connection reset")) });
    await expect(readCatalogue(broken, signal)).rejects.toThrow("connection reset");
  });
});

describe("a suspicious backup", () => {
  async function suspiciousBucket(): Promise<TestBucket> {
    const bucket = new TestBucket();
    await bucket.putBackup(FIRST);
    await bucket.putBackup(SECOND, { inodes: 10n, suspicious: ["inodes fell by 90 %"] });
    await bucket.putBackup(THIRD, { inodes: 9n, suspicious: ["inodes fell by 91 %"] });
    return bucket;
  }

  test("freezes the clean-up, and nothing is compared with it", async () => {
    const catalogue = await readCatalogue((await suspiciousBucket()).storage, signal);
    expect(catalogue.frozenBy?.backup.time).toEqual(new Date(THIRD));
    const next = backupName(new Date("2026-11-23T00:00:00Z"), "json", "gzip");
    expect(lastGood(catalogue.entries, next)?.backup.time).toEqual(new Date(FIRST));
  });

  test("freezes it until it is confirmed, and with it those before it", async () => {
    const bucket = await suspiciousBucket();
    await confirmBackup({ storage: bucket.storage, name: "dump-2026-11-21-010203.json.gz" }, CONTEXT);
    const still = await readCatalogue(bucket.storage, signal);
    expect(still.frozenBy?.backup.time).toEqual(new Date(THIRD));
    await confirmBackup({ storage: bucket.storage, name: "dump-2026-11-22-010203.json.gz", reason: "moved" }, CONTEXT);
    const catalogue = await readCatalogue(bucket.storage, signal);
    expect(catalogue.frozenBy).toBeUndefined();
    expect(catalogue.entries[0]!.confirmation).toMatchObject({ reason: "moved", by: { pid: process.pid } });
    const next = backupName(new Date("2026-11-23T00:00:00Z"), "json", "gzip");
    expect(lastGood(catalogue.entries, next)?.backup.time).toEqual(new Date(THIRD));
  });

  test("before a confirmed one is confirmed too", async () => {
    const bucket = await suspiciousBucket();
    await confirmBackup({ storage: bucket.storage, name: "dump-2026-11-22-010203.json.gz" }, CONTEXT);
    expect((await readCatalogue(bucket.storage, signal)).entries.flatMap(({ suspicious }) => suspicious)).toEqual([]);
  });

  test("is the only thing that can be confirmed", async () => {
    const bucket = await suspiciousBucket();
    await expect(
      confirmBackup({ storage: bucket.storage, name: "dump-2026-11-20-010203.json.gz" }, CONTEXT),
    ).rejects.toMatchObject({
      code: "DECANT_E_NOT_SUSPICIOUS",
      hint: "Suspicious: dump-2026-11-22-010203.json.gz, dump-2026-11-21-010203.json.gz",
    });
  });

  test("is not what latest means", async () => {
    const { storage } = await suspiciousBucket();
    const found = findBackup(await readCatalogue(storage, signal), "latest", storage);
    expect(found.backup.time).toEqual(new Date(FIRST));
  });
});

test("latest is a backup of the future only when there is no other", async () => {
  const [bucket, now] = [new TestBucket(), new Date("2026-11-23T00:00:00Z")];
  const future = await bucket.putBackup("2029-11-22T00:00:00Z");
  const latest = async () =>
    findBackup(await readCatalogue(bucket.storage, signal), "latest", bucket.storage, now).backup;
  expect(await latest()).toEqual(future);
  const right = await bucket.putBackup("2026-11-20T00:00:00Z");
  expect(await latest()).toEqual(right);
});

describe("a backup", () => {
  test("is found by name and by key, and one that is not there is named with its bucket", async () => {
    const bucket = new TestBucket();
    const backup = await bucket.putBackup(FIRST);
    const catalogue = await readCatalogue(bucket.storage, signal);
    for (const text of [backup.name, backup.key]) {
      expect(findBackup(catalogue, text, bucket.storage).backup).toEqual(backup);
    }
    expect(() => findBackup(catalogue, "x", bucket.storage)).toThrow(
      `There is no backup x in file://${bucket.directory}/vol/`,
    );
  });

  test("is pinned and unpinned, with a reason", async () => {
    const bucket = new TestBucket();
    const { name } = await bucket.putBackup(FIRST, { by: "juicefs" });
    await pinBackup({ storage: bucket.storage, name, reason: "before the move" }, CONTEXT);
    const [pinned] = (await readCatalogue(bucket.storage, signal)).entries;
    expect(pinned).toMatchObject({ pinned: true, pin: { reason: "before the move", by: thisAuthor() } });
    await unpinBackup({ storage: bucket.storage, name }, CONTEXT);
    await unpinBackup({ storage: bucket.storage, name }, CONTEXT);
    expect((await readCatalogue(bucket.storage, signal)).entries[0]).toMatchObject({ pinned: false, pin: undefined });
  });

  test("whose pin cannot be read is pinned all the same", async () => {
    const bucket = new TestBucket();
    const { name } = await bucket.putBackup(FIRST);
    await bucket.put([sidecarKey("pin", name), "\0"]);
    expect((await readCatalogue(bucket.storage, signal)).entries[0]).toMatchObject({ pinned: true, quality: "good" });
  });
});

test("the last run of each outcome is kept, newest first, and damaged words are passed over", async () => {
  const bucket = new TestBucket();
  const run = { name: undefined, cause: "too-many-inodes", by: thisAuthor() };
  await writeRunStatus(bucket.storage, { ...run, outcome: "skipped", at: FIRST, reason: "too many" }, signal);
  await writeRunStatus(bucket.storage, { ...run, outcome: "skipped", at: SECOND, reason: "still too many" }, signal);
  await writeRunStatus(bucket.storage, { ...run, outcome: "ok", at: THIRD, reason: undefined }, signal);
  await bucket.put(["decant/status/failed.json", "{}"]);
  expect(await readRunStatus(bucket.storage, signal)).toEqual([
    { ...run, outcome: "ok", at: THIRD, reason: undefined },
    { ...run, outcome: "skipped", at: SECOND, reason: "still too many" },
  ]);
});
