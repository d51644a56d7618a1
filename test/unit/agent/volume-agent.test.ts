import { describe, expect, test } from "vitest";
import { parseLease } from "../../../src/agent/lease-value.ts";
import { healthOf } from "../../../src/agent/volume-status.ts";
import { Gate } from "../../../src/base/gate.ts";
import { BACKUP_LEASE_XATTR } from "../../../src/volume/backup-xattrs.ts";
import {
  LEASE_MS,
  Machine,
  runReferenceClient,
  type SimulatedAgent,
  SimulatedVolume,
  startAgent,
  World,
} from "./simulation.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

function machines(world: World, count: number): Machine[] {
  return Array.from({ length: count }, (_, i) => new Machine(`host${i + 1}`, world));
}

function kinds({ outcomes }: SimulatedAgent): string[] {
  return outcomes.map(({ kind }) => kind).filter((kind) => kind !== "not-due");
}

function leaseOf(volume: SimulatedVolume) {
  return parseLease(volume.attributes.get(BACKUP_LEASE_XATTR)!);
}

describe("agents that share a volume", () => {
  test.each([1, 2, 5])(
    "%i of them make exactly one backup per period, for three days, never two at a time",
    async (count) => {
      const [world, volume] = [new World(count), new SimulatedVolume()];
      const agents = machines(world, count).map((machine) => startAgent(machine, volume, { intervalMs: HOUR }));
      await world.pass(3 * DAY);
      expect(volume.mostAtOnce).toBe(1);
      expect(volume.backups.every(({ good }) => good)).toBe(true);
      expect(Math.min(...volume.gaps)).toBeGreaterThanOrEqual(3600);
      expect(Math.max(...volume.gaps)).toBeLessThan(3600 * 1.11);
      expect(volume.pruned).toBe(volume.backups.length);
      expect(volume.backups.length).toBeGreaterThanOrEqual(64);
      for (const agent of agents) expect(kinds(agent).filter((kind) => kind !== "made" && kind !== "busy")).toEqual([]);
      expect(leaseOf(volume)).toMatchObject({ holder: undefined, work: { state: "idle" } });
    },
  );

  test("the shortest period wins, also that of a client of the reference", async () => {
    const [world, volume] = [new World(7), new SimulatedVolume()];
    const [first, second, third] = machines(world, 3) as [Machine, Machine, Machine];
    const slow = startAgent(first, volume, { intervalMs: 3 * HOUR });
    const quick = startAgent(second, volume, { intervalMs: HOUR });
    await world.pass(DAY);
    expect(volume.backups.every(({ by }) => by === "host2")).toBe(true);
    expect(kinds(slow)).toEqual([]);
    void runReferenceClient(third, volume, 20 * MINUTE);
    await world.pass(DAY);
    const later = volume.backups.filter(({ time }) => time.getTime() > world.nowMs - DAY + HOUR);
    expect(later.at(-1)!.by).toBe("host3");
    expect(kinds(quick).length).toBeLessThan(26);
    expect(volume.mostAtOnce).toBe(1);
    expect(Math.min(...volume.gaps)).toBeGreaterThanOrEqual(20 * 60);
  });

  test("agents and clients of one period share the work: one backup per period", async () => {
    const [world, volume] = [new World(3), new SimulatedVolume()];
    const all = machines(world, 4);
    for (const machine of all.slice(0, 2)) startAgent(machine, volume, { intervalMs: HOUR });
    for (const machine of all.slice(2)) void runReferenceClient(machine, volume, HOUR);
    await world.pass(3 * DAY);
    expect(volume.mostAtOnce).toBe(1);
    expect(Math.min(...volume.gaps)).toBeGreaterThanOrEqual(3600);
    expect(Math.max(...volume.gaps)).toBeLessThan(3600 * 1.11);
    expect(new Set(volume.backups.map(({ by }) => by)).size).toBe(4);
  });

  test("a client whose backups fail while it keeps setting the stamp does not keep the volume without any", async () => {
    const [world, volume] = [new World(5), new SimulatedVolume()];
    const [first, second] = machines(world, 2) as [Machine, Machine];
    void runReferenceClient(second, volume, HOUR, { failing: true });
    startAgent(first, volume, { intervalMs: HOUR });
    await world.pass(2 * DAY);
    expect(volume.backups.every(({ by }) => by === "host1")).toBe(true);
    expect(Math.max(...volume.gaps)).toBeLessThan(3600 * 1.75);
  });
});

