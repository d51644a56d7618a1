import { setTimeout as sleep } from "node:timers/promises";
import type { S3Rule } from "../../test/support/s3-proxy.ts";
import { openDatabase } from "./databases.ts";
import type { Scenario } from "./scenarios.ts";
import { World } from "./world.ts";

/** Everything but the newest of each hour goes, so that each backup is followed by a deletion. */
const DELETES_EACH_TIME = "hour=1d,day=2w,month=forever";

/** Where a holder is killed: at that request, which the server gets and does not answer, or does not even get. */
const MOMENTS: readonly { readonly name: string; readonly on: RegExp; readonly reaches: boolean }[] = [
  { name: "before it uploads", on: /^HEAD .*\/meta\/dump-/, reaches: false },
  { name: "uploading", on: /^PUT .*\/meta\/dump-/, reaches: false },
  { name: "uploaded, no answer yet", on: /^PUT .*\/meta\/dump-/, reaches: true },
  { name: "reading back", on: /^GET .*\/meta\/dump-/, reaches: true },
  { name: "before the manifest", on: /^PUT .*\/decant\/manifests\//, reaches: false },
  { name: "manifest stored, no answer yet", on: /^PUT .*\/decant\/manifests\//, reaches: true },
  { name: "leaving word", on: /^PUT .*\/decant\/status\//, reaches: false },
  { name: "before a deletion", on: /^DELETE .*\/meta\/dump-/, reaches: false },
  { name: "deleted, sidecars not yet", on: /^DELETE .*\/meta\/dump-/, reaches: true },
];

const atEveryMoment: Scenario = {
  name: "kill-9-moments",
  about: `3 agents, redis, s3: the holder killed at each of ${MOMENTS.length} moments, and one that waits`,
  async run(options, onWorld) {
    const { url, close } = await openDatabase("redis");
    const world = await World.create({ ...options, url, bucket: "s3", policy: DELETES_EACH_TIME });
    onWorld(world);
    try {
      await world.startAgents(3);
      await world.untilGood(2);
      for (const { name, on, reaches } of MOMENTS) {
        let hit = false;
        const rule: S3Rule = {
          on,
          fault: reaches ? { kind: "stall", afterBytes: 0 } : { kind: "swallow" },
          times: 1,
          onHit: () => (hit = true),
        };
        world.proxy!.setRules([rule]);
        if (!(await world.until(`the moment "${name}"`, 3 * world.periodMs, () => hit))) continue;
        if (reaches) await sleep(100); // the server has it by then
        const holder = await world.holder();
        if (holder === undefined) world.history.violations.push(`nobody holds the lease at the moment "${name}"`);
        else await world.replace(holder, "SIGKILL");
        await world.untilGood(1);
      }
      const holder = await world.holder();
      await world.replace(world.living.find((agent) => agent !== holder)!, "SIGKILL");
      await world.untilGood(1);
    } finally {
      await world.stop();
      await close();
    }
  },
};

/** Kills the holder once in each period, some time after it has begun. */
function atRandom(signal: "SIGKILL" | "SIGTERM", database: "postgres" | "sqlite", files: number): Scenario {
  const name = signal === "SIGKILL" ? "kill-9-random" : "sigterm-random";
  return {
    name,
    about: `3 agents, ${database}, file: ${signal} to the holder in each period`,
    async run(options, onWorld) {
      const { url, close } = await openDatabase(database);
      const world = await World.create({ ...options, url, bucket: "file", files, policy: DELETES_EACH_TIME });
      onWorld(world);
      try {
        await world.startAgents(3);
        await world.untilGood(1);
        const usualMs = world.history.good()[0]!.entry.manifest!.backup.durationMs;
        for (let i = 0; world.kills < options.periods && i < 2 * options.periods; i++) {
          const isBusy = async () => (await world.lease())?.work.state === "backing-up";
          if (!(await world.until("the next backup", 3 * world.periodMs, isBusy))) break;
          await sleep(Math.random() * usualMs);
          const holder = await world.holder();
          // Every other successor has no time to end what it is at when it is told to stop.
          const args = i % 2 === 0 ? ["--stop-timeout", "100ms"] : [];
          if (holder !== undefined) await world.replace(holder, signal, args);
          await world.untilGood(1);
        }
      } finally {
        await world.stop();
        await close();
      }
    },
  };
}

export const KILL_SCENARIOS: readonly Scenario[] = [
  atEveryMoment,
  atRandom("SIGKILL", "postgres", 80_000),
  atRandom("SIGTERM", "sqlite", 80_000),
];
