import { describe, expect, test } from "vitest";
import { NotFoundError, UsageError } from "../../../../src/base/errors.ts";
import { parseBucketUrl } from "../../../../src/operations/backups/backup-place.ts";
import { readCatalogue } from "../../../../src/operations/backups/catalogue.ts";
import { chooseBackups } from "../../../../src/operations/backups/restore-choice.ts";
import { parseRestorePoint, type RestorePoint } from "../../../../src/operations/backups/restore-time.ts";
import { TestBucket } from "../../../support/backup-bucket.ts";

const NOW = new Date("2026-11-23T12:00:00Z");
const { signal } = new AbortController();

/** Days of the backups that would be tried, in order, and of those that are passed over. */
async function choose(bucket: TestBucket, point: RestorePoint, allowSuspicious: boolean = false) {
  const { entries } = await readCatalogue(bucket.storage, signal);
  const { candidates, passedOver } = chooseBackups(entries, { point, allowSuspicious, place: "the bucket", now: NOW });
  const day = (name: string) => name.slice(13, 15);
  return {
    tried: candidates.map(({ backup }) => day(backup.name)),
    passedOver: passedOver.map(({ entry, reason }) => `${day(entry.backup.name)}: ${reason}`),
  };
}

/** A verified one each on the 18th and 20th, by a client on the 19th, suspicious on the 21st, damaged on the 22nd. */
async function someBackups(): Promise<TestBucket> {
  const bucket = new TestBucket();
  await bucket.putBackup("2026-11-18T00:00:00Z");
  await bucket.putBackup("2026-11-19T00:00:00Z", { by: "juicefs" });
  await bucket.putBackup("2026-11-20T00:00:00Z");
  await bucket.putBackup("2026-11-21T00:00:00Z", { suspicious: ["inodes fell by 90 %, from 1,000 to 100"] });
  const damaged = await bucket.putBackup("2026-11-22T00:00:00Z");
  await bucket.put([damaged.key, "cut"]);
  return bucket;
}

describe("the choice of a backup", () => {
  test("is the newest that is neither damaged nor suspicious, then the older ones, verified or not", async () => {
    expect(await choose(await someBackups(), { kind: "latest" })).toEqual({
      tried: ["20", "19", "18"],
      passedOver: [
        "22: 3 bytes instead of 1: it is not what was written",
        "21: suspicious: its inodes fell by 90 %, from 1,000 to 100",
      ],
    });
  });

  test("is one that nobody has verified when it is the newest", async () => {
    const bucket = await someBackups();
    await bucket.putBackup("2026-11-23T00:00:00Z", { by: "juicefs" });
    expect(await choose(bucket, { kind: "latest" })).toEqual({ tried: ["23", "20", "19", "18"], passedOver: [] });
  });

  test("is one of the future only when there is no other", async () => {
    const bucket = await someBackups();
    await bucket.putBackup("2029-11-24T00:00:00Z");
    expect(await choose(bucket, { kind: "latest" })).toMatchObject({
      tried: ["20", "19", "18", "24"],
      passedOver: ["24: its time is in the future: a clock was wrong", expect.any(String), expect.any(String)],
    });
    const future = new TestBucket();
    await future.putBackup("2029-11-24T00:00:00Z");
    expect(await choose(future, { kind: "latest" })).toEqual({ tried: ["24"], passedOver: [] });
  });

  test("is a suspicious one when that is allowed", async () => {
    expect((await choose(await someBackups(), { kind: "latest" }, true)).tried).toEqual(["21", "20", "19", "18"]);
  });

  test("is not newer than the time that was given", async () => {
    const at = (time: string) => choose(someBackupsOnce, { kind: "time", time: new Date(time) });
    const someBackupsOnce = await someBackups();
    expect(await at("2026-11-19T00:00:00Z")).toEqual({ tried: ["19", "18"], passedOver: [] });
    expect((await at("2026-11-18T23:59:59Z")).tried).toEqual(["18"]);
    expect((await at("2026-11-21T12:00:00Z")).passedOver).toHaveLength(1);
    await expect(at("2026-11-17T00:00:00Z")).rejects.toThrow(NotFoundError);
  });

  test("by name is that one or none, whatever is known of it", async () => {
    const bucket = await someBackups();
    for (const name of ["dump-2026-11-21-000000.json.gz", "meta/dump-2026-11-22-000000.json.gz"]) {
      const { tried } = await choose(bucket, { kind: "name", name });
      expect(tried).toEqual([name.includes("21") ? "21" : "22"]);
    }
    await expect(choose(bucket, { kind: "name", name: "dump-2026-11-01-000000.json.gz" })).rejects.toThrow(
      "There is no backup dump-2026-11-01-000000.json.gz in the bucket",
    );
  });

  test("names what there is when none can be taken", async () => {
    const bucket = new TestBucket();
    await expect(choose(bucket, { kind: "latest" })).rejects.toMatchObject({
      code: "DECANT_E_NO_BACKUP",
      hint: "There are no backups at all: check bucket and name of the volume",
    });
    await bucket.putBackup("2026-11-21T00:00:00Z", { suspicious: ["inodes fell"] });
    await expect(choose(bucket, { kind: "latest" })).rejects.toMatchObject({
      code: "DECANT_E_NO_BACKUP",
      details: ["dump-2026-11-21-000000.json.gz: suspicious: its inodes fell"],
    });
  });
});

