import type { AgentVolume } from "../../../src/agent/agent-volume.ts";
import type { BucketView } from "../../../src/agent/bucket-view.ts";
import type { CheckOutcome } from "../../../src/agent/check-outcome.ts";
import type { Clock } from "../../../src/agent/clock.ts";
import { checkDelayMs, FUTURE_TOLERANCE_MS } from "../../../src/agent/decide.ts";
import { parseStamp, stampBytes } from "../../../src/agent/stamp.ts";
import { VolumeAgent, type VolumeSchedule } from "../../../src/agent/volume-agent.ts";
import { StorageError } from "../../../src/base/errors.ts";
import { Gate } from "../../../src/base/gate.ts";
import type { Logger } from "../../../src/base/logger.ts";
import { backupName, parseBackupKey } from "../../../src/operations/backups/backup-name.ts";
import { LAST_BACKUP_XATTR } from "../../../src/volume/backup-xattrs.ts";

interface Sleeper {
  readonly atMs: number;
  readonly order: number;
  readonly wake: () => void;
}

function isBefore(a: Sleeper, b: Sleeper): boolean {
  return a.atMs === b.atMs ? a.order < b.order : a.atMs < b.atMs;
}

/**
 * Time that passes only when everybody sleeps. Everything is asked of the machines in one process; whoever crashed never gets
 * an answer again.
 */
export class World {
  nowMs = 0;
  readonly #sleepers: Sleeper[] = [];
  #order = 0;
  #seed: number;

  constructor(seed = 1) {
    this.#seed = seed;
  }

  /** From [0, 1), the same in each run. */
  readonly random = (): number => {
    this.#seed = (this.#seed + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#seed ^ (this.#seed >>> 15), 1 | this.#seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason);
      const sleeper = { atMs: this.nowMs + Math.max(ms, 0), order: this.#order++, wake: () => settle(resolve) };
      const settle = (end: () => void): void => {
        const at = this.#sleepers.indexOf(sleeper);
        if (at >= 0) this.#sleepers.splice(at, 1);
        signal?.removeEventListener("abort", onAbort);
        end();
      };
      const onAbort = (): void => settle(() => reject(signal!.reason));
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#sleepers.push(sleeper);
    });
  }

  /** Lets that much time pass. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    for (;;) {
      await settled();
      let next: Sleeper | undefined;
      for (const each of this.#sleepers) if (next === undefined || isBefore(each, next)) next = each;
      if (next === undefined || next.atMs > endMs) break;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.wake();
    }
    this.nowMs = endMs;
    await settled();
  }

  /** How many wait for time to pass: none may be left of an agent that was stopped. */
  get sleepers(): number {
    return this.#sleepers.length;
  }
}

/** Everything that does not wait for time has been done. */
async function settled(): Promise<void> {
  for (let i = 0; i < 2; i++) await new Promise((resolve) => setImmediate(resolve));
}

export interface StoredBackup {
  readonly key: string;
  readonly time: Date;
  readonly by: string;
  /** Undefined: nobody has looked. */
  good: boolean | undefined;
  /** Turns out when somebody looks. */
  isDamaged?: boolean;
  /** When it was there, by the world's clock. */
  readonly doneMs: number;
}

/** A volume's database and bucket. */
export class SimulatedVolume {
  readonly attributes: Map<string, Buffer> = new Map();
  readonly backups: StoredBackup[] = [];
  usedInodes = 1000n;
  backupMs = 20_000;
  /** Between the upload and the proof that it is whole. */
  readBackMs = 0;
  hasServerClock = false;
  /** Who makes a backup now; more than one at a time is what must not be. */
  readonly making: Set<string> = new Set();
  mostAtOnce = 0;
  /** Machines that cannot reach the bucket at all. */
  readonly hiddenFrom: Set<string> = new Set();
  /** Machines that cannot write into the bucket. */
  /** What clients of the reference make is damaged. */
  spoils = false;
  readonly readOnlyFor: Set<string> = new Set();
  readonly words: { readonly outcome: string; readonly cause: string | undefined }[] = [];
  pruned = 0;
  /** Takes requests and does not answer them. */
  hangs = false;

  get stamp(): string | undefined {
    return this.attributes.get(LAST_BACKUP_XATTR)?.toString();
  }

  set stamp(text: string) {
    this.attributes.set(LAST_BACKUP_XATTR, Buffer.from(text));
  }

  /** Seconds between the begins of backups that follow each other. */
  get gaps(): number[] {
    const times = this.backups.map(({ time }) => time.getTime() / 1000).sort((a, b) => a - b);
    return times.slice(1).map((time, i) => time - times[i]!);
  }
}

