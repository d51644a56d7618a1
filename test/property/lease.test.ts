import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BackupLease } from "../../src/agent/lease.ts";
import type { LeaseHold } from "../../src/agent/lease-hold.ts";
import { type LeaseValue, parseLease } from "../../src/agent/lease-value.ts";
import { DecantError } from "../../src/base/errors.ts";
import { BACKUP_LEASE_XATTR, LAST_BACKUP_XATTR } from "../../src/volume/backup-xattrs.ts";
import { SimulatedStore, type Transit } from "../support/simulated-store.ts";
import { Machine, SimulatedTime } from "../support/simulated-time.ts";
import { runsOf } from "./runs.ts";

const DURATION_MS = 60_000;
const END_MS = 20 * DURATION_MS;
/** Clocks may run apart by less than a half: the slowest observer waits longer than the fastest holder counts on. */
const [SLOWEST, FASTEST] = [0.85, 1.15];
const never = new AbortController().signal;

/** Numbers from 0 to 1 that a seed decides. */
function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** What agents found out of their fenced swaps. */
interface Claim {
  readonly stamp: string;
  readonly hold: LeaseHold;
  readonly answer: boolean;
}

interface World {
  readonly random: () => number;
  readonly time: SimulatedTime;
  readonly store: SimulatedStore;
  readonly claims: Claim[];
  readonly agents: Agent[];
  stamps: number;
}

/** One process: takes the lease, works under it for a while, gives it back or not, begins again. */
class Agent {
  readonly machine: Machine;
  hold: LeaseHold | undefined;
  readonly #world: World;
  readonly #lease: BackupLease;

