import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dump } from "../../src/operations/dump.ts";
import { errorOf, expectEngineError, throughProxy } from "../support/broken-connection.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import type { ProxyFault, TcpProxy } from "../support/tcp-proxy.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { dumpText, loadText, quietContext } from "../support/volume-files.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const CUTS = 12;

const hasRedis: boolean = await requireRedisServer("broken connections");
const text: Buffer = await wideVolumeText(12_000);

/** Positions over `total` bytes: the first ones, where connecting happens, and then evenly to the end. */
function cutPoints(total: number): number[] {
  const first = [0, 10, 100];
  return [...first, ...Array.from({ length: CUTS }, (_, i) => Math.floor((total * (i + 1)) / (CUTS + 1))), total - 1];
}

describe.skipIf(!hasRedis)("a connection to Redis that breaks", () => {
  let redis: RedisServer;
  let control: Redis;

  beforeAll(async () => {
    redis = await startRedis();
    control = redis.client();
  });

  afterAll(async () => {
    control.disconnect();
    await redis.stop();
  });

  /** Runs `work` through a proxy. */
  async function through<T>(
    fault: ProxyFault | undefined,
    work: (url: string, proxy: TcpProxy) => Promise<T>,
  ): Promise<T> {
    return throughProxy(redis.port, fault, (port, proxy) => work(`redis://127.0.0.1:${port}/0`, proxy));
  }

  async function fill(): Promise<void> {
    await control.flushall();
    await loadText(redis.url(0), text);
  }

  /** Bytes of an undisturbed run in each direction. */
  async function traffic(work: (url: string) => Promise<unknown>): Promise<TcpProxy["passed"]> {
    return through(undefined, async (url, proxy) => {
      await work(url);
      return proxy.passed;
    });
  }

  test.each(["toServer", "toClient"] as const)(
    "%s during a load leaves an empty database, wherever it breaks",
    async (direction) => {
      await control.flushall();
      const passed = await traffic((url) => loadText(url, text));
      for (const afterBytes of cutPoints(passed[direction])) {
        await control.flushall();
        await through({ direction, afterBytes, action: "cut" }, async (url, proxy) => {
          const error = await errorOf(loadText(url, text));
          // The last command but one is the setting: when its answer is lost, decant looks whether it is there.
          if (error === undefined) {
            expect((await dumpText(redis.url(0))).text.equals(text)).toBe(true);
          } else {
            expect(proxy.isFaulted).toBe(true);
            expectEngineError(error, /^DECANT_E_REDIS/);
            expect(await control.dbsize()).toBe(0);
          }
        });
      }
      await control.flushall();
      await loadText(redis.url(0), text);
    },
  );

  test("during a load for good leaves no volume, and says what it had to leave", async () => {
    const passed = await traffic(async (url) => {
      await control.flushall();
      await loadText(url, text);
    });
    await control.flushall();
    const warnings: string[] = [];
    const logger = { ...quietContext().logger, warn: (message: string) => warnings.push(message) };
    const fault = {
      direction: "toServer",
      afterBytes: Math.floor(passed.toServer / 2),
      action: "cut",
      refuse: true,
    } as const;
    await through(fault, async (url) => {
      expectEngineError(await errorOf(loadText(url, text, quietContext({ logger }))), /^DECANT_E_REDIS/);
    });
    expect(await control.exists("setting")).toBe(0);
    expect(await control.dbsize()).toBeGreaterThan(0);
    expect(warnings).toEqual([expect.stringContaining("could not be removed")]);
    expect(await errorOf(loadText(redis.url(0), text))).toMatchObject({ code: "DECANT_E_NOT_EMPTY" });
    await control.flushall();
    await loadText(redis.url(0), text);
  });

  test.each(["toServer", "toClient"] as const)(
    "%s during a dump leaves no file, wherever it breaks",
    async (direction) => {
      await fill();
      const passed = await traffic((url) => dumpText(url));
      for (const afterBytes of cutPoints(passed[direction])) {
        await through({ direction, afterBytes, action: "cut" }, async (url, proxy) => {
          const directory = temporaryDirectory();
          const file = join(directory, "dump.json");
          const error = await errorOf(dump({ source: url, target: { file } }, quietContext()));
          if (error === undefined) return expect(readFileSync(file).equals(text)).toBe(true);
          expect(proxy.isFaulted).toBe(true);
          expectEngineError(error, /^DECANT_E_REDIS/);
          expect(readdirSync(directory)).toEqual([]);
        });
      }
      expect((await dumpText(redis.url(0))).text.equals(text)).toBe(true);
    },
  );

  test.each(["load", "dump"] as const)("or only stalls: a %s ends when it is told to", async (operation) => {
    if (operation === "dump") await fill();
    const passed = await traffic(async (url) => {
      if (operation === "load") await control.flushall();
      await (operation === "load" ? loadText(url, text) : dumpText(url));
    });
    if (operation === "load") await control.flushall();
    const fault = { direction: "toClient", afterBytes: Math.floor(passed.toClient / 2), action: "stall" } as const;
    await through(fault, async (url, proxy) => {
      const abort = new AbortController();
      const context = quietContext({ signal: abort.signal });
      const running = errorOf(operation === "load" ? loadText(url, text, context) : dumpText(url, context));
      while (!proxy.isFaulted) await sleep(5);
      await sleep(100);
      const abortedAt = performance.now();
      abort.abort();
      expect(await running).toMatchObject({ name: "AbortError" });
      expect(performance.now() - abortedAt).toBeLessThan(5000);
    });
    if (operation === "load") expect(await control.dbsize()).toBe(0);
  });

  test("because the load is interrupted, at whatever moment, leaves an empty database that stays empty", async () => {
    const large = await wideVolumeText(30_000);
    for (let i = 0; i < 6; i++) {
      await control.flushall();
      const abort = new AbortController();
      const running = errorOf(loadText(redis.url(0), large, quietContext({ signal: abort.signal })));
      while ((await control.dbsize()) < 1 + i * 4000) await sleep(1);
      abort.abort();
      expect(await running).toMatchObject({ name: "AbortError" });
      await sleep(100); // commands that were under way when the connection was closed may still arrive
      expect(await control.keys("*")).toEqual([]);
    }
  });

  test("because the load is interrupted while the server hangs leaves an empty database that stays empty", async () => {
    const large = await wideVolumeText(30_000);
    for (let i = 0; i < 4; i++) {
      await control.flushall();
      const abort = new AbortController();
      const running = errorOf(loadText(redis.url(0), large, quietContext({ signal: abort.signal })));
      while ((await control.dbsize()) < 1000 + i * 5000) await sleep(1);
      process.kill(redis.pid, "SIGSTOP");
      await sleep(200); // what is sent now waits in the server's socket
      abort.abort();
      await sleep(50);
      process.kill(redis.pid, "SIGCONT");
      expect(await running).toMatchObject({ name: "AbortError" });
      await sleep(200);
      expect(await control.keys("*")).toEqual([]);
    }
  });

  test("because an operator kills it ends a load with an error and leaves an empty database", async () => {
    await control.flushall();
    const running = errorOf(loadText(redis.url(0), await wideVolumeText(60_000)));
    while ((await control.dbsize()) < 2000) await sleep(2);
    await control.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    expectEngineError(await running, /^DECANT_E_REDIS/);
    expect(await control.dbsize()).toBe(0);
  });
});

