import type { Stamp } from "./stamp.ts";

/** Up to here a stamp ahead of our clock is taken for the skew of another clock, not for a mistake. */
export const FUTURE_TOLERANCE_MS: number = 5 * 60_000;

/** The longest period for which the reference limits the number of inodes (docs/spec/auto-backup.md §5). */
const LIMITED_INTERVAL_MS = 3_600_000;

/** Above how many inodes no backup is made at a period of an hour or less. 0: never skip. `auto`: when it would not fit. */
export type SkipAbove = bigint | "auto";

/** The reference's limit. */
export const DEFAULT_SKIP_ABOVE: SkipAbove = 1_000_000n;

/** A backup made before, of this volume. */
export interface PastRun {
  readonly inodes: number;
  readonly durationMs: number;
}

/** Undefined when there is none, `unknown` when nobody could look. */
export type BackupTime = Date | undefined | "unknown";

/** All that one check knows. */
export interface CheckFacts {
  readonly now: Date;
  readonly intervalMs: number;
  readonly stamp: Stamp;
  /** For how long this agent has seen exactly that value, by its monotonic clock. */
  readonly stampSeenMs: number;
  /** The begin of the newest backup in the bucket that is not damaged, and of the newest that is known to be good. */
  readonly newestBackup: BackupTime;
  readonly newestGood: BackupTime;
  /** The stamp of a backup whose maker died while making it. */
  readonly unfinished: Date | undefined;
  /** The own last attempt, when it failed. */
  readonly failure: { readonly begunAt: Date; readonly retryInMs: number } | undefined;
  readonly usedInodes: bigint;
  readonly skipAbove: SkipAbove;
  /** Newest first. */
  readonly runs: readonly PastRun[];
}

/**
 * Why a backup is needed: the period is over (`due`), there was none (`first`), ours failed (`retry`), another agent died while
 * making one (`take-over`), a client set the stamp, but no backup came (`missing`), the stamp is of no use (`repair`).
 */
export type BackupReason = "due" | "first" | "retry" | "take-over" | "missing" | "repair";

export type SkipReason = "too-many-inodes" | "does-not-fit";

export type Decision =
  | { readonly action: "wait"; readonly reason: "not-due" | "retry-later"; readonly waitMs: number }
  /** The stamp is `repaired` when it has not changed for `waitMs` more. */
  | { readonly action: "wait"; readonly reason: "unreadable" | "future"; readonly waitMs: number }
  | { readonly action: "backup"; readonly reason: BackupReason }
  | {
      readonly action: "skip";
      readonly reason: SkipReason;
      readonly inodes: bigint;
      /** A period at which it would be made. */
      readonly fittingMs: number;
      /** The stamp is of no use and nobody has put it right: it would keep all others from backups. */
      readonly repair: boolean;
    };

/** What one check is to do (docs/spec/auto-backup.md §3-5, docs/operations/agent.md). */
export function decide(facts: CheckFacts): Decision {
  const need = needOf(facts);
  if (typeof need !== "string") return need;
  const skip = skipReason(facts);
  if (skip === undefined) return { action: "backup", reason: need };
  return { action: "skip", ...skip, inodes: facts.usedInodes, repair: need === "repair" };
}

function needOf(facts: CheckFacts): BackupReason | Decision {
  const { failure, unfinished, stamp, intervalMs } = facts;
  // An agent's backup counts when it was read back; what a dead one has uploaded may be anything.
  if (failure !== undefined && !isCovered(failure.begunAt, facts.newestGood)) {
    return failure.retryInMs > 0 ? { action: "wait", reason: "retry-later", waitMs: failure.retryInMs } : "retry";
  }
  if (unfinished !== undefined && !isCovered(unfinished, facts.newestGood)) return "take-over";
  if (stamp.kind === "none") return "first";
  if (stamp.kind === "unreadable") return graceOf("unreadable", facts);
  const ageMs = facts.now.getTime() - stamp.time.getTime();
  if (ageMs < -FUTURE_TOLERANCE_MS) return graceOf("future", facts);
  if (ageMs >= intervalMs) return "due";
  if (isMissing(stamp.time, ageMs, facts)) return "missing";
  return { action: "wait", reason: "not-due", waitMs: intervalMs - ageMs };
}

/**
 * A whole period in which nobody has changed a useless stamp, so nobody whose clock merely differs makes backups with it: such a
 * client would have written the next one.
 */
function graceOf(reason: "unreadable" | "future", { stampSeenMs, intervalMs }: CheckFacts): BackupReason | Decision {
  const waitMs = intervalMs - stampSeenMs;
  return waitMs > 0 ? { action: "wait", reason, waitMs } : "repair";
}

/** Whether a backup begun then or later is there; the name of one has whole seconds. */
function isCovered(time: Date, newest: BackupTime): boolean {
  return newest instanceof Date && newest.getTime() >= time.getTime() - 1000;
}

/**
 * The reference writes the stamp before the backup, and does not repeat one that failed. Half a period is time enough for one
 * that is still being made; the clock of its client may be slow, so that ours must have seen the stamp for a while too.
 */
function isMissing(stamp: Date, ageMs: number, facts: CheckFacts): boolean {
  if (facts.newestBackup === "unknown" || isCovered(stamp, facts.newestBackup)) return false;
  return ageMs >= facts.intervalMs / 2 && facts.stampSeenMs >= facts.intervalMs / 10;
}

function skipReason(facts: CheckFacts): { reason: SkipReason; fittingMs: number } | undefined {
  const { skipAbove, usedInodes, intervalMs } = facts;
  const neededMs = neededInterval(facts);
  if (skipAbove === "auto") {
    return neededMs <= intervalMs ? undefined : { reason: "does-not-fit", fittingMs: roundUp(neededMs) };
  }
  if (skipAbove === 0n || intervalMs > LIMITED_INTERVAL_MS || usedInodes <= skipAbove) return undefined;
  return { reason: "too-many-inodes", fittingMs: Math.max(roundUp(neededMs), 2 * LIMITED_INTERVAL_MS) };
}

/**
 * Twice the time that a backup is going to take, so that the database has at least as much rest as work: the slowest of the last
 * three for each inode, times those that there are now. 0 when there was none to learn from: the first one is made.
 */
function neededInterval({ runs, usedInodes }: CheckFacts): number {
  const rates = runs
    .filter(({ inodes }) => inodes > 0)
    .slice(0, 3)
    .map(({ inodes, durationMs }) => durationMs / inodes);
  return rates.length === 0 ? 0 : 2 * Math.max(...rates) * Number(usedInodes);
}

/** To whole five minutes below an hour, to whole hours above. */
function roundUp(ms: number): number {
  const step = ms < LIMITED_INTERVAL_MS ? 300_000 : LIMITED_INTERVAL_MS;
  return Math.ceil(ms / step) * step;
}

/** A tenth of the period, 5 % more or less, before each check, as in the reference. `random` is from [0, 1). */
export function checkDelayMs(intervalMs: number, random: number): number {
  return (intervalMs / 10) * (0.95 + 0.1 * random);
}

const FIRST_RETRY_MS = 30_000;

/** 30 s after the first failure, twice as long after each further one, at most half a period; 10 % more or less. */
export function retryDelayMs(failures: number, intervalMs: number, random: number): number {
  const delay = Math.min(FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 30), intervalMs / 2);
  return delay * (0.9 + 0.2 * random);
}
