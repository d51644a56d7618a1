import type { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { missingRecords, readSalvaged, type Salvaged } from "../support/salvaged.ts";

const isAvailable = await requireRedisServer();
const METHODS = ["tracking", "none", "replica"] as const;

describe.skipIf(!isAvailable)("of a damaged volume in Redis, all is given that is not damaged", () => {
  let server: RedisServer;
  let client: Redis;
  let whole: Salvaged;
  beforeAll(async () => {
    server = await startRedis({ args: ["--repl-diskless-sync-delay", "0"] });
    client = server.client();
  });
  beforeEach(async () => {
    await restoreRedisJsonl(server.url(), fixture("golden/engines/golden.redis.jsonl"));
    whole = await readSalvaged(server.url());
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  /** The losses, which must be the same by every way of reading, and the records that are missing; `others` that come instead. */
  async function damaged(
    others: Record<string, string[]> = {},
  ): Promise<[losses: string[], missing: Record<string, string[]>]> {
    const first = await readSalvaged(server.url(), { method: METHODS[0] });
    for (const method of METHODS) {
      const { records, losses } = await readSalvaged(server.url(), { method });
      expect([method, losses, records]).toEqual([method, first.losses, first.records]);
    }
    expect(missingRecords(first, whole)).toEqual(others);
    return [first.losses, missingRecords(whole, first)];
  }

  test("nothing is a loss where nothing is damaged", async () => {
    expect(whole.losses).toEqual([]);
    expect((await damaged())[1]).toEqual({});
  });

  test("values of inodes that are too short, too long or of another type", async () => {
    await client.set("i1050", "abc");
    await client.set("i1051", Buffer.alloc(70_000, 7));
    for (const key of ["i1052", "d1026", "c1046_0", "s1206", "x1245", "p1204"]) await client.del(key);
    await client.rpush("i1052", "x");
    await client.set("d1026", "x");
    await client.hset("c1046_0", "a", "b");
    await client.rpush("s1206", "x");
    await client.set("x1245", "x");
    await client.sadd("p1204", "x");
    await client.rpush("c1193_0", "short");
    const [losses, missing] = await damaged();
    expect(losses).toEqual([
      "chunk 1046: key c1046_0: the value is of another type",
      "chunk 1193: key c1193_0: a slice record does not have 24 bytes",
      "edge 1026: key d1026: the value is of another type",
      "node 1050: key i1050: an attribute record has 3 bytes, not 63 to 65535",
      "node 1051: key i1051: an attribute record has 70000 bytes, not 63 to 65535",
      "node 1052: key i1052: the value is of another type",
      "parent 1204: key p1204: the value is of another type",
      "symlink 1206: key s1206: the value is of another type",
      "xattr 1245: key x1245: the value is of another type",
    ]);
    expect(sizes(missing)).toEqual({ node: 3, edge: 9, chunk: 2, symlink: 1, xattr: 11, parent: 3 });
  });

  test("one field of a hash that is damaged takes no other with it", async () => {
    const [name] = await client.hkeys("d1031");
    await client.hset("d1031", name!, "no entry");
    const [, parent] = await client.hkeys("p1205");
    await client.hset("p1205", parent!, "many", "x1", "1");
    const [losses, missing] = await damaged();
    expect(losses).toEqual([
      `edge 1031: key d1031: the entry ${name} has a name of ${name!.length} bytes and a value of 8, not 9`,
      `parent 1205: key p1205: the parent ${parent} or its count is no number`,
      "parent 1205: key p1205: the parent x1 or its count is no number",
    ]);
    expect(sizes(missing)).toEqual({ edge: 1, parent: 1 });
  });

  test("one entry of a directory of many thousands", async () => {
    const entry = Buffer.alloc(9, 1);
    const pipeline = client.pipeline();
    for (let i = 0; i < 6000; i++) {
      entry.writeBigUInt64BE(BigInt(3_000_000 + i), 1);
      pipeline.hset("d1025", `many ${i}`, Buffer.from(entry));
    }
    await pipeline.exec();
    whole = await readSalvaged(server.url());
    await client.hset("d1025", "many 17", "no entry", "many 18", entry.subarray(1));
    const [losses, missing] = await damaged();
    expect(losses).toEqual([
      "edge 1025: key d1025: the entry many 17 has a name of 7 bytes and a value of 8, not 9",
      "edge 1025: key d1025: the entry many 18 has a name of 7 bytes and a value of 8, not 9",
    ]);
    expect(sizes(missing)).toEqual({ edge: 2 });
  });

  test("keys that no client writes are told where they look like those of an inode", async () => {
    for (const key of ["i0x", "c5", "c5_x", "d18446744073709551616"]) await client.set(key, "x");
    for (const key of ["i", "dxyz", "application:1", "setting2"]) await client.set(key, "x");
    const [losses, missing] = await damaged();
    expect(losses).toEqual([
      "chunk: key c5 is of a form that no client writes",
      "chunk: key c5_x is of a form that no client writes",
      "edge: key d18446744073709551616 is of a form that no client writes",
      "node: key i0x is of a form that no client writes",
    ]);
    expect(missing).toEqual({});
  });

  test("counters, quotas, statistics and what waits for deletion", async () => {
    await client.set("usedSpace", "many");
    await client.del("totalInodes");
    await client.rpush("totalInodes", "1");
    const [quota] = await client.hkeys("dirQuota");
    await client.hset("dirQuota", quota!, "short");
    const [user] = await client.hkeys("userQuotaUsedSpace");
    await client.hset("userQuotaUsedSpace", user!, "x");
    await client.hset("groupQuotaUsedInodes", "g1", "1");
    await client.hset("dirDataLength", "1025", "x", "y1", "1");
    await client.hset("dirUsedSpace", "1026", "x");
    await client.hset("acl", "1", "short", "x", "y");
    await client.zadd("delfiles", 1, "no:member");
    await client.sadd("session1", "x");
    await client.zadd("allSessions", 1, "x");
    const slice = Object.entries(await client.hgetall("sliceRef")).find(([, count]) => Number(count) > 0)![0];
    await client.hset("sliceRef", slice, "x", "k1", "1");
    const [losses, missing] = await damaged({ userQuota: [expect.stringContaining("usedSpace=0")] });
    expect(losses).toEqual([
      "acl: key acl: rule 1 is damaged: Cannot decode an ACL rule: it is cut off after 5 bytes",
      "acl: key acl: the field x is no number of a rule",
      "counter: key totalInodes: the value is of another type",
      "counter: key usedSpace: the counter is no number",
      "delFile: key delfiles: the member no:member is no inode and length",
      "dirStat 1025: key dirDataLength, field 1025: the value is no number",
      "dirStat 1026: key dirUsedSpace, field 1026: the value is no number",
      "dirStat: key dirDataLength: the field y1 is no inode",
      "groupQuota: key groupQuota: the field g1 is no number",
      `quota ${quota}: key dirQuota, field ${quota}: the limits have 5 bytes instead of 16`,
      "sliceRef: key sliceRef: the field k1 is no slice",
      `sliceRef: key sliceRef: the field ${slice} has a value that is no number`,
      "sustained: key allSessions: the member x is no number of a session",
      "sustained: key session1: the member x is no inode",
      `userQuota: key userQuotaUsedSpace, field ${user}: the usage is no number and was taken as 0`,
    ]);
    expect(sizes(missing)).toEqual({ acl: 1, counter: 2, dirStat: 2, quota: 1, sliceRef: 1, userQuota: 1 });
  });

  test("values outside the inodes that are of another type", async () => {
    const keys = ["acl", "sliceRef", "dirUsedSpace", "dirQuota", "delfiles", "allSessions", "session1"];
    for (const key of keys) await client.del(key);
    for (const key of keys) await client.set(key, "x");
    const [losses, missing] = await damaged();
    expect(losses).toEqual([
      "acl: key acl: the value is of another type",
      "delFile: key delfiles: the value is of another type",
      "dirStat: key dirUsedSpace: the value is of another type",
      "quota: key dirQuota: the value is of another type",
      "sliceRef: key sliceRef: the value is of another type",
      "sustained: key allSessions: the value is of another type",
      "sustained: key session1: the value is of another type",
    ]);
    for (const kind of ["dirStat", "quota", "acl"]) expect(missing[kind]).toEqual(whole.records[kind]);
  });

  test("a subtree tells what it has lost, and nothing of the rest", async () => {
    await client.set("i1050", "abc");
    await client.set("d1026", "x");
    const root = 1026n;
    const { losses } = await readSalvaged(server.url(), { method: "none", root });
    expect(losses).toEqual(["edge 1026: key d1026: the value is of another type"]);
  });

  test("a setting that cannot be understood leaves nothing that is worth anything", async () => {
    await client.set("setting", '{"Name":"golden');
    for (const method of METHODS) {
      await expect(readSalvaged(server.url(), { method })).rejects.toMatchObject({
        code: "DECANT_E_NO_SETTING",
        message: expect.stringContaining(`The setting of the volume in ${server.url()} cannot be read: Cannot read`),
        hint: expect.stringContaining("Nothing can be saved without it"),
      });
    }
    await client.del("setting");
    await client.rpush("setting", "x");
    await expect(readSalvaged(server.url())).rejects.toMatchObject({
      code: "DECANT_E_REDIS_TYPE",
      hint: expect.stringContaining("the volume is damaged"),
    });
  });

  test("without onLoss nothing is told, and the report counts as ever", async () => {
    await client.set("i1050", "abc");
    await client.set("usedSpace", "many");
    await client.rpush("c1193_0", "short");
    const { noted, records } = await readSalvaged(server.url(), { salvages: false });
    expect(noted.sort()).toEqual([
      "Attribute records that are damaged were left out",
      "Chunks with damaged slice records were taken as empty",
    ]);
    expect(records.counter).toContain("name=usedSpace value=0");
    expect(records.chunk).toContain("index=0 inode=1193 slices=0x");
  });
});

function sizes(records: Record<string, string[]>): Record<string, number> {
  return Object.fromEntries(Object.entries(records).map(([kind, lines]) => [kind, lines.length]));
}
