import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { MetadataStore, SettingChange } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { packBatch } from "../../src/volume/records.ts";
import { realClient } from "../support/real-client.ts";
import { readRedisJsonl, restoreRedisJsonl } from "../support/redis-fixture.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { runCommand } from "../support/run-command.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const GOLDEN = join(import.meta.dirname, "..", "fixtures", "golden");
const signal = new AbortController().signal;
const isAvailable = await requireRedisServer();
const program = isAvailable ? await realClient() : undefined;

/** The `Stat` of a `status` document, members that are left out being 0. */
interface Stat {
  UsedSpace: number;
  UsedInodes: number;
  TrashFileCount?: number;
  TrashFileSize?: number;
  PendingDeletedFileCount?: number;
  PendingDeletedFileSize?: number;
  TrashSliceCount?: number;
  TrashSliceSize?: number;
  PendingDeletedSliceCount?: number;
  PendingDeletedSliceSize?: number;
}

function usageOf(stat: Stat): object {
  const tally = (count = 0, bytes = 0) => ({ count: BigInt(count), bytes: BigInt(bytes) });
  return {
    usedSpace: BigInt(stat.UsedSpace),
    totalInodes: BigInt(stat.UsedInodes),
    trashFiles: tally(stat.TrashFileCount, stat.TrashFileSize),
    pendingDeletedFiles: tally(stat.PendingDeletedFileCount, stat.PendingDeletedFileSize),
    trashSlices: tally(stat.TrashSliceCount, stat.TrashSliceSize),
    pendingDeletedSlices: tally(stat.PendingDeletedSliceCount, stat.PendingDeletedSliceSize),
  };
}

const change = (setting: Buffer | undefined, changes: Partial<SettingChange> = {}): SettingChange => {
  return { setting, dropDirStats: false, dropUserGroupQuotas: false, trashRoot: undefined, ...changes };
};

