import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/agent/clock.ts";
import { BackupLease } from "../../src/agent/lease.ts";
import { TestBucket } from "../support/backup-bucket.ts";
import { type BucketVolume, bucketVolume, withStore } from "../support/backup-volume.ts";
import { runDecant } from "../support/decant.ts";
import { startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

interface BackupDocument {
  readonly name: string;
  readonly key: string;
  readonly suspicious: string[];
}

/** Makes a backup and returns the document about it. */
async function makeBackup({ url }: BucketVolume, ...flags: string[]): Promise<BackupDocument> {
  const run = await runDecant(["backup", url, "--json", "--quiet", ...flags]);
  expect([run.code, run.err]).toEqual([0, ""]);
  return JSON.parse(run.out) as BackupDocument;
}

async function json(...args: string[]): Promise<Record<string, unknown>> {
  return JSON.parse((await runDecant([...args, "--json", "--quiet"])).out) as Record<string, unknown>;
}

/** An object that a client of the reference would have left a while ago, and which is none of its dumps. */
async function putDamaged(volume: BucketVolume): Promise<string> {
  const key = "meta/dump-2026-01-02-030405.json.gz";
  await volume.storage.put(key, Buffer.from("not a dump"), new AbortController().signal);
  return key.slice("meta/".length);
}

describe("backup", () => {
  test("says where the backup is, and what is in it", async () => {
    const volume = await bucketVolume();
    const run = await runDecant(["backup", volume.url]);
    expect([run.code, run.out]).toEqual([0, ""]);
    const lines = run.err.split("\n");
    const path = `${volume.bucket}natsqlite/meta/dump-[-0-9]+\\.json\\.gz`;
    expect(lines[0]).toMatch(new RegExp(`^decant: backup metadata succeed, path: "file://${path}", used \\d`));
    expect(lines.slice(1)).toEqual([
      "decant:   volume natsqlite (9b1d4157-8561-4b20-9f51-c2e3eb53f619)",
      expect.stringMatching(/^decant: {3}consistent as of 20.*Z: one read transaction$/),
      expect.stringMatching(/^decant: {3}69 directories, 222 files, .*; 15 KiB \(gzip\) written and read back in \d/),
      "",
    ]);
  });

  test("--format binary goes below decant/, and so does another compression", async () => {
    const volume = await bucketVolume();
    expect((await makeBackup(volume, "--format", "binary")).key).toMatch(/^decant\/backups\/dump-.*\.bin\.zst$/);
    expect((await makeBackup(volume, "--compression", "none")).key).toMatch(/^decant\/backups\/dump-.*\.json$/);
    expect(volume.names("meta")).toEqual([]);
  });

  test("that lost much ends with 3, freezes the clean-up, and goes on when it is confirmed", async () => {
    const volume = await bucketVolume();
    const before = new TestBucket();
    const past = await before.putBackup(new Date(Date.now() - 3_600_000), { inodes: 1_000_000n });
    for (const key of await before.keys()) {
      const content = readFileSync(join(before.directory, "vol", key));
      await volume.storage.put(key, content, new AbortController().signal);
    }
    const run = await runDecant(["backup", volume.url, "--prune", "--quiet"]);
    expect(run.code).toBe(3);
    expect(run.err).toContain(`SUSPICIOUS: since ${past.name} its inodes fell by 99 %, from 1,000,000 to 283`);
    expect(run.err).toMatch(/Nothing was deleted\. Clean-up is frozen: dump-.* is suspicious, its inodes fell/);
    const [name] = volume.names("meta").slice(-1);
    const list = await runDecant(["backups", "list", volume.url]);
    expect(list.out).toMatch(new RegExp(`^${name} .* SUSPICIOUS `, "m"));
    expect(list.out).toContain(`decant backups confirm META-URL ${name}`);
    expect((await runDecant(["backups", "prune", volume.url])).code).toBe(3);
    const confirm = await runDecant(["backups", "confirm", volume.url, name!, "--reason", "a project ended"]);
    expect([confirm.code, confirm.err]).toEqual([0, `decant: ${name} is confirmed: clean-up may go on\n`]);
    expect((await runDecant(["backups", "prune", volume.url])).code).toBe(0);
    expect((await makeBackup(volume)).suspicious).toEqual([]);
  });

  test("waits for its turn, and says for whom, or ends with 5 when it may not", async () => {
    const volume = await bucketVolume();
    await withStore(volume.url, async (store) => {
      const lease = new BackupLease({ store, clock: systemClock, holder: "backup-1:4242", durationMs: 60_000 });
      const hold = (await lease.tryAcquire(new AbortController().signal))!;
      for (const args of [["backup"], ["backups", "prune"]]) {
        const refused = await runDecant([...args, volume.url, "--no-wait"]);
        expect([refused.code, refused.err]).toEqual([
          5,
          "decant: error: backup-1:4242 makes or cleans up backups of this volume now\n" +
            "  hint: Try again later, or wait for it without --no-wait; the lease of a process that was killed ends by itself\n",
        ]);
      }
      expect(volume.names("meta")).toEqual([]);
      const waiting = startDecant(["backup", volume.url]);
      await waiting.waitFor("Waiting for backup-1:4242, which makes or cleans up backups of this volume\n");
      waiting.kill("SIGINT");
      const interrupted = await waiting.ended;
      expect([interrupted.code, volume.names("meta")]).toEqual([130, []]);
      await hold.release(new AbortController().signal);
    });
    await makeBackup(volume);
  });

  test("--max-shrink 100 takes nothing for suspicious", async () => {
    const volume = await bucketVolume();
    expect((await makeBackup(volume, "--max-shrink", "100%")).suspicious).toEqual([]);
  });

  test.each([
    [["--format", "xml"], 'Invalid value "xml" for "format": not one of json, binary'],
    [["--compression", "lz4"], 'Invalid value "lz4" for "compression": not one of gzip, zstd, none'],
    [["--max-shrink", "half"], 'Invalid value "half" for "max-shrink": not 0 to 100 percent'],
    [["--policy", "all=1d"], "--policy says what --prune deletes, and --prune was not given"],
    [["--prune", "--policy", "all"], 'Cannot understand the retention policy "all": "all" is no rule'],
  ])("%j is refused before anything is done", async (flags, message) => {
    const run = await runDecant(["backup", "sqlite3:///nowhere/at-all.db", ...flags]);
    expect([run.code, run.err.split("\n")[0]]).toEqual([2, `decant: error: ${message}`]);
  });

  test("of a volume or database that is not there ends with 4", async () => {
    const run = await runDecant(["backup", `sqlite3://${temporaryDirectory()}/none.db`]);
    expect(run.code).toBe(4);
  });

  test("into a bucket that cannot be written ends with 7 and leaves word", async () => {
    const volume = await bucketVolume();
    writeFileSync(join(volume.bucket, volume.name), "in the way");
    const run = await runDecant(["backup", volume.url, "--json", "--quiet"]);
    expect([run.code, (JSON.parse(run.out) as { error: { code: string } }).error.code]).toEqual([7, "DECANT_E_FILE"]);
    expect(run.err).toContain("Cannot leave word of this run in the bucket");
  });
});

describe("backups list", () => {
  test("shows each backup with what is known of it", async () => {
    const volume = await bucketVolume();
    const theirs = await putDamaged(volume);
    const ours = await makeBackup(volume);
    const { code, out } = await runDecant(["backups", "list", volume.url]);
    expect(code).toBe(0);
    const lines = out.split("\n");
    expect(lines[0]).toMatch(/^BACKUP +AGE +FORMAT +SIZE +INODES +SPACE +STATE +PIN +BY$/);
    expect(lines[1]).toMatch(
      new RegExp(`^${ours.name} +\\d+ s +json gzip +15 KiB +283 +5\\.3 GiB +verified +- +decant 0`),
    );
    expect(lines[2]).toMatch(new RegExp(`^${theirs} +\\d+ d +json gzip +10 B +- +- +unverified +- +juicefs$`));
    expect(lines.slice(3)).toEqual([""]);
  });

  test("needs the bucket alone when the database is gone", async () => {
    const volume = await bucketVolume();
    const { name } = await makeBackup(volume);
    const document = await json("backups", "list", "--bucket", volume.bucket, "--volume", volume.name);
    expect(document).toMatchObject({
      operation: "backups list",
      volume: { name: "natsqlite", uuid: "" },
      storage: `file://${volume.bucket}natsqlite/`,
      backups: [{ name, quality: "good", inodes: 283, usedSpace: 5_652_873_216, pointInTime: true, whole: true }],
      foreign: 0,
      frozenBy: null,
      runs: [{ outcome: "ok", name }],
    });
  });

  test("says that the last backup failed", async () => {
    const volume = await bucketVolume();
    const signal = new AbortController().signal;
    await volume.storage.put("meta", Buffer.from("in the way"), signal);
    expect((await runDecant(["backup", volume.url])).code).toBe(7);
    const { out } = await runDecant(["backups", "list", volume.url]);
    expect(out).toMatch(/^No backups\.\n\nLast backup failed at 20.*Z on .*: Cannot write /);
  });

  test("of a bucket without backups, or none at all, is empty", async () => {
    const run = await runDecant(["backups", "list", "--bucket", temporaryDirectory(), "--volume", "vol"]);
    expect([run.code, run.out]).toEqual([0, "No backups.\n"]);
  });

  test.each([
    [[], "This command requires at least 1 arguments"],
    [["URL", "more"], "This command accept at most 1 arguments but got 2"],
    [["--bucket", "/b"], "A bucket needs --bucket and --volume: --volume is missing"],
    [["--volume", "vol"], "A bucket needs --bucket and --volume: --bucket is missing"],
    [["URL", "--bucket", "/b", "--volume", "v"], "This command accept at most 0 arguments but got 1"],
    [["--bucket", "/b", "--volume", "v", "--storage", "tape"], "object storage: invalid storage: tape"],
    [["--bucket", "/b", "--volume", "v", "--shards", "257"], 'Invalid value "257" for "shards": not 0 to 256'],
  ])("%j is refused", async (args, message) => {
    const run = await runDecant(["backups", "list", ...args]);
    expect([run.code, run.err.split("\n")[0]]).toEqual([2, `decant: error: ${message}`]);
  });
});

test("backups show says all that is known of a backup", async () => {
  const volume = await bucketVolume();
  const { name, key } = await makeBackup(volume);
  await runDecant(["backups", "verify", volume.url]);
  await runDecant(["backups", "pin", volume.url, name, "--reason", "before\u001b[31m the move"]);
  const { code, out } = await runDecant(["backups", "show", volume.url, "latest"]);
  expect(code).toBe(0);
  expect(out.split("\n").map((line) => line.slice(0, 40))).toEqual([
    `file://${volume.bucket}natsqlite/${key}`.slice(0, 40),
    expect.stringMatching(/^ {2}begun {6}20/),
    expect.stringMatching(/^ {2}by {9}decant 0\.1\.0 on /),
    "  object     json gzip, 15 KiB",
    expect.stringMatching(/^ {2}state {6}verified: verified 20/),
    "  volume     natsqlite (9b1d4157-8561-4b",
    "  content    69 directories, 222 files, ",
    "  usage      283 inodes, 5.3 GiB when it",
    expect.stringMatching(/^ {2}consistent one point in time, 20/),
    expect.stringMatching(/^ {2}sha256 {5}[0-9a-f]+$/),
    expect.stringMatching(/^ {2}checked {4}20/),
    expect.stringMatching(/^ {2}pinned {5}20/),
    "",
  ]);
  expect(out).toContain(": before?[31m the move\n");
  expect(out).not.toContain("\u001b");
  const missing = await runDecant(["backups", "show", volume.url, "dump-2000-01-01-000000.json.gz"]);
  expect([missing.code, missing.err]).toEqual([
    4,
    `decant: error: There is no backup dump-2000-01-01-000000.json.gz in file://${volume.bucket}natsqlite/\n` +
      "  hint: decant backups list shows them all\n",
  ]);
});

describe("backups verify", () => {
  test("ends with 0 and leaves word, which list shows", async () => {
    const volume = await bucketVolume();
    const { name, key } = await makeBackup(volume);
    const run = await runDecant(["backups", "verify", volume.url]);
    expect([run.code, run.out.split("\n")[0]]).toEqual([0, `${key}: OK`]);
    expect(volume.names("decant/checks")).toEqual([`${name}.json`]);
  });

  test("ends with 6 for a damaged one, which then is no longer relied on", async () => {
    const volume = await bucketVolume();
    const { key } = await makeBackup(volume);
    const file = join(volume.bucket, volume.name, key);
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1]! ^= 0xff;
    writeFileSync(file, bytes);
    expect((await json("backups", "list", volume.url)).backups).toMatchObject([{ quality: "good" }]);
    const quiet = await runDecant(["backups", "verify", volume.url, "--no-record"]);
    expect([quiet.code, volume.names("decant/checks")]).toEqual([6, []]);
    const run = await runDecant(["backups", "verify", volume.url]);
    expect([run.code, run.out.split("\n")[0]]).toEqual([6, `${key}: DAMAGED`]);
    expect((await json("backups", "list", volume.url)).backups).toMatchObject([{ quality: "bad" }]);
    const latest = await runDecant(["backups", "show", volume.url, "latest"]);
    expect([latest.code, latest.err.split("\n")[0]]).toEqual([
      4,
      expect.stringContaining("There is no verified backup in"),
    ]);
  });

  test("finds a whole dump that is not the one that was made", async () => {
    const volume = await bucketVolume();
    const { key } = await makeBackup(volume, "--format", "binary");
    const other = await makeBackup(await bucketVolume("golden/dumps/golden.json"), "--format", "binary");
    expect(other.key).toBeDefined();
    const file = join(volume.bucket, volume.name, key);
    const run = await runDecant(["dump", volume.url, `${file}.zst`, "--binary", "--skip-trash"]);
    expect(run.code).toBe(0);
    writeFileSync(file, readFileSync(`${file}.zst`));
    const verified = await runDecant(["backups", "verify", volume.url, key]);
    expect(verified.code).toBe(6);
    expect(verified.out).toMatch(/error: It has \d+ bytes, its manifest says \d+\n/);
    expect(verified.out).toContain("error: Its SHA-256 is not that of its manifest\n");
  });

  test("--unverified checks those of clients, one after the other", async () => {
    const volume = await bucketVolume();
    const theirs = await putDamaged(volume);
    await makeBackup(volume);
    const run = await runDecant(["backups", "verify", volume.url, "--unverified"]);
    expect([run.code, run.out.split("\n")[0]]).toEqual([6, `meta/${theirs}: DAMAGED`]);
    const again = await runDecant(["backups", "verify", volume.url, "--unverified"]);
    expect([again.code, again.out]).toEqual([0, "Every backup is verified.\n"]);
  });
});