  constructor(world: World) {
    const { random, time, store } = world;
    this.#world = world;
    this.machine = new Machine(time, {
      rate: SLOWEST + random() * (FASTEST - SLOWEST),
      startMs: random() * 1e9,
      skewMs: (random() - 0.5) * 1e10,
    });
    this.#lease = new BackupLease({
      store: store.seenFrom(this.machine),
      clock: this.machine,
      holder: "agent", // all have the same name, as copies of one machine have
      durationMs: DURATION_MS,
    });
  }

  async run(): Promise<void> {
    for (;;) {
      try {
        this.hold = await this.#lease.acquire(never);
        await this.#work(this.hold);
        if (this.#world.random() < 0.7) await this.hold.release(never);
      } catch (error) {
        if (!(error instanceof DecantError)) throw error;
      }
      await this.machine.sleep(this.#world.random() * DURATION_MS, never);
    }
  }

  async #work(hold: LeaseHold): Promise<void> {
    const { random, store, claims } = this.#world;
    const rounds = Math.floor(random() * 6);
    for (let i = 0; i < rounds; i++) {
      await this.machine.sleep(random() * DURATION_MS, hold.lost);
      if (random() < 0.2) await hold.checkFence(never);
      const stamp = `${this.#world.stamps++}`;
      const guessed = store.attributes.get(LAST_BACKUP_XATTR); // what a read would give; others may change it meanwhile
      const answer = await hold.swapFenced(
        {
          expected: new Map([[LAST_BACKUP_XATTR, random() < 0.1 ? Buffer.from("another") : guessed]]),
          values: new Map([[LAST_BACKUP_XATTR, Buffer.from(stamp)]]),
          work: { state: "backing-up", stamp, attempt: 1 },
        },
        random() < 0.05 ? AbortSignal.any([hold.lost, this.#soon()]) : never,
      );
      claims.push({ stamp, hold, answer });
    }
  }

  #soon(): AbortSignal {
    const controller = new AbortController();
    this.machine.after(this.#world.random() * 100, () => controller.abort(new DecantError("DECANT_E_TEST", "Enough")));
    return controller.signal;
  }
}

function newWorld(seed: number, agents: number, trouble: number): World {
  const random = randomFrom(seed);
  const time = new SimulatedTime();
  const transit = (): Transit => {
    const slow = random() < trouble * 0.1 ? DURATION_MS : 50;
    const way = { thereMs: random() * slow, backMs: random() * slow };
    if (random() >= trouble) return way;
    // Broken before the request arrives, or long after: then it is executed when nobody waits for it any more.
    return { ...way, lost: random() < 0.5 ? "request" : "answer", brokenAfterMs: random() * 3 * slow };
  };
  const world: World = {
    random,
    time,
    store: new SimulatedStore(time, transit),
    claims: [],
    agents: [],
    stamps: 0,
  };
  for (let i = 0; i < agents; i++) startAgent(world);
  return world;
}

function startAgent(world: World): void {
  const agent = new Agent(world);
  world.agents.push(agent);
  void agent.run();
}

/** Clients that write `lastBackup` as they like, processes that are paused or die and are started again. */
function scheduleTrouble(world: World): void {
  const { random, time, store, agents } = world;
  for (let atMs = 0; atMs < END_MS; atMs += random() * DURATION_MS) {
    time.at(atMs, () => {
      const agent = agents[Math.floor(random() * agents.length)]!;
      const dice = random();
      if (dice < 0.25) agent.machine.pause(random() * 2 * DURATION_MS);
      else if (dice < 0.35 && !agent.machine.isCrashed) {
        agent.machine.isCrashed = true;
        time.at(time.nowMs + random() * 3 * DURATION_MS, () => startAgent(world));
      } else if (dice < 0.4) {
        store.attributes = new Map([...store.attributes, [LAST_BACKUP_XATTR, Buffer.from(`client at ${atMs}`)]]);
      }
    });
  }
}

function leaseOf(attributes: ReadonlyMap<string, Buffer>): LeaseValue | undefined {
  const bytes = attributes.get(BACKUP_LEASE_XATTR);
  return bytes && parseLease(bytes);
}

function isSameHold(a: LeaseValue | undefined, b: LeaseValue | undefined): boolean {
  return a !== undefined && b !== undefined && a.instance === b.instance && a.token === b.token;
}

/** How often the database was changed in which way. */
function checkHistory({ store, claims }: World): { holds: number; stamps: number } {
  const stampsStored = new Map<string, LeaseValue>();
  let holds = 0;
  for (const { before, after } of store.applied) {
    const [was, is] = [leaseOf(before), leaseOf(after)!];
    if (isSameHold(was, is)) expect(is.renewal).toBeGreaterThan(was!.renewal);
    else {
      holds++;
      expect(is.token).toBeGreaterThan(was?.token ?? 0);
    }
    const stamp = after.get(LAST_BACKUP_XATTR);
    if (stamp === undefined || before.get(LAST_BACKUP_XATTR)?.equals(stamp) === true) continue;
    expect(isSameHold(was, is)).toBe(true); // only who already had it at that moment
    expect(stampsStored.has(stamp.toString())).toBe(false);
    expect(is.work).toEqual({ state: "backing-up", stamp: stamp.toString(), attempt: 1 });
    stampsStored.set(stamp.toString(), is);
  }
  for (const { stamp, hold, answer } of claims) {
    expect(stampsStored.has(stamp)).toBe(answer);
    if (answer) expect(stampsStored.get(stamp)!.token).toBe(hold.token);
  }
  return { holds, stamps: stampsStored.size };
}

describe("the lease of backup agents, however they are paused, killed and cut off", () => {
  const troubles = fc.record({
    seed: fc.integer(),
    agents: fc.integer({ min: 2, max: 5 }),
    trouble: fc.constantFrom(0, 0.02, 0.2),
  });

  test("is never held by two, its tokens grow, and no holder of before can store anything", async () => {
    const totals = { holds: 0, stamps: 0 };
    await fc.assert(
      fc.asyncProperty(troubles, async ({ seed, agents, trouble }) => {
        const world = newWorld(seed, agents, trouble);
        scheduleTrouble(world);
        await world.time.runUntil(END_MS, () => {
          const holders = world.agents.filter(({ machine, hold }) => machine.isRunning && hold?.isHeld() === true);
          expect(holders.length).toBeLessThanOrEqual(1);
        });
        const { holds, stamps } = checkHistory(world);
        totals.holds += holds;
        totals.stamps += stamps;
      }),
      runsOf(60),
    );
    // Else there was nothing to see.
    expect(totals.holds).toBeGreaterThan(200);
    expect(totals.stamps).toBeGreaterThan(200);
  });
});