describe.skipIf(!hasRedis)("a Redis that is killed", () => {
  test("during a load ends it with an error", async () => {
    const redis = await startRedis();
    const control = redis.client();
    control.on("error", () => undefined);
    const running = errorOf(loadText(redis.url(0), await wideVolumeText(60_000)));
    while ((await control.dbsize()) < 2000) await sleep(2);
    process.kill(redis.pid, "SIGKILL");
    expectEngineError(await running, /^DECANT_E_REDIS/);
    control.disconnect();
    await redis.stop();
  });

  test("during a dump ends it with an error and leaves no file", async () => {
    const redis = await startRedis();
    await loadText(redis.url(0), await wideVolumeText(60_000));
    const directory = temporaryDirectory();
    const file = join(directory, "dump.json");
    const context = quietContext();
    const running = errorOf(dump({ source: redis.url(0), target: { file } }, context));
    while (context.progress.phases.every(({ records }) => records === 0)) await sleep(1);
    process.kill(redis.pid, "SIGKILL");
    const error = await running;
    // Sorting and writing need no server any more.
    if (error !== undefined) {
      expectEngineError(error, /^DECANT_E_REDIS/);
      expect(readdirSync(directory)).toEqual([]);
    } else {
      expect(existsSync(file)).toBe(true);
    }
    await redis.stop();
  });
});
