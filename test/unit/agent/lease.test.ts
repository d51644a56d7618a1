import { describe, expect, test } from "vitest";
import { BackupLease } from "../../../src/agent/lease.ts";
import type { LeaseHold } from "../../../src/agent/lease-hold.ts";
import { type LeaseValue, parseLease } from "../../../src/agent/lease-value.ts";
import { ConflictError, EngineError, InternalError, UsageError } from "../../../src/base/errors.ts";
import { BACKUP_LEASE_XATTR, LAST_BACKUP_XATTR } from "../../../src/volume/backup-xattrs.ts";
import { SimulatedStore, type Transit } from "../../support/simulated-store.ts";
import { Machine, SimulatedTime } from "../../support/simulated-time.ts";

const DURATION_MS = 60_000;
const never = new AbortController().signal;
const PROMPT: Transit = { thereMs: 10, backMs: 10 };

/** A database and agents, each on a machine of its own whose clock began with something else. */
class World {
  readonly time = new SimulatedTime();
  /** What happens to the next requests; prompt ones after that. */
  readonly transits: Transit[] = [];
  readonly store: SimulatedStore = new SimulatedStore(this.time, () => this.transits.shift() ?? PROMPT);
  readonly #machines: Machine[] = [];

  agent(holder: string): { lease: BackupLease; machine: Machine } {
    const machine = new Machine(this.time, { startMs: 1e6 * this.#machines.length, skewMs: -1e9 });
    this.#machines.push(machine);
    const store = this.store.seenFrom(machine);
    return { machine, lease: new BackupLease({ store, clock: machine, holder, durationMs: DURATION_MS }) };
  }

  /** Lets time pass until `work` has an outcome, for a day at the most. */
  async outcome<T>(work: Promise<T>): Promise<T> {
    let isSettled = false;
    const settled = work.finally(() => (isSettled = true));
    settled.catch(() => undefined);
    for (let i = 0; !isSettled && i < 86_400; i++) await this.time.runUntil(this.time.nowMs + 1000);
    return settled;
  }

  async pass(ms: number): Promise<void> {
    await this.time.runUntil(this.time.nowMs + ms);
  }

  get stored(): LeaseValue | undefined {
    const bytes = this.store.attributes.get(BACKUP_LEASE_XATTR);
    return bytes && parseLease(bytes);
  }

  get lastBackup(): string | undefined {
    return this.store.attributes.get(LAST_BACKUP_XATTR)?.toString();
  }

  set(name: string, value: string | undefined): void {
    const attributes = new Map(this.store.attributes);
    if (value === undefined) attributes.delete(name);
    else attributes.set(name, Buffer.from(value));
    this.store.attributes = attributes;
  }
}

function stamp(hold: LeaseHold, before: string | undefined, after: string): Promise<boolean> {
  return hold.swapFenced(
    {
      expected: new Map([[LAST_BACKUP_XATTR, before === undefined ? undefined : Buffer.from(before)]]),
      values: new Map([[LAST_BACKUP_XATTR, Buffer.from(after)]]),
      work: { state: "backing-up", stamp: after, attempt: 1 },
    },
    never,
  );
}

describe("the lease of backup agents", () => {
  test("is taken where there is none, renewed every third of its duration, and given back", async () => {
    const world = new World();
    const { lease } = world.agent("one:1");
    const hold = (await world.outcome(lease.tryAcquire(never)))!;
    expect(world.stored).toMatchObject({ holder: "one:1", token: 1, durationMs: DURATION_MS, work: { state: "idle" } });
    expect([hold.token, hold.isHeld(), hold.unfinished, hold.lost.aborted]).toEqual([1, true, undefined, false]);
    const before = world.store.applied.length;
    await world.pass(10 * DURATION_MS);
    expect(world.store.applied.length - before).toBe(30);
    expect(hold.isHeld()).toBe(true);
    expect(await world.outcome(hold.release(never))).toBe(true);
    expect([hold.isHeld(), world.stored?.holder, world.stored?.token]).toEqual([false, undefined, 1]);
    const after = world.store.applied.length;
    await world.pass(2 * DURATION_MS);
    expect(world.store.applied).toHaveLength(after);
  });

  test("is not given to others while it is held, and at once when it was given back", async () => {
    const world = new World();
    const [one, two] = [world.agent("one"), world.agent("two")];
    const hold = (await world.outcome(one.lease.tryAcquire(never)))!;
    for (let i = 0; i < 10; i++) {
      expect(await world.outcome(two.lease.tryAcquire(never))).toBeUndefined();
      await world.pass(DURATION_MS / 2);
    }
    await world.outcome(hold.release(never));
    const next = (await world.outcome(two.lease.tryAcquire(never)))!;
    expect([next.token, next.unfinished]).toEqual([2, undefined]);
  });

  test("is taken over from a holder that died, with the backup that it was making", async () => {
    const world = new World();
    const [one, two] = [world.agent("one"), world.agent("two")];
    const hold = (await world.outcome(one.lease.tryAcquire(never)))!;
    expect(await world.outcome(stamp(hold, undefined, "2026-11-27T04:00:00Z"))).toBe(true);
    await world.pass(DURATION_MS);
    one.machine.isCrashed = true;
    const diedAtMs = world.time.nowMs;
    const next = await world.outcome(two.lease.acquire(never));
    expect(next.token).toBe(2);
    expect(next.unfinished).toEqual({ state: "backing-up", stamp: "2026-11-27T04:00:00Z", attempt: 1, holder: "one" });
    expect(world.stored?.work).toEqual({ state: "backing-up", stamp: "2026-11-27T04:00:00Z", attempt: 1 });
    const waitedMs = world.time.nowMs - diedAtMs;
    expect(waitedMs).toBeGreaterThan((DURATION_MS * 2) / 3);
    expect(waitedMs).toBeLessThan(2 * DURATION_MS);
  });

  test("is lost by a holder that was paused, which can store nothing any more and says why", async () => {
    const world = new World();
    const [one, two] = [world.agent("one"), world.agent("two")];
    const hold = (await world.outcome(one.lease.tryAcquire(never)))!;
    one.machine.pause(10 * DURATION_MS);
    const next = await world.outcome(two.lease.acquire(never));
    expect(await world.outcome(stamp(next, undefined, "of two"))).toBe(true);
    await world.pass(10 * DURATION_MS);
    expect([hold.isHeld(), hold.lost.aborted, next.isHeld()]).toEqual([false, true, true]);
    expect(hold.lost.reason).toBeInstanceOf(ConflictError);
    const failure = await world.outcome(stamp(hold, "of two", "of one")).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "DECANT_E_LEASE_LOST" });
    await expect(world.outcome(hold.checkFence(never))).rejects.toThrow("lease for backups of the volume is lost");
    expect(world.lastBackup).toBe("of two");
  });

  test("is lost in the database although the clock says nothing, when somebody else has stored a lease", async () => {
    const world = new World();
    const hold = (await world.outcome(world.agent("one").lease.tryAcquire(never)))!;
    world.set(BACKUP_LEASE_XATTR, undefined);
    const next = (await world.outcome(world.agent("two").lease.tryAcquire(never)))!;
    await expect(world.outcome(stamp(hold, undefined, "of one"))).rejects.toThrow("is lost: two has taken it");
    expect(hold.isHeld()).toBe(false);
    expect([next.isHeld(), world.lastBackup]).toEqual([true, undefined]);
  });

  test("is lost when it was removed, as by a dump of before that was loaded", async () => {
    const world = new World();
    const hold = (await world.outcome(world.agent("one").lease.tryAcquire(never)))!;
    world.set(BACKUP_LEASE_XATTR, undefined);
    await expect(world.outcome(hold.checkFence(never))).rejects.toThrow("is lost: somebody removed it");
  });

  test("ends for its holder after two thirds of the duration when the database does not answer", async () => {
    const world = new World();
    const { lease } = world.agent("one");
    const takenAtMs = world.time.nowMs;
    const hold = (await world.outcome(lease.tryAcquire(never)))!;
    for (let i = 0; i < 1000; i++) world.transits.push({ ...PROMPT, lost: "request" });
    let lostAtMs: number | undefined;
    hold.lost.addEventListener("abort", () => (lostAtMs = world.time.nowMs));
    await world.pass(DURATION_MS);
    expect(lostAtMs).toBeGreaterThanOrEqual(takenAtMs + (DURATION_MS * 2) / 3);
    expect(lostAtMs).toBeLessThan(takenAtMs + (DURATION_MS * 2) / 3 + 2000);
    expect((hold.lost.reason as Error).message).toMatch(
      /could not be renewed for 40\.0 seconds \(The connection was cut\)$/,
    );
    // The same process need not wait: what is stored is its own, so nobody else has had it.
    world.transits.length = 0;
    expect((await world.outcome(lease.tryAcquire(never)))!.token).toBe(2);
    await expect(world.outcome(stamp(hold, undefined, "of before"))).rejects.toThrow(ConflictError);
  });

  test("knows of a swap whose answer was lost whether it was stored", async () => {
    const world = new World();
    const hold = (await world.outcome(world.agent("one").lease.tryAcquire(never)))!;
    world.transits.push({ ...PROMPT, lost: "answer" });
    expect(await world.outcome(stamp(hold, undefined, "1"))).toBe(true);
    world.transits.push({ ...PROMPT, lost: "request" });
    expect(await world.outcome(stamp(hold, "1", "2"))).toBe(true);
    // Stored only when the second request is on its way already.
    world.transits.push({ thereMs: 5000, backMs: 0, lost: "answer", brokenAfterMs: 10 });
    expect(await world.outcome(stamp(hold, "2", "3"))).toBe(true);
    await world.pass(10_000);
    expect([world.lastBackup, hold.isHeld()]).toEqual(["3", true]);
    expect(
      world.store.applied.filter(({ before, after }) => before.get("lastBackup") !== after.get("lastBackup")),
    ).toHaveLength(3);
  });

  test("says false only when a request without answer can never be stored", async () => {
    const world = new World();
    const hold = (await world.outcome(world.agent("one").lease.tryAcquire(never)))!;
    world.set(LAST_BACKUP_XATTR, "1");
    // On its way for long; meanwhile a client stores something else, and then the old value again.
    world.transits.push({ thereMs: 8000, backMs: 0, lost: "answer", brokenAfterMs: 10 });
    const answer = stamp(hold, "1", "2");
    world.time.at(world.time.nowMs + 100, () => world.set(LAST_BACKUP_XATTR, "of a client"));
    world.time.at(world.time.nowMs + 5000, () => world.set(LAST_BACKUP_XATTR, "1"));
    expect(await world.outcome(answer)).toBe(false);
    await world.pass(20_000);
    expect([world.lastBackup, hold.isHeld()]).toEqual(["1", true]);
  });

  test("recognises what it stored for a call that was aborted", async () => {
    const world = new World();
    const hold = (await world.outcome(world.agent("one").lease.tryAcquire(never)))!;
    const controller = new AbortController();
    world.time.at(world.time.nowMs + 15, () => controller.abort(new Error("enough")));
    await expect(world.outcome(hold.renew(controller.signal))).rejects.toThrow("enough");
    expect(await world.outcome(stamp(hold, undefined, "1"))).toBe(true);
    expect([world.lastBackup, hold.isHeld()]).toEqual(["1", true]);
  });

  test("recognises the lease that it took without learning it, and goes on counting", async () => {
    const world = new World();
    const { lease } = world.agent("one");
    world.transits.push(PROMPT, { ...PROMPT, lost: "answer" });
    await expect(world.outcome(lease.tryAcquire(never))).rejects.toThrow(EngineError);
    expect(world.stored?.token).toBe(1);
    expect((await world.outcome(lease.tryAcquire(never)))!.token).toBe(2);
  });

  test("is free from the moment on when it is given back, also when nobody says that it was stored", async () => {
    const world = new World();
    const [one, two] = [world.agent("one"), world.agent("two")];
    const hold = (await world.outcome(one.lease.tryAcquire(never)))!;
    world.transits.push({ ...PROMPT, lost: "answer", brokenAfterMs: 20_000 });
    const released = hold.release(never);
    await world.pass(100);
    const next = (await world.outcome(two.lease.tryAcquire(never)))!;
    expect([hold.isHeld(), next.isHeld()]).toEqual([false, true]);
    expect(await world.outcome(released)).toBe(false);
    expect(next.isHeld()).toBe(true);
  });

  test("takes what is no lease for dead when it does not change", async () => {
    for (const text of ["", "none", "null", '{"token":0}', '{"holder":"x","token":1,"durationMs":1e300}']) {
      const world = new World();
      world.set(BACKUP_LEASE_XATTR, text);
      const { lease } = world.agent("one");
      expect(await world.outcome(lease.tryAcquire(never))).toBeUndefined();
      await world.pass(DURATION_MS + 1);
      expect((await world.outcome(lease.tryAcquire(never)))!.token).toBe(1);
    }
  });

  test("of a later version is respected by the members that all versions have", async () => {
    const world = new World();
    world.set(BACKUP_LEASE_XATTR, '{"version":2,"holder":"x","token":7,"durationMs":120000,"state":"resting"}');
    const { lease } = world.agent("one");
    expect(await world.outcome(lease.tryAcquire(never))).toBeUndefined();
    await world.pass(118_000);
    expect(await world.outcome(lease.tryAcquire(never))).toBeUndefined();
    await world.pass(2000);
    expect((await world.outcome(lease.tryAcquire(never)))!.token).toBe(8);
  });

  test("is asked for in vain by who has it, and not given for a duration that is none", async () => {
    const world = new World();
    const { lease, machine } = world.agent("one");
    await world.outcome(lease.tryAcquire(never));
    await expect(lease.tryAcquire(never)).rejects.toThrow(InternalError);
    const options = { store: world.store.seenFrom(machine), clock: machine, holder: "x" };
    for (const durationMs of [0, -1, 0.5, Number.NaN, 86_400_001]) {
      expect(() => new BackupLease({ ...options, durationMs })).toThrow(UsageError);
    }
  });

  test("waits no longer when it is told to stop", async () => {
    const world = new World();
    await world.outcome(world.agent("one").lease.tryAcquire(never));
    const controller = new AbortController();
    world.time.at(world.time.nowMs + 500, () => controller.abort(new Error("enough")));
    await expect(world.outcome(world.agent("two").lease.acquire(controller.signal))).rejects.toThrow("enough");
  });
});
