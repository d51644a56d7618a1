import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import type { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { expectSameBytes } from "../golden/compare-bytes.ts";
import { realClient } from "../support/real-client.ts";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { runCommand } from "../support/run-command.ts";
import { dumpVolume } from "../support/run-operations.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/**
 * Damaged databases (docs/spec/json-dump.md §6): decant writes what the reference writes wherever that ends, and says which
 * damage has made the dump less than the volume. Volume: /dir (inode 2), /dir/a (3), /dir/b "q" (4), symlink /dir/sl (5).
 */
const VOLUME = "encrypted/plain.sqlite.db";

const client = await realClient();
const redis = client !== undefined && (await requireRedisServer()) ? await startRedis() : undefined;

interface Damage {
  readonly what: string;
  readonly sql: string;
  /** The reference's `--fast` dump, which differs: decant has one answer for both (docs/compatibility.md). */
  readonly fast?: boolean;
  /** Kinds of findings of decant, with `!` for a loss. */
  readonly findings: readonly string[];
}

const node = (inode: number, set: string): string => `UPDATE jfs_node SET ${set} WHERE inode = ${inode}`;

const DAMAGES: readonly Damage[] = [
  {
    what: "an entry without its file's record",
    sql: "DELETE FROM jfs_node WHERE inode = 3",
    findings: ["missing-node!"],
  },
  {
    what: "an entry without its directory's record",
    sql: "DELETE FROM jfs_node WHERE inode = 2",
    fast: true,
    findings: ["missing-node!"],
  },
  {
    what: "an entry without its link's record",
    sql: "DELETE FROM jfs_node WHERE inode = 5",
    fast: true,
    findings: ["missing-node!"],
  },
  { what: "an ACL that is not stored", sql: node(3, "access_acl_id = 7"), fast: true, findings: ["missing-acl!"] },
  { what: "an empty link target", sql: "UPDATE jfs_symlink SET target = x''", findings: ["missing-symlink"] },
  { what: "no link target", sql: "DELETE FROM jfs_symlink", findings: ["missing-symlink"] },
  {
    what: "slices of a wrong length",
    sql: "UPDATE jfs_chunk SET slices = x'0102' WHERE inode = 3",
    findings: ["reader!"],
  },
  { what: "empty slices", sql: "UPDATE jfs_chunk SET slices = x'' WHERE inode = 3", findings: [] },
  {
    what: "an entry of another type than its inode",
    sql: "UPDATE jfs_edge SET type = 2 WHERE inode = 3",
    findings: [],
  },
  { what: "a chunk of a directory", sql: "UPDATE jfs_chunk SET inode = 2 WHERE inode = 3", findings: [] },
  { what: "a chunk beyond the end of its file", sql: "UPDATE jfs_chunk SET indx = 7 WHERE inode = 3", findings: [] },
  { what: "an empty name", sql: "UPDATE jfs_edge SET name = x'' WHERE inode = 3", findings: [] },
  {
    what: "columns wider than their values",
    sql: node(3, "flags = 257, uid = -1, nlink = -1, tier_id = 9"),
    findings: [],
  },
  { what: "mode bits beyond the permissions", sql: node(3, "mode = 4095"), findings: [] },
  { what: "type 0", sql: node(3, "type = 0"), findings: [] },
  { what: "an unknown type", sql: node(3, "type = 9"), findings: ["unknown-type!"] },
  { what: "a time before 1970", sql: node(3, "mtime = -5000001, mtimensec = -7"), findings: [] },
  { what: "no trash root", sql: "DELETE FROM jfs_node WHERE inode = 9223372032828243968", findings: [] },
  { what: "no counters", sql: "DELETE FROM jfs_counter", findings: [] },
  { what: "negative counters", sql: "UPDATE jfs_counter SET value = -3", findings: [] },
  { what: "a lost inode", sql: "DELETE FROM jfs_edge WHERE inode = 3", findings: ["node-without-entry"] },
  { what: "an unlimited quota", sql: "INSERT INTO jfs_dir_quota VALUES (2, -1, -1, 0, 0)", findings: [] },
  { what: "a quota of no directory", sql: "INSERT INTO jfs_dir_quota VALUES (77, 5, -1, 0, 0)", findings: [] },
];

async function dumpByReference(url: string, fast: boolean): Promise<Buffer> {
  const file = join(temporaryDirectory(), "dump.json");
  const { code, err } = await runCommand(
    client!,
    ["dump", "--keep-secret-key", ...(fast ? ["--fast"] : []), url, file],
    { timeoutMs: 20_000 },
  );
  if (code !== 0 || !existsSync(file)) throw new Error(err);
  return readFileSync(file);
}

async function expectDump(url: string, findings: readonly string[], fast: boolean = false): Promise<void> {
  const { bytes, report } = await dumpVolume(url, { keepSecretKey: true });
  expectSameBytes(bytes, await dumpByReference(url, fast));
  expect(report.findings.map(({ kind, loss }) => `${kind}${loss ? "!" : ""}`)).toEqual(findings);
}

describe.skipIf(client === undefined)("a damaged SQLite volume is dumped as the reference does", () => {
  test.each(DAMAGES)("with $what", async ({ sql, findings, fast }) => {
    const { path, url } = copySqliteFixture(VOLUME);
    const db = new Database(path);
    expect(db.prepare(sql).run().changes).toBeGreaterThan(0);
    db.close();
    await expectDump(url, findings, fast);
  });
});

/** The ancient volume (test/fixtures/legacy), whose records are the shortest there are. */
const REDIS_DAMAGES: readonly (readonly [
  what: string,
  findings: readonly string[],
  damage: (db: Redis) => Promise<unknown>,
])[] = [
  ["no link targets", ["missing-symlink"], async (db) => db.del(await db.keys("s[0-9]*"))],
  ["a slice of a wrong length", ["reader!"], async (db) => db.rpush((await db.keys("c[0-9]*")).sort()[0]!, "xx")],
  ["a file without its record", ["missing-node!"], async (db) => db.del(`i${await someFile(db)}`)],
  ["counters that are no numbers", [], (db) => db.mset("usedSpace", "many", "nextinode", "x")],
  ["no counters", [], (db) => db.del("usedSpace", "totalInodes", "nextinode", "nextchunk", "nextsession")],
];

/** The first inode with chunks. */
async function someFile(db: Redis): Promise<string> {
  return /^c(\d+)_/.exec((await db.keys("c[0-9]*")).sort()[0]!)![1]!;
}

describe.skipIf(redis === undefined)("a damaged Redis volume is dumped as the reference does", () => {
  test.each(REDIS_DAMAGES)("with %s", async (_, findings, damage) => {
    await restoreRedisJsonl(redis!.url(), fixture("legacy/ancient.redis.jsonl"));
    const db = redis!.client();
    await damage(db);
    db.disconnect();
    await expectDump(redis!.url(), findings);
  });
});
