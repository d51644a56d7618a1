import { setTimeout as sleep } from "node:timers/promises";
import type { RunningDecant } from "../../test/support/running-decant.ts";
import { UnsteadyNetwork } from "../../test/support/unsteady-network.ts";
import { type EngineName, type FaultTarget, openTarget } from "./targets.ts";
import { emptyTally, type Tally, type Trial, type TrialRow } from "./trial.ts";

export const NETWORK_ENGINES: readonly EngineName[] = ["redis", "postgres", "mariadb", "etcd", "tikv"];

/** Longer than decant waits for an answer of any engine that it does not wait for without end. */
const LONG_STALL_MS = 35_000;
const MAX_SHORT_MS = 5_000;
const SLOW_BYTES = { least: 200_000, most: 1_000_000 };
const MAX_SEGMENT_BYTES = 7;
/** How much passes in tiny segments. */
const SEGMENTED_BYTES = 200_000;

export interface NetworkRound {
  readonly network: UnsteadyNetwork;
  /** What passes in a load that is not disturbed. */
  readonly bytes: number;
  readonly load: RunningDecant;
}

interface NetworkFault {
  readonly text: string;
  /** Called when a load begins; true when the load has to outlive it. */
  readonly begin: (round: NetworkRound) => boolean;
}

const chance = (share: number): boolean => Math.random() < share;

const FAULTS: readonly NetworkFault[] = [
  {
    text: "the network is cut",
    begin: (round) => {
      round.network.after(Math.random() * round.bytes, () => void cut(round));
      return false;
    },
  },
  {
    text: "the network stands still",
    begin: (round) => {
      round.network.after(Math.random() * round.bytes, () => void stall(round));
      return false;
    },
  },
  { text: "the network is slow", begin: slow },
];

/** Everybody or only decant sees it, for some seconds or until the load has given up. */
async function cut({ network, load }: NetworkRound): Promise<void> {
  if (chance(1 / 2)) network.cut();
  else network.lose();
  const isOver = await isStillRunningAfter(chance(1 / 4) ? undefined : Math.random() * MAX_SHORT_MS, load);
  if (isOver) network.mend();
}

async function stall(round: NetworkRound): Promise<void> {
  round.network.stall();
  const isOver = await isStillRunningAfter(chance(1 / 5) ? LONG_STALL_MS : Math.random() * MAX_SHORT_MS, round.load);
  if (!isOver) return;
  const goesOn = chance(1 / 2);
  if (!goesOn) void cut(round);
  else round.network.mend();
}

/** Slow for its whole time, or in tiny segments for a while; half of the time it is cut then. */
function slow(round: NetworkRound): boolean {
  const { network, bytes } = round;
  const isCut = chance(1 / 2);
  if (chance(1 / 2)) {
    const { least, most } = SLOW_BYTES;
    network.slow({ bytesPerSecond: least + Math.random() * (most - least) });
    if (isCut) network.after(Math.random() * bytes, () => void cut(round));
  } else {
    network.after(Math.random() * bytes, () => {
      network.slow({ segmentBytes: 1 + Math.floor(Math.random() * MAX_SEGMENT_BYTES) });
      network.after(SEGMENTED_BYTES * Math.random(), () => (isCut ? void cut(round) : network.mend()));
    });
  }
  return !isCut;
}

/** False when the load has ended before; without a time, that is waited for. */
async function isStillRunningAfter(ms: number | undefined, load: RunningDecant): Promise<boolean> {
  const stop = new AbortController();
  const waiting = ms === undefined ? [] : [sleep(ms, true, { signal: stop.signal }).catch(() => false)];
  const isRunning = await Promise.race([...waiting, load.ended.then(() => false)]);
  stop.abort();
  return isRunning;
}

/** Servers of an engine behind a network. */
export class NetworkTarget {
  readonly network: UnsteadyNetwork = new UnsteadyNetwork();
  readonly #name: EngineName;
  readonly #trial: Trial;
  #target: FaultTarget | undefined;
  #bytes = 0;
  #expected = "";

  private constructor(name: EngineName, trial: Trial) {
    this.#name = name;
    this.#trial = trial;
  }

  /** Also loads once without any fault, for the sake of comparison. */
  static async open(name: EngineName, trial: Trial): Promise<NetworkTarget> {
    const target = new NetworkTarget(name, trial);
    try {
      target.#target = await openTarget(name, target.network);
      const url = await target.#target.fresh();
      await trial.load(await target.#through(url));
      target.#bytes = target.network.passed;
      target.#expected = await trial.contents(url);
      return target;
    } catch (error) {
      await target.close();
      throw error;
    }
  }

  /** One load during which `begin` lets something happen, gone on with until it ends. */
  async round(begin: NetworkFault["begin"], tally: Tally): Promise<void> {
    const url = await this.#target!.fresh();
    tally.rounds++;
    const load = this.#trial.start(await this.#through(url));
    const outlives = begin({ network: this.network, bytes: this.#bytes, load });
    const end = await this.#trial.endOf(load, tally);
    this.network.mend();
    if (outlives && end !== undefined && end.code !== 0)
      tally.violations.push(`load ended with ${end.code}: ${end.err}`);
    await this.#trial.goOn(chance(1 / 2) ? url : await this.#through(url), this.#expected, tally);
  }

  async close(): Promise<void> {
    this.network.close();
    await this.#target?.close();
  }

  /** Clients of TiKV know no other addresses. */
  async #through(url: string): Promise<string> {
    return this.#name === "tikv" ? url : this.network.addressBefore(url);
  }
}

/** Rounds of each fault of the network before the servers of an engine. */
export async function* networkTrials(name: EngineName, rounds: number, trial: Trial): AsyncGenerator<TrialRow> {
  const target = await NetworkTarget.open(name, trial);
  try {
    for (const { text, begin } of FAULTS) {
      const tally = emptyTally();
      for (let i = 0; i < rounds; i++) await target.round(begin, tally);
      yield { fault: text, tally };
    }
  } finally {
    await target.close();
  }
}