const DAY_ONE = Date.parse("2026-11-23T00:00:00Z");
const LATENCY_MS = 5;

/** A machine with its own clock, which may be wrong, may crash, and counts what it asks of database and bucket. */
export class Machine {
  readonly name: string;
  readonly world: World;
  clockOffsetMs = 0;
  requests = 0;
  /** Crashes at that request: before it is sent, or when it was carried out and before its answer. */
  crashAt: { readonly request: number; readonly when: "before" | "after" } | undefined;
  isDead = false;
  /** What ends with the machine. */
  readonly onCrash: (() => void)[] = [];

  constructor(name: string, world: World) {
    this.name = name;
    this.world = world;
  }

  get clock(): Clock {
    return {
      now: () => this.now(),
      monotonicMs: () => this.world.nowMs,
      sleep: async (ms, signal) => {
        await this.world.sleep(ms, signal);
        if (this.isDead) await never();
      },
    };
  }

  now(): Date {
    return new Date(DAY_ONE + this.world.nowMs + this.clockOffsetMs);
  }

  crash(): void {
    this.isDead = true;
    for (const end of this.onCrash) end();
  }

  async ask<T>(action: () => T | Promise<T>, signal?: AbortSignal): Promise<T> {
    const request = ++this.requests;
    if (this.isDead) return never();
    if (this.crashAt?.request === request && this.crashAt.when === "before") this.crash();
    if (this.isDead) return never();
    await this.world.sleep(LATENCY_MS, signal);
    if (this.isDead) return never();
    const answer = await action();
    if (this.crashAt?.request === request) this.crash();
    if (this.isDead) return never();
    return answer;
  }
}

function never(): Promise<never> {
  return new Promise(() => undefined);
}

export interface SimulatedAgent {
  readonly agent: VolumeAgent;
  readonly machine: Machine;
  readonly outcomes: CheckOutcome[];
  readonly lines: string[];
  readonly stop: AbortController;
  readonly abort: AbortController;
  /** Ends with the agent. */
  readonly ended: Promise<void>;
}

export const LEASE_MS = 60_000;

export function startAgent(
  machine: Machine,
  volume: SimulatedVolume,
  schedule: Partial<VolumeSchedule> & { intervalMs: number },
  gate: Gate = new Gate(4),
): SimulatedAgent {
  const [outcomes, lines]: [CheckOutcome[], string[]] = [[], []];
  machine.onCrash.push(() => volume.making.delete(machine.name));
  const [stop, abort] = [new AbortController(), new AbortController()];
  const agent = new VolumeAgent({
    label: "myvol",
    isNamed: true,
    schedule: { skipAbove: 1_000_000n, prune: true, verify: true, ...schedule },
    open: (signal) => machine.ask(() => (volume.hangs ? never() : openSimulated(machine, volume)), signal),
    clock: machine.clock,
    random: machine.world.random,
    logger: linesLogger(lines),
    holder: machine.name,
    leaseMs: LEASE_MS,
    gate,
    onOutcome: async (outcome) => {
      outcomes.push(outcome);
    },
  });
  const ended = agent.run({ stop: stop.signal, abort: abort.signal });
  return { agent, machine, outcomes, lines, stop, abort, ended };
}

function linesLogger(lines: string[]): Logger {
  return {
    debug: (line) => lines.push(`debug ${line}`),
    info: (line) => lines.push(`info ${line}`),
    warn: (line) => lines.push(`warn ${line}`),
    debugEnabled: true,
  };
}

