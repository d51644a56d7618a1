import fc from "fast-check";
import type { Redis } from "ioredis";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { migrate } from "../../src/operations/migrate.ts";
import { expectSameVolume } from "../support/compare-volumes.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { dumpText, loadText, newSqlite, quietContext } from "../support/volume-files.ts";
import { volumeRecords } from "../support/volume-model.ts";
import { volumePlans } from "../support/volume-plan.ts";
import { encodeRecords } from "../support/volume-streams.ts";
import { runsOf } from "./runs.ts";

const MEMORY = 16 * 1024 * 1024;

const redis: RedisServer | undefined = (await requireRedisServer("properties of Redis"))
  ? await startRedis()
  : undefined;
const control: Redis | undefined = redis?.client();

async function emptyRedis(): Promise<string> {
  await control!.flushall();
  return redis!.url(0);
}

/** The text of a volume's dump. Its counters are those that loading it computes, so it must come back as it is. */
async function textOf(plan: Parameters<typeof volumeRecords>[0]): Promise<Buffer> {
  return encodeRecords(volumeRecords(plan), MEMORY);
}

/** Expects equal dumps, and shows the first place where they differ. */
function expectSameText(actual: Buffer, expected: Buffer): void {
  if (actual.equals(expected)) return;
  expect(actual.toString("latin1").split("\n")).toEqual(expected.toString("latin1").split("\n"));
}

describe("a volume of any content", () => {
  beforeEach((context) => context.skip(redis === undefined, "no Redis"));
  afterAll(async () => {
    control?.disconnect();
    await redis?.stop();
  });

  test("is dumped by SQLite and by Redis as it was loaded, byte for byte", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(60), async (plan) => {
        const text = await textOf(plan);
        for (const url of [newSqlite().url, await emptyRedis()]) {
          const loaded = await loadText(url, text);
          expect(loaded.counters.loaded).toEqual(loaded.counters.source);
          const { text: dumped, report } = await dumpText(url);
          expectSameText(dumped, text);
          expect(report.findings).toEqual([]);
        }
      }),
      runsOf(40),
    );
  });

  test("is the same after a migration from SQLite to Redis and back", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(60), async (plan) => {
        const text = await textOf(plan);
        const source = newSqlite().url;
        await loadText(source, text);
        const between = await emptyRedis();
        const target = newSqlite().url;
        for (const [from, to] of [
          [source, between],
          [between, target],
        ] as const) {
          const report = await migrate({ source: from, target: to }, quietContext());
          // Redis cannot always prove an instant, and then says so.
          const losses = report.findings.filter(({ loss, kind }) => loss && kind !== "not-point-in-time");
          expect(losses).toEqual([]);
          await expectSameVolume(from, to);
        }
        expectSameText((await dumpText(target)).text, text);
      }),
      runsOf(25),
    );
  });

  test("gives the same dump below a tiny memory ceiling", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(200), fc.integer({ min: 256, max: 1024 }), async (plan, kib) => {
        const text = await textOf(plan);
        const memory = { maxBytes: kib * 1024, tmpDir: newSqlite().directory };
        for (const url of [newSqlite().url, await emptyRedis()]) {
          await loadText(url, text, quietContext({ memory }));
          expectSameText((await dumpText(url, quietContext({ memory }))).text, text);
        }
      }),
      runsOf(10),
    );
  });
});
