import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runDecant } from "../support/decant.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const isAvailable = await requireRedisServer();

describe.skipIf(!isAvailable)("a load into Redis that was killed", () => {
  let server: RedisServer;
  let client: Redis;
  beforeAll(async () => {
    server = await startRedis();
    client = server.client();
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  test("leaves no volume, and the next command says what is there", async () => {
    const text = await wideVolumeText(20_000);
    const file = join(temporaryDirectory(), "dump.json");
    writeFileSync(file, text);
    const load = startDecant(["load", server.url()]);
    load.input.write(text.subarray(0, text.length / 2));
    while ((await client.dbsize()) < 100) await sleep(10);
    load.kill("SIGKILL");
    await load.ended;

    const again = await runDecant(["load", server.url(), file]);
    expect(again.code).toBe(5);
    expect(again.err).toContain(`decant: error: Database ${server.url()} is not empty\n`);
    expect(again.err).toMatch(
      / {2}hint: A load of STDIN that began .* \(process \d+ on .*\) is running or was cut off\. .*--clean removes what it wrote\n/,
    );
    for (const command of ["status", "dump"]) {
      const reader = await runDecant([command, server.url()]);
      expect(reader.code).toBe(4);
      expect(reader.err).toMatch(/holds no volume, but a part of one|a load that was cut off is none either\n/);
    }

    await client.set("application", "1");
    const refused = await runDecant(["load", server.url(), file, "--clean"]);
    expect(refused.code).toBe(5);
    expect(await client.keys("*")).toEqual(["application"]);
    await client.del("application");
    expect((await runDecant(["load", server.url(), file, "--clean"])).code).toBe(0);
    expect((await runDecant(["load", server.url(), file, "--clean"])).code).toBe(5);
    expect(await client.exists("setting")).toBe(1);
  });
});
