import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { newBadgerTarget, readBadgerLines } from "../support/badger-directory.ts";
import { runDecant } from "../support/decant.ts";
import { startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

describe("a load into BadgerDB that was killed", () => {
  let file = "";
  let wanted: string[] = [];
  beforeAll(async () => {
    file = join(temporaryDirectory(), "dump.json");
    writeFileSync(file, await wideVolumeText(20_000));
    const { directory, url } = newBadgerTarget();
    expect((await runDecant(["load", url, file])).code).toBe(0);
    wanted = await readBadgerLines(directory);
  });

  // the load may be over before it is killed: then the volume is complete
  test.each([
    ["when it has just begun", "decant-load", 0],
    ["when it has begun to write tables", "000001.sst", 0],
    ["a little later", "000001.sst", 5],
    ["still later", "000001.sst", 20],
    ["when the volume is there", "MANIFEST", 0],
  ])("%s leaves no volume, or all of it, and the next load needs no help", async (_, name, delayMs) => {
    const { directory, url } = newBadgerTarget();
    const load = startDecant(["load", url, file]);
    while (!existsSync(join(directory, name))) await sleep(1);
    await sleep(delayMs);
    load.kill("SIGKILL");
    await load.ended;

    const status = await runDecant(["status", url]);
    if (readdirSync(directory).includes("MANIFEST")) {
      expect(status.code).toBe(0);
    } else {
      expect(status.code).toBe(4);
      expect((await runDecant(["load", url, file])).code).toBe(0);
      expect(readdirSync(directory).sort()).toEqual(["000001.sst", "MANIFEST"]);
    }
    expect(await readBadgerLines(directory)).toEqual(wanted);
  });

  test("by a signal that can be heard removes what it has made", async () => {
    const { directory, url } = newBadgerTarget();
    const load = startDecant(["load", url, file]);
    while (!existsSync(join(directory, "decant-load"))) await sleep(1);
    load.kill("SIGTERM");
    expect((await load.ended).code).toBe(143);
    expect(existsSync(directory)).toBe(false);
  });
});