describe("a backup that a client of the reference made", () => {
  test("is read by one of the agents, and so counts as good", async () => {
    const [world, volume] = [new World(79), new SimulatedVolume()];
    const [client, ...rest] = machines(world, 3) as [Machine, ...Machine[]];
    void runReferenceClient(client, volume, HOUR);
    const agents = rest.map((machine) => startAgent(machine, volume, { intervalMs: 2 * HOUR }));
    await world.pass(DAY);
    expect(volume.backups.every(({ by, good }) => by === "host1" && good === true)).toBe(true);
    const lines = agents.flatMap((agent) =>
      agent.lines.filter((line) => line.endsWith("of another client is verified")),
    );
    expect(lines.length).toBe(volume.backups.length);
    for (const { agent, machine } of agents) {
      expect(healthOf(agent.status.read(), machine.now())).toEqual({ healthy: true, reasons: [] });
    }
  });

  test("and is damaged is made again after half a period", async () => {
    const [world, volume] = [new World(83), new SimulatedVolume()];
    const [client, second] = machines(world, 2) as [Machine, Machine];
    volume.spoils = true;
    void runReferenceClient(client, volume, HOUR);
    startAgent(second, volume, { intervalMs: HOUR });
    await world.pass(DAY);
    const good = volume.backups.filter((each) => each.good === true).map(({ time }) => time.getTime());
    for (let i = 1; i < good.length; i++) expect(good[i]! - good[i - 1]!).toBeLessThan(1.8 * HOUR);
    expect(good.length).toBeGreaterThanOrEqual(14);
  });

  test("is left alone when that is not wanted", async () => {
    const [world, volume] = [new World(89), new SimulatedVolume()];
    const [client, second] = machines(world, 2) as [Machine, Machine];
    void runReferenceClient(client, volume, HOUR);
    startAgent(second, volume, { intervalMs: 2 * HOUR, verify: false });
    await world.pass(5 * HOUR);
    expect(volume.backups.every(({ good }) => good === undefined)).toBe(true);
  });
});

describe("the clock of a machine", () => {
  test.each([-30 * MINUTE, -4 * MINUTE, 4 * MINUTE, 30 * MINUTE, 26 * HOUR])(
    "that is %i ms off does not matter where the database has one",
    async (offset) => {
      const [world, volume] = [new World(11), new SimulatedVolume()];
      volume.hasServerClock = true;
      const [first, second] = machines(world, 2) as [Machine, Machine];
      first.clockOffsetMs = offset;
      for (const machine of [first, second]) startAgent(machine, volume, { intervalMs: HOUR });
      await world.pass(2 * DAY);
      expect(Math.min(...volume.gaps)).toBeGreaterThanOrEqual(3600);
      expect(Math.max(...volume.gaps)).toBeLessThan(3600 * 1.11);
      expect(volume.mostAtOnce).toBe(1);
    },
  );

  test("set back by ten hours: the stamp from the future is repaired after a period, and the pace is as before", async () => {
    const [world, volume] = [new World(13), new SimulatedVolume()];
    const [machine] = machines(world, 1) as [Machine];
    const agent = startAgent(machine, volume, { intervalMs: HOUR });
    await world.pass(5 * HOUR);
    machine.clockOffsetMs = -10 * HOUR;
    await world.pass(20 * MINUTE);
    expect(kinds(agent).at(-1)).toBe("useless-stamp");
    expect(agent.lines.at(-1)).toMatch(
      /^warn lastBackup .* is in the future; no client makes backups; it is repaired in/,
    );
    await world.pass(12 * HOUR);
    const done = volume.backups.map(({ doneMs }) => doneMs);
    for (let i = 1; i < done.length; i++) {
      expect(done[i]! - done[i - 1]!).toBeGreaterThanOrEqual(HOUR);
      expect(done[i]! - done[i - 1]!).toBeLessThan(1.11 * HOUR);
    }
    expect(done.length).toBeGreaterThanOrEqual(15);
    expect(agent.agent.status.read().troubles).toEqual([]);
  });

  test("set ahead by ten hours: one backup early, then one per period", async () => {
    const [world, volume] = [new World(17), new SimulatedVolume()];
    const [machine] = machines(world, 1) as [Machine];
    startAgent(machine, volume, { intervalMs: HOUR });
    await world.pass(5 * HOUR);
    const before = volume.backups.length;
    machine.clockOffsetMs = 10 * HOUR;
    await world.pass(5 * HOUR);
    expect(volume.backups.length - before).toBeGreaterThanOrEqual(4);
    expect(volume.backups.length - before).toBeLessThanOrEqual(6);
  });
});