describe("--at", () => {
  test.each([
    ["2026-11-22T06:03:13Z", "2026-11-22T06:03:13.000Z"],
    ["2026-11-22T06:03:13+08:00", "2026-11-21T22:03:13.000Z"],
    ["2026-11-22 06:03", "2026-11-22T06:03:00.000Z"],
    ["2026-11-22t06:03:13.5z", "2026-11-22T06:03:13.500Z"],
    ["2026-11-22", "2026-11-22T23:59:59.999Z"],
    ["2d", "2026-11-21T12:00:00.000Z"],
    ["36h ago", "2026-11-22T00:00:00.000Z"],
    ["90min", "2026-11-23T10:30:00.000Z"],
    ["1w", "2026-11-16T12:00:00.000Z"],
  ])("%j is %s", (text, time) => {
    expect(parseRestorePoint(text, NOW)).toEqual({ kind: "time", time: new Date(time) });
  });

  test("takes a name, a key, and latest", () => {
    expect(parseRestorePoint("latest", NOW)).toEqual({ kind: "latest" });
    for (const name of ["dump-2026-11-22-180000.json.gz", "decant/backups/dump-2026-11-22-180000.bin.zst"]) {
      expect(parseRestorePoint(name, NOW)).toEqual({ kind: "name", name });
    }
  });

  test.each([
    "",
    "newest",
    "2026-02-30",
    "2026-11-22T25:00:00Z",
    "2m",
    "-2d",
    "d",
    "2026-11",
    "dump-2026-11-22.json.gz",
  ])("%j is refused", (text) => {
    expect(() => parseRestorePoint(text, NOW)).toThrow(UsageError);
  });
});

describe("the address of a volume in its bucket", () => {
  test.each([
    ["file:///var/jfs/myjfs", { storage: "file", bucket: "/var/jfs/", name: "myjfs" }],
    ["file:///var/jfs/myjfs/", { storage: "file", bucket: "/var/jfs/", name: "myjfs" }],
    ["file:///myjfs", { storage: "file", bucket: "/", name: "myjfs" }],
    ["minio://127.0.0.1:9000/bk/myjfs/", { storage: "minio", bucket: "127.0.0.1:9000/bk", name: "myjfs" }],
    ["s3://bk/myjfs", { storage: "s3", bucket: "bk", name: "myjfs" }],
    ["minio://h:9000/bk/myjfs?region=eu-1", { storage: "minio", bucket: "h:9000/bk?region=eu-1", name: "myjfs" }],
  ])("%s names bucket and volume", (text, address) => {
    expect(parseBucketUrl(text)).toEqual(address);
  });

  test.each(["redis://localhost/1", "sqlite3://my.db", "mysql://u:p@(h:1)/db", "localhost/1", "/var/jfs/myjfs", ""])(
    "%j is none",
    (text) => {
      expect(parseBucketUrl(text)).toBeUndefined();
    },
  );

  test.each(["file://", "file:///", "minio://host:9000", "s3://bucket", "s3:///volume"])("%j lacks a part", (text) => {
    expect(() => parseBucketUrl(text)).toThrow(UsageError);
  });
});
