import type { Parameters } from "fast-check";

/** Seed of this run: `DECANT_TEST_SEED` repeats one, and each run prints its own. */
export const SEED: number = Number(process.env.DECANT_TEST_SEED ?? Math.floor(Math.random() * 0x7fff_ffff));

console.info(`DECANT_TEST_SEED=${SEED}`);

/** Settings of one property: so many runs, of which the first failure is shrunk for half a minute at the most. */
export function runsOf<T>(numRuns: number): Parameters<T> {
  return { seed: SEED, numRuns, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: false };
}