describe("a stamp that cannot be used", () => {
  test("garbage is repaired after a period in which nobody has changed it", async () => {
    const [world, volume] = [new World(19), new SimulatedVolume()];
    volume.stamp = "garbage";
    const [first, second] = machines(world, 2) as [Machine, Machine];
    const agent = startAgent(first, volume, { intervalMs: HOUR });
    void runReferenceClient(second, volume, HOUR);
    await world.pass(65 * MINUTE);
    expect(volume.stamp).toBe("garbage");
    expect(healthOf(agent.agent.status.read(), first.now())).toMatchObject({ healthy: false });
    await world.pass(10 * MINUTE);
    expect(volume.stamp).toMatch(/^2026-11-23T01:/);
    expect(volume.backups.length).toBe(1);
    expect(healthOf(agent.agent.status.read(), first.now())).toEqual({ healthy: true, reasons: [] });
  });

  test("a client whose clock is an hour ahead is not overruled: it changes its stamp in time", async () => {
    const [world, volume] = [new World(23), new SimulatedVolume()];
    const [first, second] = machines(world, 2) as [Machine, Machine];
    second.clockOffsetMs = HOUR;
    void runReferenceClient(second, volume, 30 * MINUTE);
    await world.pass(40 * MINUTE);
    const agent = startAgent(first, volume, { intervalMs: HOUR });
    await world.pass(DAY);
    expect(volume.backups.every(({ by }) => by === "host2")).toBe(true);
    expect(new Set(kinds(agent))).toEqual(new Set(["useless-stamp"]));
  });

  test("on a volume that is too large it is repaired all the same, for those whose period is longer", async () => {
    const [world, volume] = [new World(29), new SimulatedVolume()];
    volume.usedInodes = 2_000_000n;
    volume.stamp = "2099-01-01T00:00:00Z";
    const [first, second] = machines(world, 2) as [Machine, Machine];
    const agent = startAgent(first, volume, { intervalMs: HOUR });
    void runReferenceClient(second, volume, 2 * HOUR);
    await world.pass(3 * HOUR);
    expect(volume.backups.map(({ by }) => by)).toEqual(["host2"]);
    expect(kinds(agent)).toContain("skipped");
    expect(agent.lines).toContain("warn lastBackup is repaired: removed");
  });
});

