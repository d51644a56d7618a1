import { describe, expect, test } from "vitest";
import { openDatabase } from "../../bench/agent-faults/databases.ts";
import { runScenario, SCENARIOS, type ScenarioOptions } from "../../bench/agent-faults/scenarios.ts";
import { type Fault, World } from "../../bench/agent-faults/world.ts";
import { DECANT_MAIN } from "../support/decant.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { requireS3Server } from "../support/s3-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const hasRedis = await requireRedisServer("faults of agents");
const s3 = await requireS3Server();

function options(parts: Partial<ScenarioOptions> = {}): ScenarioOptions {
  return {
    ...{ periods: 4, periodS: 3, leaseS: 2, client: undefined, patience: 10 },
    ...{ main: DECANT_MAIN, directory: temporaryDirectory() },
    ...parts,
  };
}

const ACCESS_DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";

describe.skipIf(!hasRedis || s3 === undefined)("agents of one volume make one good backup per period", () => {
  test.each(["kill-9-moments", "s3-lies"])(
    "and tell what fails, in the short form of the scenario %s",
    async (name) => {
      const scenario = SCENARIOS.find((each) => each.name === name)!;
      // When a machine is busy backups come late, but never too early.
      const outcome = await runScenario({ ...scenario, expectations: { isSteady: false } }, options());
      expect(outcome.violations).toEqual([]);
      expect(outcome.byAgents).toBeGreaterThanOrEqual(4);
    },
  );
});

describe.skipIf(s3 === undefined)("an agent tells and counts", () => {
  async function withAgent(periodS: number, work: (world: World) => Promise<void>): Promise<void> {
    const { url, close } = await openDatabase("sqlite");
    const world = await World.create({ ...options({ periodS }), url, bucket: "s3", policy: "hour=1d" });
    try {
      await world.startAgent();
      await world.untilGood(1);
      await work(world);
      expect(world.history.violations).toEqual([]);
    } finally {
      await world.stop();
      await world.history.end();
      await close();
    }
  }

  const isTrouble = async (world: World, kind: string): Promise<boolean> => {
    await world.readMetrics();
    return world.agents[0]!.metric("decant_backup_trouble", new RegExp(`kind="${kind}"`)) === 1;
  };

  test("deletions that are refused, until they are allowed", async () => {
    await withAgent(3, async (world) => {
      const fault = { kind: "answer", status: 403, body: ACCESS_DENIED } as const;
      world.proxy!.setRules([{ on: /^DELETE .*\/meta\//, fault }]);
      const told: Fault["told"] = {
        log: /clean-up failed: 1 of 1 backups could not be deleted/,
        cause: /DECANT_E_CLEAN_UP/,
        by: "all",
      };
      await world.during("deletions are refused", told, () => world.untilGood(1).then(() => undefined));
      expect(await isTrouble(world, "clean-up")).toBe(true);
      world.proxy!.setRules([]);
      await world.until("the end of the trouble", 20_000, async () => !(await isTrouble(world, "clean-up")));
    });
  });

  test("a bucket that cannot be read while no backup is due", async () => {
    await withAgent(30, async (world) => {
      const fault = { kind: "answer", status: 403, body: ACCESS_DENIED } as const;
      world.proxy!.setRules([{ on: /^GET .*list-type=2/, fault }]);
      const told: Fault["told"] = { log: /WARN .*AccessDenied/, cause: /STORAGE/, by: "all" };
      await world.during("listing is refused", told, async () => undefined);
      expect(await isTrouble(world, "bucket")).toBe(true);
      expect(world.history.good().length).toBe(1);
    });
  });
});