describe.skipIf(!isAvailable)("a Redis database", () => {
  let server: RedisServer;
  let client: Redis;
  let store: MetadataStore;
  beforeAll(async () => {
    server = await startRedis();
    client = server.client();
    store = await openStore(server.url(), { logger: silentLogger, signal, env: {} });
  });
  beforeEach(async () => {
    await restoreRedisJsonl(server.url(), join(GOLDEN, "engines/golden.redis.jsonl"));
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  test("tells the numbers that the reference's status told of it", async () => {
    const { Stat } = JSON.parse(readFileSync(join(GOLDEN, "status-more.txt"), "utf8")) as { Stat: Stat };
    expect(await store.readUsage({ more: true, signal })).toEqual(usageOf(Stat));
    expect(await store.readUsage({ more: false, signal })).not.toHaveProperty("trashFiles");
  });

  test.skipIf(program === undefined)("tells the numbers that the reference tells of odd contents", async () => {
    const trash = "9223372036854775807";
    await client.hset("delSlices", { "9_1795415968": Buffer.alloc(13, 1), "8_1795415968": Buffer.alloc(24, 2) });
    await client.zadd("delfiles", 1795415964, "77:5", 1795415964, `${trash}:0`);
    await client.hset("sliceRef", { k900_10: "-2", k901_20: "0", k902_30: "-1" });
    const run = await runCommand(program!, ["status", server.url(), "--more"], { cwd: temporaryDirectory() });
    const { Stat } = JSON.parse(run.out) as { Stat: Stat };
    expect(await store.readUsage({ more: true, signal })).toEqual(usageOf(Stat));
  });

  test("lists sessions by number, also those of old clients", async () => {
    await client.zadd("allSessions", 1795416100.5, "10", 5, "2", 1, "junk");
    await client.zadd("sessions", 1000, "7");
    const sessions = await store.listSessions(signal);
    expect(sessions.map(({ sid, expire }) => [sid, expire])).toEqual([
      [1n, 1795416028n],
      [2n, 5n],
      [7n, 1300n],
      [10n, 1795416100n],
    ]);
    expect(JSON.parse(sessions[0]!.info!)).toMatchObject({ HostName: "fixture-host", MountPoint: "/mnt/golden" });
    expect(sessions[1]!.info).toBeUndefined();
  });

  test("tells what a session holds, as the reference's status told it", async () => {
    const status = JSON.parse(
      readFileSync(join(GOLDEN, "status-session-1.json"), "utf8").replace(/"Owner": (\d+)/g, '"Owner": "$1"'),
    );
    const session = (await store.readSession(1n, signal))!;
    expect(session.sustained).toEqual(status.Sustained.map(BigInt));
    const flocks = session.flocks.map((lock) => `${lock.inode} ${lock.owner} ${lock.type}`);
    const expected = status.Flocks.map((lock: Record<string, unknown>) => `${lock.Inode} ${lock.Owner} ${lock.Ltype}`);
    expect(flocks.sort()).toEqual(expected.sort());
    expect(session.plocks.map((lock) => [lock.inode, String(lock.owner)])).toEqual([[1411n, status.Plocks[0].Owner]]);
    expect(session.plocks[0]!.records).toHaveLength(3 * 24);
    expect(await store.readSession(9n, signal)).toBeUndefined();
  });

  test("drops statistics and quotas with the setting, in one step, as the reference does", async () => {
    const before = await readRedisJsonl(server.url());
    const dropped = change(Buffer.from("{}"), { dropDirStats: true, dropUserGroupQuotas: true });
    await store.updateSetting(() => dropped, signal);
    const names = (lines: string[]): string[] => lines.map((line) => atob(JSON.parse(line).key_b64));
    const gone = names(before).filter((name) => !/^(dirUsed|userQuota|groupQuota)/.test(name));
    expect(names(await readRedisJsonl(server.url()))).toEqual(gone);
    expect(await client.get("setting")).toBe("{}");
  });

  test("gives the newest setting to a change that came too late", async () => {
    const seen: (string | undefined)[] = [];
    const update = store.updateSetting((stored) => {
      seen.push(stored?.toString());
      return change(Buffer.from(`${stored}!`));
    }, signal);
    const other = client.set("setting", "theirs");
    await Promise.all([update, other]);
    const final = await client.get("setting");
    expect(["theirs!", "theirs"]).toContain(final);
    expect(seen.length).toBeGreaterThan(0);
  });

  test("replaces the usage of users; ids that own nothing more keep their limits", async () => {
    const owner = (key: bigint, usedSpace: bigint) => ({
      key,
      maxSpace: -1n,
      maxInodes: -1n,
      usedSpace,
      usedInodes: 3n,
    });
    const groups = await client.hgetall("groupQuotaUsedSpace");
    await store.replaceUserGroupUsage([packBatch("userQuota", [owner(0n, 8192n), owner(42n, 4096n)])], signal);
    const limits = await client.hgetallBuffer("userQuota");
    expect(limits["1000"]).toEqual(Buffer.from("000000014000000000000000000001f4", "hex"));
    expect(limits["42"]).toEqual(Buffer.alloc(16, 0xff));
    const zeros = { 1000: "0", 2147483647: "0", 65536: "0" };
    expect(await client.hgetall("userQuotaUsedSpace")).toEqual({ 0: "8192", 42: "4096", ...zeros });
    expect(await client.hgetall("userQuotaUsedInodes")).toEqual({ 0: "3", 42: "3", ...zeros });
    expect(await client.hgetall("groupQuotaUsedSpace")).toEqual(groups);
  });

  test.skipIf(program === undefined)("that decant has formatted is a volume to the reference", async () => {
    await client.flushdb();
    const bucket = temporaryDirectory();
    const setting = {
      Name: "fresh",
      UUID: "11111111-2222-4333-8444-555555555555",
      Storage: "file",
      Bucket: `${bucket}/`,
      BlockSize: 4096,
      Compression: "none",
      TrashDays: 1,
      MetaVersion: 1,
      DirStats: true,
      EnableACL: false,
    };
    const root = Buffer.alloc(72);
    root.writeUInt16BE(0x21ff, 1);
    root.writeUInt32BE(2, 47);
    root.writeBigUInt64BE(4096n, 51);
    root.writeBigUInt64BE(1n, 63);
    await store.createVolume({ setting: Buffer.from(JSON.stringify(setting)), root, trashRoot: root }, signal);
    expect((await client.keys("*")).sort()).toEqual(["i1", "i9223372032828243968", "setting"]);
    const { code, out } = await runCommand(program!, ["status", server.url()], { cwd: bucket });
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ Setting: { Name: "fresh" }, Stat: { UsedInodes: 0 } });
  });
});
