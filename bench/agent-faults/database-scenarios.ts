import { type DatabaseName, openDatabase } from "./databases.ts";
import type { Scenario } from "./scenarios.ts";
import { type Fault, World } from "./world.ts";

/** What it takes to give up hope: an answer is waited for 30 s, four times. */
const SILENT_MS = 150_000;

const TOLD: Fault["told"] = { log: / WARN /, cause: /DECANT_E/, by: "all" };

function restarts(database: Exclude<DatabaseName, "sqlite">): Scenario {
  return {
    name: `${database}-restarts`,
    about: `2 agents, ${database}, file: the server is killed and comes back, five times; then it is away for three periods`,
    async run(options, onWorld) {
      const server = await openDatabase(database);
      const world = await World.create({ ...options, url: server.url, bucket: "file", files: 10_000 });
      onWorld(world);
      try {
        await world.startAgents(2);
        await world.untilGood(1);
        for (let i = 0; i < 5; i++) {
          // Some while a backup is made.
          if (i % 2 === 0) {
            await world.until(
              "the next backup",
              3 * world.periodMs,
              async () => (await world.lease())?.work.state === "backing-up",
            );
          } else {
            await world.periods(Math.random() / 2);
          }
          await world.during("a restart", undefined, async () => {
            await server.crash();
            await server.restart();
          });
          await world.untilGood(1);
        }
        await world.during("the server is away", TOLD, async () => {
          await server.crash();
          await world.periods(3);
          await server.restart();
        });
        await world.untilGood(2);
        if (database === "redis" || database === "etcd") {
          await world.during("the server does not answer", TOLD, async () => {
            await server.freeze();
            await world.periods(SILENT_MS / world.periodMs);
            await server.thaw();
          });
          await world.untilGood(2);
        }
      } finally {
        await world.stop();
        await server.close();
      }
    },
  };
}

export const DATABASE_SCENARIOS: readonly Scenario[] = [
  restarts("redis"),
  restarts("postgres"),
  restarts("mariadb"),
  restarts("etcd"),
];
