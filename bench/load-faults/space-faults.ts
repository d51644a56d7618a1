import { setTimeout as sleep } from "node:timers/promises";
import { openSpaces, type Space } from "./spaces.ts";
import type { EngineName } from "./targets.ts";
import { emptyTally, type Tally, Trial, type TrialRow } from "./trial.ts";

/** How much of what it needs a load finds. */
const SHARES = { least: 0.05, most: 0.95 };

/** What a load needs that nothing disturbs. */
interface Undisturbed {
  readonly ms: number;
  /** The most that was in use at one time. */
  readonly bytes: number;
  readonly contents: string;
}

/** Rounds for each kind of space that a load into an engine needs: it comes to its end at a random moment, and then there is more. */
export async function* spaceTrials(name: EngineName, rounds: number, ordinary: Trial): AsyncGenerator<TrialRow> {
  for (const open of openSpaces(name)) {
    const space = await open();
    const trial = space.timesLarger === undefined ? ordinary : await Trial.of(ordinary.files * space.timesLarger);
    try {
      const tally = emptyTally();
      const shares = Array.from({ length: rounds }, () => SHARES.least + Math.random() * (SHARES.most - SHARES.least));
      await spaceRounds(space, trial, shares, tally);
      yield { fault: space.fault, tally };
    } finally {
      await space.close();
    }
  }
}

async function measure(space: Space, trial: Trial): Promise<Undisturbed> {
  const url = await space.fresh();
  const before = await space.used();
  const begun = performance.now();
  const load = trial.start(url, space.options);
  let hasEnded = false;
  const ended = load.ended.finally(() => {
    hasEnded = true;
  });
  let most = before;
  while (!hasEnded) {
    most = Math.max(most, await space.used());
    await sleep(10);
  }
  const { code, err } = await ended;
  if (code !== 0) throw new Error(`The load ended with ${code}: ${err}`);
  const ms = performance.now() - begun;
  const bytes = Math.max(most, await space.used()) - before;
  if (bytes === 0) throw new Error(`The load needs nothing of what shall be used up: ${space.fault}`);
  return { ms, bytes, contents: await trial.contents(url) };
}

/** Loads that find these shares of the space that they need, each gone on with when there is more. */
export async function spaceRounds(space: Space, trial: Trial, shares: readonly number[], tally: Tally): Promise<void> {
  const { ms, bytes, contents } = await measure(space, trial);
  for (const share of shares) {
    const url = await space.fresh();
    tally.rounds++;
    await space.leave(bytes, share);
    const load = trial.start(url, space.options);
    const filled = space.fill?.(share * ms);
    const end = await trial.endOf(load, tally);
    await filled;
    if (end !== undefined && end.code !== 0 && !space.says.test(end.err))
      tally.violations.push(`load does not say what is full: ${end.err}`);
    await space.relieve();
    await trial.goOn(url, contents, tally, space.options);
  }
}
