import { setTimeout as sleep } from "node:timers/promises";
import type { RunningDecant } from "../../test/support/running-decant.ts";
import { type EngineName, type FaultTarget, openTarget } from "./targets.ts";
import { emptyTally, type Tally, type Trial, type TrialRow } from "./trial.ts";

/** Nothing is written before. */
const STARTING_MS = 200;
/** So many rounds for each that is wanted. */
const MOST_ROUNDS = 3;

type Kill = (load: RunningDecant, target: FaultTarget) => Promise<void>;

const killLoad: Kill = async (load) => load.kill("SIGKILL");
const killServer: Kill = (_, target) => target.restart!();

/** So many loads that are killed, and so many whose server is, where there is one. */
export async function* killTrials(
  name: EngineName,
  { kills, restarts }: { readonly kills: number; readonly restarts: number },
  trial: Trial,
): AsyncGenerator<TrialRow> {
  const target = await openTarget(name);
  try {
    const url = await target.fresh();
    const begun = performance.now();
    await trial.load(url);
    const ms = performance.now() - begun;
    const expected = await trial.contents(url);
    const faults: [string, number, Kill][] = [["kill -9 of decant", kills, killLoad]];
    if (target.restart !== undefined) faults.push(["kill -9 of the server", restarts, killServer]);
    for (const [fault, count, kill] of faults) {
      if (count === 0) continue;
      const tally = emptyTally();
      let span = ms;
      // What ended before its fault counts for nothing: until so many were hit, or it is plain that few can be.
      for (let i = 0; tally.rounds - tally.tooLate < count && i < count * MOST_ROUNDS; i++) {
        const { tooLate } = tally;
        await killRound({ trial, target, ms: span, expected, kill }, tally);
        span = tally.tooLate > tooLate ? Math.max(STARTING_MS + 50, span * 0.95) : Math.min(ms, span * 1.02);
      }
      yield { fault, tally };
    }
  } finally {
    await target.close();
  }
}

interface KillRound {
  readonly trial: Trial;
  readonly target: FaultTarget;
  /** How long a load takes. */
  readonly ms: number;
  readonly expected: string;
  readonly kill: Kill;
}

/** One load that is killed at a random moment, gone on with until it ends. */
async function killRound({ trial, target, ms, expected, kill }: KillRound, tally: Tally): Promise<void> {
  const url = await target.fresh();
  if ((await trial.decant("status", url)).code !== 4) throw new Error(`${url} is not empty`);
  tally.rounds++;
  // every third one is killed a second time
  for (let times = Math.random() < 1 / 3 ? 2 : 1; times > 0; times--) {
    const load = trial.start(url);
    await sleep(STARTING_MS + Math.random() * (ms - STARTING_MS));
    await kill(load, target);
    await load.ended;
  }
  await trial.goOn(url, expected, tally);
}