describe("backups prune", () => {
  test("--dry-run prints a table that says why each stays or goes, and deletes nothing", async () => {
    const volume = await bucketVolume();
    const theirs = await putDamaged(volume);
    await makeBackup(volume);
    const ours = await makeBackup(volume);
    const run = await runDecant(["backups", "prune", volume.url, "--dry-run", "--policy", "all=2d"]);
    expect(run.code).toBe(0);
    const lines = run.out.split("\n");
    expect(lines[0]).toMatch(/^BACKUP +AGE +SIZE +STATE +WHY$/);
    expect(lines[1]).toMatch(
      new RegExp(`^${ours.name} .* verified +keep +the newest, the newest verified one, all of 2d$`),
    );
    expect(lines[3]).toMatch(new RegExp(`^${theirs} .* unverified +delete +older than every rule reaches$`));
    expect(run.err).toBe("decant: 1 backup (10 B) would be deleted, 2 kept; nothing was written (dry run)\n");
    expect(volume.names("meta")).toHaveLength(3);
  });

  test("deletes what is no longer kept", async () => {
    const volume = await bucketVolume();
    await putDamaged(volume);
    const [first, second] = [await makeBackup(volume), await makeBackup(volume)];
    const run = await runDecant(["backups", "prune", volume.url, "--policy", "all=2d"]);
    expect([run.code, run.err]).toEqual([0, "decant: 1 backup (10 B) deleted, 2 kept by all=2d\n"]);
    expect(volume.names("meta")).toEqual([first.name, second.name]);
    const pruned = await json("backup", volume.url, "--prune");
    expect(pruned.pruned).toMatchObject({ deleted: 0, refusal: null, policy: "all=2d,day=2w,week=2mo,month=forever" });
  });

  test("ends with 3 and deletes nothing where no backup is verified", async () => {
    const volume = await bucketVolume();
    await putDamaged(volume);
    const run = await runDecant(["backups", "prune", volume.url, "--policy", "all=2d"]);
    expect(run.code).toBe(3);
    expect(run.err).toBe(
      "decant: Nothing was deleted. No backup of the last 2d is verified\n" +
        "decant:   next: Make one with decant backup, or verify the newest with decant backups verify\n",
    );
    expect(volume.names("meta")).toHaveLength(1);
  });

  test("needs the database to delete, since that is where it is settled who may", async () => {
    const volume = await bucketVolume();
    await makeBackup(volume);
    const place = ["--bucket", volume.bucket, "--volume", volume.name];
    const run = await runDecant(["backups", "prune", ...place]);
    expect([run.code, run.err.split("\n")[0]]).toEqual([
      2,
      "decant: error: This needs the database of the volume, not its bucket alone",
    ]);
    expect((await runDecant(["backups", "prune", ...place, "--dry-run"])).code).toBe(0);
  });
});