describe("a backup that fails", () => {
  test("is repeated after 30 s, 60 s, ..., leaves the stamp alone meanwhile, and is told", async () => {
    const [world, volume] = [new World(31), new SimulatedVolume()];
    volume.readOnlyFor.add("host1");
    const [machine] = machines(world, 1) as [Machine];
    const agent = startAgent(machine, volume, { intervalMs: HOUR });
    await world.pass(7 * MINUTE);
    const stamp = volume.stamp;
    expect(agent.outcomes.filter(({ kind }) => kind === "failed").length).toBeGreaterThanOrEqual(1);
    await world.pass(8 * MINUTE);
    const failed = agent.outcomes.filter(({ kind }) => kind === "failed").length;
    expect(failed).toBeGreaterThanOrEqual(4);
    expect(leaseOf(volume)).toMatchObject({ holder: undefined, work: { state: "backing-up", stamp, attempt: failed } });
    expect(volume.stamp).toBe(stamp);
    expect(agent.agent.status.read().failures).toEqual(new Map([["DECANT_E_OBJECT", expect.any(Number)]]));
    expect(healthOf(agent.agent.status.read(), machine.now()).reasons).toEqual(["host1 may not write"]);
    volume.readOnlyFor.clear();
    await world.pass(20 * MINUTE);
    expect(volume.backups.length).toBe(1);
    expect(volume.stamp).not.toBe(stamp);
    expect(healthOf(agent.agent.status.read(), machine.now()).healthy).toBe(true);
    expect(volume.words.map(({ outcome }) => outcome)).toEqual(expect.arrayContaining(["failed", "ok"]));
  });

  test("is made by another agent at its next check", async () => {
    const [world, volume] = [new World(37), new SimulatedVolume()];
    volume.readOnlyFor.add("host1");
    const [first, second] = machines(world, 2) as [Machine, Machine];
    startAgent(first, volume, { intervalMs: HOUR });
    startAgent(second, volume, { intervalMs: HOUR });
    await world.pass(DAY);
    expect(volume.backups.every(({ by }) => by === "host2")).toBe(true);
    expect(Math.max(...volume.gaps)).toBeLessThan(3600 * 1.25);
    expect(volume.mostAtOnce).toBe(1);
  });

  test("before it was begun, as the bucket cannot be reached, keeps nobody else away", async () => {
    const [world, volume] = [new World(107), new SimulatedVolume()];
    const [first, second] = machines(world, 2) as [Machine, Machine];
    volume.hiddenFrom.add("host1");
    const agent = startAgent(first, volume, { intervalMs: HOUR });
    await world.pass(20 * MINUTE);
    expect(volume.stamp).toBeUndefined();
    expect(agent.outcomes.filter(({ kind }) => kind === "failed").length).toBeGreaterThanOrEqual(4);
    expect(agent.agent.status.read()).toMatchObject({
      troubles: [{ kind: "bucket", message: "host1 cannot reach the bucket" }],
      failures: new Map([["DECANT_E_OBJECT", expect.any(Number)]]),
    });
    void runReferenceClient(second, volume, HOUR);
    await world.pass(10 * MINUTE);
    expect(volume.backups.map(({ by }) => by)).toEqual(["host2"]);
  });

  test("does not keep clients of the reference from their own for longer than a period", async () => {
    const [world, volume] = [new World(41), new SimulatedVolume()];
    volume.readOnlyFor.add("host1");
    const [first, second] = machines(world, 2) as [Machine, Machine];
    startAgent(first, volume, { intervalMs: HOUR });
    await world.pass(10 * MINUTE);
    void runReferenceClient(second, volume, HOUR);
    await world.pass(DAY);
    expect(volume.backups.length).toBeGreaterThanOrEqual(10);
    expect(volume.backups.every(({ by }) => by === "host2")).toBe(true);
  });
});

test("a server that does not answer is trouble, and is asked again until it does", async () => {
  const [world, volume] = [new World(97), new SimulatedVolume()];
  const [machine] = machines(world, 1) as [Machine];
  const agent = startAgent(machine, volume, { intervalMs: HOUR });
  volume.hangs = true;
  await world.pass(30 * MINUTE);
  const message = "No answer from database or bucket for 5m0s";
  expect(agent.agent.status.read().troubles).toEqual([{ kind: "database", message }]);
  expect(healthOf(agent.agent.status.read(), machine.now())).toEqual({ healthy: false, reasons: [message] });
  volume.hangs = false;
  await world.pass(10 * MINUTE);
  expect(volume.backups.length).toBe(1);
  expect(healthOf(agent.agent.status.read(), machine.now()).healthy).toBe(true);
});

