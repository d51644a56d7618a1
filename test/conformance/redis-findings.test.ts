import { join } from "node:path";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { dumpVolume } from "../support/run-operations.ts";

const isAvailable = await requireRedisServer();

describe.skipIf(!isAvailable)("the report of a dump from Redis", () => {
  let server: RedisServer;
  let client: Redis;
  beforeAll(async () => {
    server = await startRedis();
    client = server.client();
    await restoreRedisJsonl(
      server.url(),
      join(import.meta.dirname, "..", "fixtures", "golden/engines/golden.redis.jsonl"),
    );
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  test("names what is lost also when keys of other applications are there", async () => {
    for (let i = 0; i < 50; i++) await client.set(`application:${i}`, "x");
    await client.set("d5", "no hash");
    const { report } = await dumpVolume(server.url());
    const notes = report.findings
      .filter(({ kind }) => kind === "reader")
      .map(({ text, count, loss }) => [text, count, loss]);
    expect(notes.sort()).toEqual([
      ["Keys of other applications were ignored", 50, false],
      ["Keys that hold a value of the wrong type were left out", 1, true],
    ]);
    await client.del("d5");
  });

  test("names what cannot be told from a repetition in a directory that is read in pages", async () => {
    const entry = (inode: bigint): Buffer => {
      const bytes = Buffer.alloc(9, 1);
      bytes.writeBigUInt64BE(inode, 1);
      return bytes;
    };
    const pairs: (string | Buffer)[] = [];
    for (let i = 0; i < 6000; i++) pairs.push(`file${i}`, entry(1_000_000n + BigInt(i)));
    // three more names of files that have one by their link counts
    for (let i = 0; i < 3; i++) pairs.push(`other${i}`, entry(1_000_000n + BigInt(i)));
    await client.hset("d5", ...pairs);
    const { report } = await dumpVolume(server.url());
    const found = report.findings.filter(({ text }) => text.includes("could not be told from repetitions"));
    expect(found.map(({ count, loss }) => [count, loss])).toEqual([[3, true]]);
  });
});
