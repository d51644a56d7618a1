import { existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryDirectory } from "../../test/support/temporary-directory.ts";
import { openDatabase } from "./databases.ts";
import type { Scenario } from "./scenarios.ts";
import { World } from "./world.ts";

const LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const THREE_YEARS = 3 * 365;

/** The time of day of processes that are started with it. Their monotonic clock is right, as on a machine whose clock is set. */
class WrongClock {
  readonly env: Readonly<Record<string, string>>;
  readonly #file: string = join(temporaryDirectory(), "clock");

  constructor(days: number) {
    if (!existsSync(LIBRARY)) throw new Error(`${LIBRARY} is missing: apt-get install faketime`);
    this.set(days);
    this.env = {
      LD_PRELOAD: LIBRARY,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      DONT_FAKE_MONOTONIC: "1",
    };
  }

  set(days: number): void {
    writeFileSync(`${this.#file}.new`, `${days < 0 ? "" : "+"}${days}d\n`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}

/** With a server everybody goes by its clock. */
const withServer: Scenario = {
  name: "clocks-server",
  about: "agents at the right time, 3 years ahead and 3 years behind, one that jumps, a mount; redis, s3",
  needsMounts: true,
  async run(options, onWorld) {
    const { url, close } = await openDatabase("redis");
    const world = await World.create({ ...options, url, bucket: "s3", oldDays: 8, oldFormat: "binary" });
    onWorld(world);
    try {
      const jumping = new WrongClock(0);
      await world.startAgent();
      for (const clock of [new WrongClock(THREE_YEARS), new WrongClock(-THREE_YEARS), jumping]) {
        await world.startAgent({ env: { ...clock.env }, hasWrongClock: true });
      }
      await world.startMount();
      for (let i = 0; i < options.periods; i++) {
        jumping.set(i % 3 === 0 ? THREE_YEARS : i % 3 === 1 ? -THREE_YEARS : 0);
        await world.periods(1);
      }
    } finally {
      await world.stop();
      await close();
    }
  },
};

/** Without one each has its own. */
const withoutServer: Scenario = {
  name: "clocks-sqlite",
  about: "two agents at the right time, one that jumps by 3 years both ways and is right at last; sqlite, file",
  expectations: { isExclusive: false, isSteady: false },
  async run(options, onWorld) {
    const { url, close } = await openDatabase("sqlite");
    const world = await World.create({ ...options, url, bucket: "file", oldDays: 8, oldMonths: 30 });
    onWorld(world);
    try {
      const jumping = new WrongClock(0);
      await world.startAgents(2);
      await world.startAgent({ env: { ...jumping.env }, hasWrongClock: true });
      await world.untilGood(1);
      for (const days of [THREE_YEARS, -THREE_YEARS, THREE_YEARS, 0]) {
        jumping.set(days);
        await world.periods(options.periods / 4);
      }
      await world.periods(2);
      await world.untilGood(2);
    } finally {
      await world.stop();
      await close();
    }
  },
};

export const CLOCK_SCENARIOS: readonly Scenario[] = [withServer, withoutServer];