function openSimulated(machine: Machine, volume: SimulatedVolume): AgentVolume {
  const { world, name } = machine;
  return {
    name: "myvol",
    uuid: "1b8f1b4e-0000-4000-8000-000000000000",
    store: {
      readRootXattrs: (names, signal) =>
        machine.ask(() => new Map([...volume.attributes].filter(([each]) => names.includes(each))), signal),
      swapRootXattrs: ({ expected, values }, signal) =>
        machine.ask(() => {
          for (const [each, bytes] of expected) {
            const found = volume.attributes.get(each);
            if (found === undefined || bytes === undefined ? found !== bytes : !found.equals(bytes)) return false;
          }
          for (const [each, bytes] of values) {
            if (bytes === undefined) volume.attributes.delete(each);
            else volume.attributes.set(each, bytes);
          }
          return true;
        }, signal),
    },
    serverTime: (signal) =>
      machine.ask(() => (volume.hasServerClock ? new Date(DAY_ONE + world.nowMs) : undefined), signal),
    usedInodes: (signal) => machine.ask(() => volume.usedInodes, signal),
    readBucket: (now, signal) =>
      machine.ask(() => {
        if (volume.hiddenFrom.has(name)) throw new StorageError("DECANT_E_OBJECT", `${name} cannot reach the bucket`);
        return viewOf(volume, now);
      }, signal),
    freeName: (begunAt, signal) => machine.ask(() => backupName(begunAt, "json", "gzip"), signal),
    makeBackup: async (backup, signal) => {
      await machine.ask(() => {
        if (volume.readOnlyFor.has(name)) throw new StorageError("DECANT_E_OBJECT", `${name} may not write`);
      }, signal);
      volume.making.add(name);
      volume.mostAtOnce = Math.max(volume.mostAtOnce, volume.making.size);
      try {
        await machine.clock.sleep(volume.backupMs, signal);
      } finally {
        volume.making.delete(name);
      }
      const stored = {
        key: backup.key,
        time: backup.time,
        by: name,
        good: undefined,
        doneMs: world.nowMs,
      } as StoredBackup;
      await machine.ask(() => volume.backups.push(stored), signal);
      await machine.clock.sleep(volume.readBackMs, signal);
      await machine.ask(() => {
        stored.good = true;
      }, signal);
      const bytes = 1000;
      return {
        path: `sim:///${backup.key}`,
        bytes,
        inodes: 1000,
        durationMs: volume.backupMs,
        suspicious: [],
        warnings: [],
      };
    },
    verifyBackup: ({ backup }, signal) =>
      machine.ask(() => {
        const stored = volume.backups.find(({ key }) => key === backup.key)!;
        stored.good = stored.isDamaged !== true;
        return stored.good ? [] : ["cut off"];
      }, signal),
    discard: (backup, signal) =>
      machine.ask(() => {
        const at = volume.backups.findIndex(({ key, good }) => key === backup.key && good !== true);
        if (at >= 0) volume.backups.splice(at, 1);
      }, signal),
    prune: async (fence, signal) => {
      await fence.check(signal);
      return machine.ask(() => {
        volume.pruned++;
        return { deleted: 0, kept: volume.backups.length, refusal: undefined };
      }, signal);
    },
    writeStatus: ({ outcome, cause }, signal) => machine.ask(() => void volume.words.push({ outcome, cause }), signal),
    close: () => Promise.resolve(),
  };
}

function viewOf({ backups }: SimulatedVolume, now: Date): BucketView {
  const past = backups.filter(({ time }) => time.getTime() <= now.getTime() + FUTURE_TOLERANCE_MS);
  const newestFirst = past.filter((each) => each.good !== false).sort((a, b) => b.time.getTime() - a.time.getTime());
  const good = newestFirst.find((each) => each.good);
  const unread = newestFirst[0]?.good === undefined ? newestFirst[0] : undefined;
  return {
    newest: newestFirst[0]?.time,
    lastGood:
      good === undefined
        ? undefined
        : { key: good.key, time: good.time, bytes: 1000, inodes: 1000, durationMs: 20_000 },
    unverified:
      unread === undefined ? undefined : { backup: parseBackupKey(unread.key)!, size: 1000, manifest: undefined },
    count: backups.length,
    runs: [],
    frozenBy: undefined,
    statuses: [],
  };
}

/** A client of the reference: no compare and set, no repetition, nothing read back (docs/spec/auto-backup.md §3). */
export async function runReferenceClient(
  machine: Machine,
  volume: SimulatedVolume,
  intervalMs: number,
  options: { readonly failing?: boolean } = {},
): Promise<void> {
  const { world, name } = machine;
  for (;;) {
    await machine.clock.sleep(checkDelayMs(intervalMs, world.random()), new AbortController().signal);
    const stamp = parseStamp(volume.attributes.get(LAST_BACKUP_XATTR));
    if (stamp.kind === "unreadable") continue;
    if (stamp.kind === "time" && machine.now().getTime() - stamp.time.getTime() < intervalMs) continue;
    const begunAt = machine.now();
    await machine.ask(() => volume.attributes.set(LAST_BACKUP_XATTR, stampBytes(begunAt)));
    if (options.failing === true) continue;
    volume.making.add(name);
    volume.mostAtOnce = Math.max(volume.mostAtOnce, volume.making.size);
    await machine.clock.sleep(volume.backupMs, new AbortController().signal);
    volume.making.delete(name);
    const { key, time } = backupName(begunAt, "json", "gzip");
    volume.backups.push({ key, time, by: name, good: undefined, isDamaged: volume.spoils, doneMs: world.nowMs });
  }
}
