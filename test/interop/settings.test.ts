import { readFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { runDecant } from "../support/decant.ts";
import { realClient } from "../support/real-client.ts";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { fixture } from "../support/repository.ts";
import { requireServer } from "../support/require-server.ts";
import { mustRun, runCommand } from "../support/run-command.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { query, readTables } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const client = await realClient();
const redis = await requireServer("redis");
const UTC = { env: { TZ: "UTC" } };

/** The reference's output without its log lines and colors. */
async function reference(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const run = await runCommand(client!, args, UTC);
  return { code: run.code, out: run.out.replaceAll("\u001b", "").replaceAll(/\[(1;33|0)m/g, ""), err: run.err };
}

/** A volume made by the reference, in two copies: one for each program. */
async function twins(...options: string[]): Promise<{ directory: string; theirs: string; ours: string }> {
  const directory = temporaryDirectory();
  const theirs = join(directory, "theirs.db");
  const ours = join(directory, "ours.db");
  await mustRun(client!, ["format", `sqlite3://${theirs}`, "twin", "--bucket", join(directory, "objects"), ...options]);
  const database = new Database(theirs);
  await database.backup(ours);
  database.close();
  return { directory, theirs: `sqlite3://${theirs}`, ours: `sqlite3://${ours}` };
}

function storedSetting(url: string): string {
  return query(url.replace("sqlite3://", ""), "SELECT CAST(value AS TEXT) FROM jfs_setting WHERE name = 'format'")[0]!;
}

/** Changes one after the other, on the same volume. */
const CHANGES: readonly (readonly string[])[] = [
  ["--capacity", "10", "--inodes", "1000", "--trash-days", "7"],
  ["--capacity", "1.5T"],
  ["--capacity", "0.00001"],
  ["--access-key", "a", "--upload-limit", "100", "--download-limit", "1G"],
  ["--upload-limit", "0.5"],
  ["--upload-limit", "1024M"],
  ["--min-client-version", "1.3.0"],
  ["--min-client-version", "1.2.0", "-y"],
  ["--max-client-version", "", "-y"],
  ["--max-client-version", "1.5", "-y"],
  ["--tier", "1", "--storage-class", "GL", "-y"],
  ["--tier", "1", "--storage-class", "GL"],
  ["--tier", "1", "--storage-class", "GX"],
  ["--tier", "1", "--tag", "a=b", "-y"],
  ["--tier", "4", "--tag", "a=b"],
  ["--storage-class", "Y", "--tag", "k=v", "-y"],
  ["--tag", "a=b=c"],
  ["--dir-stats=false", "--user-group-quota", "--enable-acl"],
  ["--dir-stats", "--enable-acl=false"],
  ["--user-group-quota=false"],
  ["--changelog"],
  ["--changelog-max-age", "1h30m5s", "--changelog-max-lines", "5"],
  ["--changelog-max-age", "-1s"],
  ["--changelog=false"],
  ["--ranger-rest-url", "http://a?b=<c>&d", "--ranger-service", "s"],
  ["--kerberos-config-file", "/etc/passwd"],
  ["--trash-days", "0"],
  ["--trash-days", "0", "-y"],
  ["--trash-days", "0", "--yes"],
  ["--trash-days", "-1"],
];

describe.skipIf(client === undefined)("config", () => {
  test("prints and stores what the reference prints and stores", async () => {
    const { theirs, ours } = await twins();
    for (const flags of CHANGES) {
      const wanted = await reference("config", theirs, ...flags);
      const got = await runDecant(["config", ours, ...flags]);
      expect(got.out, flags.join(" ")).toBe(wanted.out);
      expect(got.code === 0, flags.join(" ")).toBe(wanted.code === 0);
      const message = /<FATAL>: (.*?) \[[\w.@]+:\d+\]/.exec(wanted.err)?.[1];
      if (message !== undefined) expect(got.err, flags.join(" ")).toContain(message);
      expect(storedSetting(ours), flags.join(" ")).toBe(storedSetting(theirs));
    }
    expect((await runDecant(["config", ours])).out).toBe((await reference("config", ours)).out);
  });

  test("sets secrets that the reference reads", async () => {
    const { ours, directory } = await twins("--secret-key", "old", "--session-token", "t");
    expect((await runDecant(["config", ours, "--secret-key", "new", "--session-token", ""])).code).toBe(0);
    // The reference decrypts all secrets for this, and refuses when one of them is wrong.
    const changed = await reference("config", ours, "--bucket", join(directory, "other"));
    expect(changed.code).toBe(0);
    expect(storedSetting(ours)).toContain('"KeyEncrypted": true');
    expect(storedSetting(ours)).not.toContain("SessionToken");
  });

  test("counts the usage of users and groups as the reference does", async () => {
    const directory = temporaryDirectory();
    const [theirs, ours] = [join(directory, "theirs.db"), join(directory, "ours.db")];
    await mustRun(client!, ["load", `sqlite3://${theirs}`, fixture("golden/dumps/golden.keep.json")]);
    await mustRun(client!, ["config", `sqlite3://${theirs}`, "--user-group-quota=false", "-y"]);
    const database = new Database(theirs);
    await database.backup(ours);
    database.close();
    await mustRun(client!, ["config", `sqlite3://${theirs}`, "--user-group-quota", "-y"]);
    expect((await runDecant(["config", `sqlite3://${ours}`, "--user-group-quota", "-y"])).code).toBe(0);
    const quotas = (path: string) => readTables(path).get("jfs_user_group_quota");
    expect(quotas(ours)?.length).toBeGreaterThan(0);
    expect(quotas(ours)).toEqual(quotas(theirs));
  });

  test.skipIf(redis === undefined)("counts it in Redis too, with files that are deleted and open", async () => {
    const usage: unknown[] = [];
    for (const run of [(args: string[]) => mustRun(client!, args), (args: string[]) => runDecant(args)]) {
      const url = redis!.url(8);
      await restoreRedisJsonl(url, fixture("golden/engines/golden.redis.jsonl"));
      await mustRun(client!, ["config", url, "--user-group-quota=false", "-y"]);
      expect((await run(["config", url, "--user-group-quota", "-y"])).code).toBe(0);
      usage.push(await redisQuotas(url));
    }
    expect(usage[1]).toEqual(usage[0]);
  });
});

async function redisQuotas(url: string): Promise<Record<string, unknown>> {
  const connection = new Redis(url);
  try {
    const hashes: Record<string, unknown> = {};
    for (const name of ["user", "group"].flatMap((who) => [
      `${who}Quota`,
      `${who}QuotaUsedSpace`,
      `${who}QuotaUsedInodes`,
    ])) {
      const fields = Object.entries(await connection.hgetallBuffer(name));
      hashes[name] = fields.map(([key, value]) => [key, value.toString("latin1")]).sort();
    }
    return hashes;
  } finally {
    connection.disconnect();
  }
}

describe.skipIf(client === undefined)("format", () => {
  test("makes a volume that is the reference's own, but for UUID and times", async () => {
    const { theirs, directory } = await twins("--trash-days", "3", "--capacity", "1", "--enable-acl");
    const ours = `sqlite3://${join(directory, "format.db")}`;
    const options = ["--trash-days", "3", "--capacity", "1", "--enable-acl"];
    const run = await runDecant(["format", ours, "twin", "--bucket", join(directory, "ours"), ...options]);
    expect(run.code).toBe(0);
    const plain = (url: string, bucket: string) =>
      storedSetting(url)
        .replace(/"UUID": "[^"]+"/, "")
        .replace(`${directory}/${bucket}/`, "");
    expect(plain(ours, "ours")).toBe(plain(theirs, "objects"));
    const names = (url: string) => [...readTables(url.replace("sqlite3://", "")).keys()].sort();
    expect(names(ours)).toEqual(names(theirs));
    expect((await reference("fsck", ours)).code).toBe(0);
    expect((await reference("format", ours, "twin", "--trash-days", "4")).code).toBe(0);
    expect((await reference("format", ours, "other")).err).toContain("cannot update volume name from twin to other");
  });

  test.skipIf(redis === undefined)("stores the same keys in Redis", async () => {
    const url = redis!.url(9);
    const connection = new Redis(url);
    const stored: unknown[] = [];
    for (const run of [(args: string[]) => mustRun(client!, args), (args: string[]) => runDecant(args)]) {
      await connection.flushdb();
      expect((await run(["format", url, "twin", "--bucket", join(temporaryDirectory(), "o")])).code).toBe(0);
      const keys = (await connection.keys("*")).sort();
      const sizes = await Promise.all(
        keys.map(async (key) => [key, await connection.type(key), await connection.strlen(key)]),
      );
      stored.push(sizes.filter(([key]) => key !== "setting"));
      expect((await reference("fsck", url)).code).toBe(0);
    }
    connection.disconnect();
    expect(stored[1]).toEqual(stored[0]);
  });

  test("encrypts juicefs_uuid and the key so that the reference can use both", async () => {
    const directory = temporaryDirectory();
    const url = `sqlite3://${join(directory, "enc.db")}`;
    const env = { JFS_RSA_PASSPHRASE: "correct horse", TZ: "UTC" };
    const key = fixture("encrypted/key-pkcs8-encrypted.pem");
    const argv = [
      "format",
      url,
      "encvol",
      "--bucket",
      join(directory, "o"),
      "--encrypt-rsa-key",
      key,
      "--secret-key",
      "s",
    ];
    expect((await runDecant([...argv, "--encrypt-algo", "chacha20-rsa"], { env })).code).toBe(0);
    expect(readFileSync(join(directory, "o", "encvol", "juicefs_uuid"))).toHaveLength(36 + 287);
    const changed = await runCommand(client!, ["config", url, "--access-key", "a", "--secret-key", "n"], { env });
    expect(changed.err).not.toContain("FATAL");
    expect(changed.code).toBe(0);
  });
});

describe.skipIf(redis === undefined)("status", () => {
  const url = redis?.url(7) ?? "";

  test.each([
    ["status.json", []],
    ["status-more.txt", ["--more"]],
  ])("of the golden volume is that of the reference: %s", async (file, flags) => {
    await restoreRedisJsonl(url, fixture("golden/engines/golden.redis.jsonl"));
    const run = await runDecant(["status", url, ...flags], UTC);
    expect(run.code).toBe(0);
    expect(run.out).toBe(readFileSync(fixture(`golden/${file}`), "utf8"));
  });

  test("of a session has its locks, in any order", async () => {
    await restoreRedisJsonl(url, fixture("golden/engines/golden.redis.jsonl"));
    const run = await runDecant(["status", url, "--session", "1"], UTC);
    const lines = (text: string) => text.replaceAll(",", "").split("\n").sort();
    expect(lines(run.out)).toEqual(lines(readFileSync(fixture("golden/status-session-1.json"), "utf8")));
  });

  test("of an unknown session is an error", async () => {
    await restoreRedisJsonl(url, fixture("golden/engines/golden.redis.jsonl"));
    const run = await runDecant(["status", url, "-s", "99"]);
    expect(run.code).toBe(4);
    expect(run.err).toContain("session not found: 99");
  });
});

describe.skipIf(client === undefined)("status of SQLite volumes", () => {
  // With --more the reference counts no trash in volumes of 1.3, whose tables lack a column.
  test.each([[[]], [["--more"]]])("equals that of the reference %j", async (flags) => {
    const legacy = flags.length === 0 ? ["legacy/legacy-1-3-0.sqlite.db"] : [];
    for (const name of ["golden/native/natsqlite.sqlite.db", "encrypted/encaes.sqlite.db", ...legacy]) {
      const { url } = copySqliteFixture(name);
      const wanted = await reference("status", url, ...flags);
      const got = await runDecant(["status", url, ...flags], UTC);
      expect(got.out, name).toBe(wanted.out);
      expect(got.code, name).toBe(wanted.code);
    }
  });
});
