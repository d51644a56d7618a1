import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { load } from "../../src/operations/load.ts";
import { runDecant } from "../support/decant.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { type DecantEnd, STACK_TRACE, startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { newSqlite, quietContext } from "../support/volume-files.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const EXIT_CODES: Partial<Record<NodeJS.Signals, number>> = { SIGINT: 130, SIGTERM: 143 };
/** From before the program listens to signals until it has ended by itself. */
const DELAYS_MS = [50, 350, 600, 900];

const text: Buffer = await wideVolumeText(60_000);
const dumpFile: string = join(temporaryDirectory(), "dump.json");
writeFileSync(dumpFile, text);

const signals = ["SIGINT", "SIGTERM", "SIGKILL"] as const;
const cases = signals.flatMap((signal) => DELAYS_MS.map((delay) => [signal, delay] as const));

/** Starts a command and sends it a signal after a while. */
async function interrupted(args: readonly string[], signal: NodeJS.Signals, delayMs: number): Promise<DecantEnd> {
  const running = startDecant(args);
  const timer = setTimeout(() => running.kill(signal), delayMs);
  const end = await running.ended;
  clearTimeout(timer);
  expect(end.err).not.toMatch(STACK_TRACE);
  return end;
}

/** Ended by itself; or cleaned up, if it was far enough to listen to the signal; or was ended by it. */
function expectEnd({ code, signalName, err }: DecantEnd, signal: NodeJS.Signals): void {
  if (code === 0) return;
  if (code === null) expect(signalName).toBe(signal);
  else expect({ code, err }).toEqual({ code: EXIT_CODES[signal], err: expect.stringContaining("interrupted") });
}

async function mustSucceed(args: readonly string[]): Promise<void> {
  const { code, err } = await runDecant(args);
  expect({ code, err: code === 0 ? "" : err }).toEqual({ code: 0, err: "" });
}

describe("a load into SQLite", () => {
  test.each(cases)("that gets %s after %i ms leaves the whole volume or none", async (signal, delay) => {
    const target = newSqlite();
    const end = await interrupted(["load", target.url, dumpFile], signal, delay);
    expectEnd(end, signal);
    const left = target.files();
    const temporary = left.filter((name) => name !== "volume.db");
    if (signal !== "SIGKILL" || end.code === 0) expect(temporary).toEqual([]);
    for (const name of temporary) expect(name).toMatch(/^volume\.db\.decant-[0-9a-f]+\.tmp(-journal)?$/);
    if (!left.includes("volume.db")) await mustSucceed(["load", target.url, dumpFile]);
    const again = join(temporaryDirectory(), "again.json");
    await mustSucceed(["dump", target.url, again]);
    expect(readFileSync(again).equals(text)).toBe(true);
  });

  test("that never gets the rest of its input ends when it is told to", async () => {
    const target = newSqlite();
    const abort = new AbortController();
    const stream = new PassThrough();
    stream.write(text.subarray(0, 1_000_000));
    const running = load({ target: target.url, source: { stream } }, quietContext({ signal: abort.signal }));
    setTimeout(() => abort.abort(), 300);
    await expect(running).rejects.toMatchObject({ name: "AbortError" });
    expect(target.files()).toEqual([]);
  });
});

describe("a dump", () => {
  const source = newSqlite();

  beforeAll(async () => mustSucceed(["load", source.url, dumpFile]));

  test.each(cases)("that gets %s after %i ms leaves the whole file or the one before", async (signal, delay) => {
    const directory = temporaryDirectory();
    const file = join(directory, "dump.json");
    copyFileSync(source.path, file);
    const before = readFileSync(file);
    const end = await interrupted(["dump", source.url, file], signal, delay);
    expectEnd(end, signal);
    const left = readdirSync(directory);
    if (signal !== "SIGKILL" || end.code === 0) expect(left).toEqual(["dump.json"]);
    const after = readFileSync(file);
    expect(after.equals(before) || after.equals(text)).toBe(true);
    if (end.code === 0) expect(after.equals(text)).toBe(true);
    await mustSucceed(["dump", source.url, file]);
    expect(readFileSync(file).equals(text)).toBe(true);
  });
});

const hasRedis = await requireRedisServer("signals during loads into Redis");

describe.skipIf(!hasRedis)("a load into Redis", () => {
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

  test.each(signals)("that gets %s in the middle leaves no volume, and nothing that it can remove", async (signal) => {
    await control.flushall();
    const running = startDecant(["load", redis.url(0), dumpFile]);
    while ((await control.dbsize()) < 20_000) await sleep(1);
    running.kill(signal);
    const end = await running.ended;
    expect(end.err).not.toMatch(STACK_TRACE);
    expect(await control.exists("setting")).toBe(0);
    if (signal === "SIGKILL") {
      await refusesLeftovers();
      await control.flushall();
    } else {
      expect(end.code).toBe(EXIT_CODES[signal]);
      expect(await control.keys("*")).toEqual([]);
    }
    await mustSucceed(["load", redis.url(0), dumpFile]);
  });

  /** What a killed load has left is no volume to dump, and no empty database to load into. */
  async function refusesLeftovers(): Promise<void> {
    const file = join(temporaryDirectory(), "none.json");
    expect((await runDecant(["dump", redis.url(0), file])).code).toBe(4);
    expect((await runDecant(["load", redis.url(0), dumpFile])).code).toBe(5);
    rmSync(file, { force: true });
  }
});
