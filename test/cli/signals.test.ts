import { closeSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { makeNamedPipe, openPipeWriter, writePipe } from "../support/named-pipe.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { type DecantEnd, type RunningDecant, startDecant } from "../support/running-decant.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const DUMP = fixture("golden/dumps/golden.json");

const hasRedis = await requireRedisServer("a second signal during a load into Redis");

/** Sends the signal and tells how the command ended, and how soon. */
async function endOf(running: RunningDecant, signal: NodeJS.Signals): Promise<DecantEnd & { afterMs: number }> {
  const sent = Date.now();
  running.kill(signal);
  const end = await running.ended;
  return { ...end, afterMs: Date.now() - sent };
}

describe("a signal", () => {
  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s stops a load from stdin, which cleans up and ends with %i", async (signal, code) => {
    const directory = temporaryDirectory();
    const load = startDecant(["load", `sqlite3://${join(directory, "new.db")}`, "--verbose", "--tmp-dir", directory]);
    await load.waits();
    const { code: ended, err } = await endOf(load, signal);
    expect(ended).toBe(code);
    expect(err).toContain(`decant: ${signal} received, cleaning up; once more to exit at once\n`);
    expect(err).toContain("decant: error: interrupted; ");
    expect(err).toContain("holds no volume");
    expect(readdirSync(directory)).toEqual([]);
  });

  test.each([
    ["on which nobody writes", undefined],
    ["whose writer says nothing", 0],
    ["whose writer stalls in the first bytes", 3],
    ["whose writer stalls in the middle", 100_000],
  ])("stops a load from a named pipe %s", async (_, bytes) => {
    const pipe = makeNamedPipe();
    const directory = dirname(pipe);
    const target = `sqlite3://${join(directory, "new.db")}`;
    const load = startDecant(["load", target, pipe, "--tmp-dir", directory]);
    const writer = bytes === undefined ? undefined : openPipeWriter(pipe);
    if (writer !== undefined) await writePipe(writer, readFileSync(DUMP).subarray(0, bytes));
    await load.waits();
    const { code, err, afterMs } = await endOf(load, "SIGINT");
    if (writer !== undefined) closeSync(writer);
    expect(code).toBe(130);
    expect(err).toContain(`decant: error: interrupted; ${target} holds no volume\n`);
    expect(afterMs).toBeLessThan(2000);
    expect(readdirSync(directory)).toEqual(["pipe"]);
  });

  test.each([
    ["that nobody reads", false],
    ["whose reader stands still", true],
  ])("stops a dump into a named pipe %s", async (_, hasReader) => {
    const { url } = copySqliteFixture("golden/native/natsqlite.sqlite.db");
    const pipe = makeNamedPipe();
    const reader = hasReader ? openPipeWriter(pipe) : undefined;
    const dump = startDecant(["dump", url, pipe, "--tmp-dir", dirname(pipe)]);
    await dump.waits();
    const { code, afterMs } = await endOf(dump, "SIGINT");
    if (reader !== undefined) closeSync(reader);
    expect(code).toBe(130);
    expect(afterMs).toBeLessThan(2000);
    expect(readdirSync(dirname(pipe))).toEqual(["pipe"]);
  });

  test("stops at a question without writing", async () => {
    const { url } = copySqliteFixture("golden/native/natsqlite.sqlite.db");
    const config = startDecant(["config", url, "--trash-days", "0"]);
    await config.waitFor("Proceed anyway? [y/N]: ");
    const { code, err } = await endOf(config, "SIGINT");
    expect(code).toBe(130);
    expect(err).toContain("decant: error: interrupted; ");
  });
});

/** The first signal does not end the command within a second, the second one does. */
async function expectSecondSignalEnds(running: RunningDecant, signal: NodeJS.Signals): Promise<void> {
  running.kill(signal);
  await running.waitFor(`decant: ${signal} received, cleaning up; once more to exit at once\n`);
  const early = await Promise.race([running.ended, sleep(1000)]);
  const { afterMs, code, signalName } = await endOf(running, signal);
  expect({ early, code, signalName }).toEqual({ early: undefined, code: null, signalName: signal });
  expect(afterMs).toBeLessThan(1000);
}

describe("a second signal", () => {
  test.skipIf(!hasRedis)("ends a load at once whose clean-up waits for a server", async () => {
    const redis = await startRedis();
    const control = redis.client();
    const load = startDecant(["load", redis.url()]);
    load.input.write(readFileSync(DUMP).subarray(0, 100_000));
    while ((await control.dbsize()) === 0) await sleep(20);
    control.disconnect();
    process.kill(redis.pid, "SIGSTOP");
    try {
      await expectSecondSignalEnds(load, "SIGINT");
    } finally {
      process.kill(redis.pid, "SIGCONT");
      await redis.stop();
    }
  });

  test.each(["SIGINT", "SIGTERM"] as const)("%s ends a command at once that hangs in a file", async (signal) => {
    const target = `sqlite3://${join(temporaryDirectory(), "new.db")}`;
    const load = startDecant(["load", target, DUMP, "--encrypt-rsa-key", makeNamedPipe()]);
    await load.waits();
    await expectSecondSignalEnds(load, signal);
  });
});