describe("a machine that dies", () => {
  // Requests of one check that makes a backup, and some of the next ones.
  const points = Array.from({ length: 24 }, (_, i) => i + 1);
  test.each(["before", "after"] as const)(
    "%s any of its requests: the other goes on, and no period is without a backup",
    async (when) => {
      for (const request of points) {
        const [world, volume] = [new World(43), new SimulatedVolume()];
        const [first, second] = machines(world, 2) as [Machine, Machine];
        first.crashAt = { request, when };
        startAgent(first, volume, { intervalMs: HOUR });
        await world.pass(3 * MINUTE);
        const other = startAgent(second, volume, { intervalMs: HOUR });
        await world.pass(DAY);
        const place = `${when} request ${request}`;
        const good = volume.backups.filter((each) => each.good);
        expect(first.isDead, place).toBe(true);
        expect(good.filter(({ by }) => by === "host2").length, place).toBeGreaterThanOrEqual(20);
        const times = good.map(({ time }) => time.getTime()).sort((a, b) => a - b);
        for (let i = 1; i < times.length; i++)
          expect(times[i]! - times[i - 1]!, place).toBeLessThan(1.2 * HOUR + 2 * LEASE_MS);
        expect(volume.mostAtOnce, place).toBe(1);
        expect(
          kinds(other).filter((kind) => kind !== "made" && kind !== "busy"),
          place,
        ).toEqual([]);
        expect(leaseOf(volume), place).toMatchObject({ holder: undefined, work: { state: "idle" } });
      }
    },
  );

  test("in the middle of a backup: the next agent takes it over as soon as the lease is dead", async () => {
    const [world, volume] = [new World(47), new SimulatedVolume()];
    volume.backupMs = 10 * MINUTE;
    const [first, second] = machines(world, 2) as [Machine, Machine];
    startAgent(first, volume, { intervalMs: HOUR });
    await world.pass(10 * MINUTE);
    expect(volume.making).toEqual(new Set(["host1"]));
    first.crash();
    startAgent(second, volume, { intervalMs: HOUR });
    await world.pass(10 * MINUTE);
    expect(volume.making.has("host2")).toBe(true);
    await world.pass(10 * MINUTE);
    expect(volume.backups.map(({ by }) => by)).toEqual(["host2"]);
  });
});

describe("an agent that is stopped", () => {
  test("while it waits ends at once and leaves no timer", async () => {
    const [world, volume] = [new World(53), new SimulatedVolume()];
    const [machine] = machines(world, 1) as [Machine];
    const agent = startAgent(machine, volume, { intervalMs: HOUR });
    await world.pass(30 * MINUTE);
    agent.stop.abort();
    await agent.ended;
    expect(world.sleepers).toBe(0);
  });

  test("during a backup finishes it, cleans up, and gives the lease back", async () => {
    const [world, volume] = [new World(59), new SimulatedVolume()];
    volume.backupMs = 10 * MINUTE;
    const [machine] = machines(world, 1) as [Machine];
    const agent = startAgent(machine, volume, { intervalMs: HOUR });
    await world.pass(10 * MINUTE);
    agent.stop.abort();
    await world.pass(10 * MINUTE);
    await agent.ended;
    expect(volume.backups.length).toBe(1);
    expect(volume.pruned).toBe(1);
    expect(leaseOf(volume)).toMatchObject({ holder: undefined, work: { state: "idle" } });
    expect(world.sleepers).toBe(0);
  });

  test("and told to hurry gives up the backup: nothing is left of it, and the stamp is as it was", async () => {
    const [world, volume] = [new World(61), new SimulatedVolume()];
    volume.backupMs = 10 * MINUTE;
    volume.stamp = "2026-11-22T00:00:00Z";
    const [machine, next] = machines(world, 2) as [Machine, Machine];
    const agent = startAgent(machine, volume, { intervalMs: HOUR });
    await world.pass(10 * MINUTE);
    expect(volume.stamp).toMatch(/^2026-11-23/);
    agent.stop.abort();
    agent.abort.abort();
    await world.pass(1000);
    await agent.ended;
    expect(volume.stamp).toBe("2026-11-22T00:00:00Z");
    expect(volume.backups).toEqual([]);
    expect(leaseOf(volume)).toMatchObject({ holder: undefined, work: { state: "idle" } });
    expect(world.sleepers).toBe(0);
    startAgent(next, volume, { intervalMs: HOUR });
    await world.pass(20 * MINUTE);
    expect(volume.backups.map(({ by }) => by)).toEqual(["host2"]);
  });

  test("while it reads back what it has uploaded removes that too", async () => {
    const [world, volume] = [new World(103), new SimulatedVolume()];
    volume.readBackMs = 10 * MINUTE;
    const [machine] = machines(world, 1) as [Machine];
    const agent = startAgent(machine, volume, { intervalMs: HOUR });
    await world.pass(10 * MINUTE);
    expect(volume.backups.length).toBe(1);
    agent.stop.abort();
    agent.abort.abort();
    await world.pass(1000);
    await agent.ended;
    expect(volume.backups).toEqual([]);
    expect(volume.stamp).toBeUndefined();
  });

  test("when a client has set the stamp meanwhile leaves that alone", async () => {
    const [world, volume] = [new World(67), new SimulatedVolume()];
    volume.backupMs = 10 * MINUTE;
    const [machine] = machines(world, 1) as [Machine];
    const agent = startAgent(machine, volume, { intervalMs: HOUR });
    await world.pass(10 * MINUTE);
    volume.stamp = "2026-11-23T00:09:00+00:00";
    agent.stop.abort();
    agent.abort.abort();
    await world.pass(1000);
    await agent.ended;
    expect(volume.stamp).toBe("2026-11-23T00:09:00+00:00");
  });
});