describe("backups fetch", () => {
  test("copies a backup into a file, and replaces one with --force only", async () => {
    const volume = await bucketVolume();
    const { name, key } = await makeBackup(volume);
    const file = join(temporaryDirectory(), "meta.json.gz");
    const run = await runDecant(["backups", "fetch", volume.url, name, file]);
    expect([run.code, run.err]).toEqual([
      0,
      `decant: Fetched ${name} into "${file}"\ndecant:   15 KiB; its checksum is that of the manifest\n`,
    ]);
    const object = readFileSync(join(volume.bucket, volume.name, key));
    expect(readFileSync(file).equals(object)).toBe(true);
    const again = await runDecant(["backups", "fetch", volume.url, name, file]);
    expect([again.code, again.err]).toEqual([
      5,
      `decant: error: File ${file} exists\n  hint: Give another name, or --force\n`,
    ]);
    expect((await runDecant(["backups", "fetch", volume.url, name, file, "--force"])).code).toBe(0);
  });

  test("gives it its name in the working directory, or writes it to stdout", async () => {
    const volume = await bucketVolume();
    const { name } = await makeBackup(volume);
    const cwd = temporaryDirectory();
    expect((await runDecant(["backups", "fetch", volume.url, "latest"], { cwd })).code).toBe(0);
    const run = await runDecant(["backups", "fetch", volume.url, "latest", "-"]);
    expect(run.stdout.equals(readFileSync(join(cwd, name)))).toBe(true);
  });

  test("writes no file when the backup is not what its manifest says", async () => {
    const volume = await bucketVolume();
    const { name, key } = await makeBackup(volume);
    const object = join(volume.bucket, volume.name, key);
    chmodSync(object, 0o644);
    const bytes = readFileSync(object);
    bytes[100]! ^= 1;
    writeFileSync(object, bytes);
    const file = join(temporaryDirectory(), "meta.json.gz");
    const run = await runDecant(["backups", "fetch", volume.url, name, file]);
    expect([run.code, existsSync(file)]).toEqual([6, false]);
    expect(run.err).toContain("is not what its manifest says: ");
  });
});

test("backups pin and unpin say what they did", async () => {
  const volume = await bucketVolume();
  const { name, key } = await makeBackup(volume);
  const pin = await runDecant(["backups", "pin", volume.url, key]);
  expect([pin.code, pin.err]).toEqual([0, `decant: ${name} is pinned: it stays until it is unpinned\n`]);
  expect((await json("backups", "list", volume.url)).backups).toMatchObject([{ pinned: { reason: null } }]);
  const unpin = await runDecant(["backups", "unpin", volume.url, name]);
  expect([unpin.code, unpin.err]).toEqual([0, `decant: ${name} is not pinned: the policy decides\n`]);
  expect((await json("backups", "list", volume.url)).backups).toMatchObject([{ pinned: null }]);
  const confirm = await runDecant(["backups", "confirm", volume.url, name]);
  expect([confirm.code, confirm.err.split("\n")[0]]).toEqual([5, `decant: error: Backup ${name} is not suspicious`]);
});
