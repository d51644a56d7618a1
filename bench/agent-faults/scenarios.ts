import { checkWorld, type Expectations, type Outcome } from "./check.ts";
import { CLOCK_SCENARIOS } from "./clock-scenarios.ts";
import { DATABASE_SCENARIOS } from "./database-scenarios.ts";
import { openDatabase } from "./databases.ts";
import { KILL_SCENARIOS } from "./kill-scenarios.ts";
import { STORAGE_SCENARIOS } from "./storage-scenarios.ts";
import { World } from "./world.ts";

export interface ScenarioOptions {
  readonly periods: number;
  readonly periodS: number;
  /** Of the reference, able to mount; undefined when there is none. */
  readonly client: string | undefined;
  /** For logs. */
  readonly directory: string;
  /** As in `WorldOptions`. */
  readonly main?: string;
  readonly leaseS?: number;
  readonly patience?: number;
}

export interface Scenario {
  readonly name: string;
  readonly about: string;
  readonly needsMounts?: boolean;
  /** Default: both. */
  readonly expectations?: Partial<Expectations>;
  /** Builds the world, hands it over, and lets everything happen; whoever called stops it. */
  run(options: ScenarioOptions, onWorld: (world: World) => void): Promise<void>;
}

/** Agents, and clients that back up too, with nothing wrong at all. */
function shared(
  agents: number,
  mounts: number,
  database: "sqlite" | "redis" | "postgres",
  bucket: "file" | "s3",
): Scenario {
  const clients = mounts === 0 ? "" : `, ${mounts} mounts`;
  return {
    name: `${agents}-agents${mounts === 0 ? "" : `-${mounts}-mounts`}`,
    about: `${agents} agents${clients}, ${database}, ${bucket}`,
    needsMounts: mounts > 0,
    async run(options, onWorld) {
      const { url, close } = await openDatabase(database);
      // So many on a busy machine may stand still for longer than the short lease that other scenarios need.
      const world = await World.create({ leaseS: options.periodS, ...options, url, bucket });
      onWorld(world);
      try {
        await world.startAgents(agents);
        for (let i = 0; i < mounts; i++) await world.startMount();
        await world.periods(options.periods);
      } finally {
        await world.stop();
        await close();
      }
    },
  };
}

/** One of them, and what came of it. */
export async function runScenario(scenario: Scenario, options: ScenarioOptions): Promise<Outcome> {
  let world: World | undefined;
  await scenario.run(options, (created) => {
    world = created;
  });
  return checkWorld(world!, { isExclusive: true, isSteady: true, ...scenario.expectations });
}

export const SCENARIOS: readonly Scenario[] = [
  shared(2, 0, "sqlite", "file"),
  shared(10, 0, "redis", "s3"),
  shared(2, 2, "postgres", "file"),
  shared(10, 2, "redis", "s3"),
  ...KILL_SCENARIOS,
  ...STORAGE_SCENARIOS,
  ...DATABASE_SCENARIOS,
  ...CLOCK_SCENARIOS,
];