test("volumes of one process make no more backups at a time than they may, and all get their turn", async () => {
  const world = new World(71);
  const [machine] = machines(world, 1) as [Machine];
  const gate = new Gate(2);
  const volumes = Array.from({ length: 6 }, () => new SimulatedVolume());
  let most = 0;
  for (const volume of volumes) {
    volume.backupMs = 5 * MINUTE;
    startAgent(machine, volume, { intervalMs: HOUR }, gate);
  }
  for (let minute = 0; minute < 60; minute++) {
    await world.pass(MINUTE);
    most = Math.max(most, volumes.filter(({ making }) => making.size > 0).length);
  }
  expect(most).toBe(2);
  expect(volumes.map(({ backups }) => backups.length)).toEqual([1, 1, 1, 1, 1, 1]);
});

test("who had to wait for a place looks again: another agent may have made the backup meanwhile", async () => {
  const [world, volume, slow] = [new World(101), new SimulatedVolume(), new SimulatedVolume()];
  const [first, second] = machines(world, 2) as [Machine, Machine];
  slow.backupMs = 10 * MINUTE;
  const gate = new Gate(1);
  startAgent(first, slow, { intervalMs: HOUR }, gate);
  await world.pass(MINUTE);
  const patient = startAgent(first, volume, { intervalMs: HOUR }, gate);
  await world.pass(2 * MINUTE);
  startAgent(second, volume, { intervalMs: HOUR });
  await world.pass(12 * MINUTE);
  expect(volume.backups.map(({ by }) => by)).toEqual(["host2"]);
  expect(patient.outcomes).toEqual([]);
  await world.pass(10 * MINUTE);
  expect(volume.backups.map(({ by }) => by)).toEqual(["host2"]);
  expect(patient.outcomes.map(({ kind }) => kind)).toEqual(expect.arrayContaining(["not-due"]));
});

test("a volume that grows too large is skipped with the reference's words, and made again when it has shrunk", async () => {
  const [world, volume] = [new World(73), new SimulatedVolume()];
  const [machine] = machines(world, 1) as [Machine];
  const agent = startAgent(machine, volume, { intervalMs: HOUR });
  volume.usedInodes = 1_000_001n;
  await world.pass(HOUR);
  const line =
    "backup metadata skipped because of too many inodes: 1000001 1h0m0s; you may increase `--backup-meta` to enable it again";
  expect(agent.lines.filter((each) => each === `warn ${line}`).length).toBeGreaterThanOrEqual(8);
  expect(volume.stamp).toBeUndefined();
  expect(healthOf(agent.agent.status.read(), machine.now()).reasons).toContain(line);
  expect(volume.words.at(-1)).toEqual({ outcome: "skipped", cause: "too-many-inodes" });
  volume.usedInodes = 1_000_000n;
  await world.pass(10 * MINUTE);
  expect(volume.backups.length).toBe(1);
  expect(healthOf(agent.agent.status.read(), machine.now()).healthy).toBe(true);
});
