import { DecantError, errorText, isAbortError } from "../base/errors.ts";
import type { Gate } from "../base/gate.ts";
import { formatGoDuration } from "../base/go-duration.ts";
import type { Logger } from "../base/logger.ts";
import { LAST_BACKUP_XATTR } from "../volume/backup-xattrs.ts";
import type { AgentVolume } from "./agent-volume.ts";
import { BackupAttempt } from "./backup-attempt.ts";
import type { BucketView, UnverifiedBackup } from "./bucket-view.ts";
import type { CheckOutcome } from "./check-outcome.ts";
import type { Clock } from "./clock.ts";
import {
  type BackupReason,
  type CheckFacts,
  checkDelayMs,
  type Decision,
  decide,
  retryDelayMs,
  type SkipAbove,
} from "./decide.ts";
import { BackupLease } from "./lease.ts";
import type { LeaseHold } from "./lease-hold.ts";
import { IDLE } from "./lease-value.ts";
import { isSameStamp, stampBytes } from "./stamp.ts";
import { StatusBoard } from "./status-board.ts";
import { VolumeObserver, withHint } from "./volume-observer.ts";
import { within } from "./within.ts";

/** How often, and when not. */
export interface VolumeSchedule {
  /** Above 0. */
  readonly intervalMs: number;
  readonly skipAbove: SkipAbove;
  readonly prune: boolean;
  /** Read back what clients of the reference have made: they do not. */
  readonly verify: boolean;
}

/** What an agent of one volume works with. */
export interface VolumeAgentParts {
  /** For logs and metrics; unless `isNamed` the name of the volume takes its place when it is known. */
  readonly label: string;
  readonly isNamed: boolean;
  readonly schedule: VolumeSchedule;
  readonly open: (signal: AbortSignal) => Promise<AgentVolume>;
  readonly clock: Clock;
  /** From [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
  /** For people who read the lease. */
  readonly holder: string;
  readonly leaseMs: number;
  /** Where backups wait for others of the same process. */
  readonly gate: Gate;
  /** Called after each check and backup; what it throws ends the agent. */
  readonly onOutcome?: (outcome: CheckOutcome, status: StatusBoard) => Promise<void>;
}

/** `stop`: begin nothing more. `abort`: give up what is being done. */
export interface StopSignals {
  readonly stop: AbortSignal;
  readonly abort: AbortSignal;
}

/** All that one look at database and bucket gives. */
interface Look {
  readonly view: BucketView | undefined;
  readonly facts: CheckFacts;
  readonly stamp: Buffer | undefined;
}

interface Failure {
  readonly begunAt: Date;
  /** What `lastBackup` was then: another value means that somebody else has begun one since. */
  readonly stamp: Buffer | undefined;
  readonly count: number;
  readonly retryAtMs: number;
}

/** For opening a volume, and for one look at it: many requests, of which each takes a moment. */
const ANSWER_MS = 5 * 60_000;

/** What is worth a line of its own. */
const WHY: Partial<Readonly<Record<BackupReason, string>>> = {
  "take-over": "an agent has begun a backup and did not end it: making it",
  missing: "lastBackup was set, but no backup of that time is in the bucket: making one",
  repair: "lastBackup is of no use, and nobody has changed it for a period: making a backup, which replaces it",
};

/**
 * The loop of one volume (docs/spec/auto-backup.md §3, docs/operations/agent.md). It keeps nothing open between two checks, has no
 * timers but those of the clock, and can be run beside anything else in a process.
 */
export class VolumeAgent {
  readonly status: StatusBoard;
  readonly #parts: VolumeAgentParts;
  readonly #lease: BackupLease;
  readonly #observer: VolumeObserver;
  #volume: AgentVolume | undefined;
  #failure: Failure | undefined;
  /** Checks in a row that came to no answer. */
  #troubles = 0;
  #busySinceMs: number | undefined;

  constructor(parts: VolumeAgentParts) {
    this.#parts = parts;
    const { label, isNamed, schedule, clock, holder, leaseMs } = parts;
    this.status = new StatusBoard(label, isNamed, schedule.intervalMs, clock.now());
    const store = {
      readRootXattrs: (names: readonly string[], signal: AbortSignal) => this.#open.store.readRootXattrs(names, signal),
      swapRootXattrs: (...args: Parameters<AgentVolume["store"]["swapRootXattrs"]>) =>
        this.#open.store.swapRootXattrs(...args),
    };
    this.#lease = new BackupLease({ store, clock, holder, durationMs: leaseMs });
    this.#observer = new VolumeObserver({ clock, logger: parts.logger, status: this.status });
  }

  /** Checks until it is stopped. Throws only what `onOutcome` throws. */
  async run(signals: StopSignals): Promise<void> {
    const { clock, random, schedule } = this.#parts;
    let delayMs = checkDelayMs(schedule.intervalMs, random());
    while (!signals.stop.aborted) {
      try {
        await clock.sleep(delayMs, signals.stop);
      } catch {
        return;
      }
      delayMs = this.#delayAfter(await this.check(signals));
    }
  }

  /** One check, and the backup if it is time for it. */
  async check(signals: StopSignals): Promise<CheckOutcome> {
    const outcome = await this.#checked(signals);
    this.status.ended(outcome, this.#parts.clock.now());
    await this.#parts.onOutcome?.(outcome, this.status);
    return outcome;
  }

  get #open(): AgentVolume {
    return this.#volume!;
  }

  #delayAfter(outcome: CheckOutcome): number {
    const { schedule, random, leaseMs } = this.#parts;
    const check = checkDelayMs(schedule.intervalMs, random());
    switch (outcome.kind) {
      case "failed":
        return Math.min(
          retryDelayMs(Math.max(this.#troubles, 1), schedule.intervalMs, random()),
          this.#retryInMs() ?? check,
        );
      case "retry-later":
        return Math.min(outcome.waitMs, check);
      case "busy":
        return Math.min(check, leaseMs / 2); // its holder may have died
      default:
        return check;
    }
  }

  #retryInMs(): number | undefined {
    if (this.#failure === undefined) return undefined;
    return Math.max(0, this.#failure.retryAtMs - this.#parts.clock.monotonicMs());
  }

  async #checked({ stop, abort }: StopSignals): Promise<CheckOutcome> {
    const { open, logger, clock } = this.#parts;
    const waiting = { clock, signal: AbortSignal.any([stop, abort]) };
    try {
      this.#volume = await within(ANSWER_MS, waiting, open);
    } catch (error) {
      return this.#unreachable(error, stop);
    }
    try {
      const volume = this.#volume;
      this.status.opened(volume.name, volume.uuid);
      const look = await within(ANSWER_MS, waiting, (signal) => this.#look(undefined, signal));
      const outcome = await this.#act(decide(look.facts), look, { stop, abort });
      if (outcome.kind === "not-due") await this.#verify(look.view?.unverified, { stop, abort });
      this.#troubles = outcome.kind === "failed" ? this.#troubles : 0;
      return outcome;
    } catch (error) {
      return this.#unreachable(error, stop);
    } finally {
      await this.#volume.close().catch((error: unknown) => logger.debug(errorText(error)));
      this.#volume = undefined;
    }
  }

  #unreachable(error: unknown, stop: AbortSignal): CheckOutcome {
    if (stop.aborted || isAbortError(error)) return { kind: "stopped" };
    this.#troubles++;
    this.status.unreachable(error);
    this.#parts.logger.warn(withHint(error));
    return { kind: "failed", error };
  }

  async #act(decision: Decision, look: Look, signals: StopSignals): Promise<CheckOutcome> {
    switch (decision.action) {
      case "wait":
        return this.#wait(decision, look);
      case "skip":
        return this.#skip(decision, look, signals);
      case "backup":
        if (look.view === undefined) return this.#withoutBucket();
        this.status.useful();
        return this.#backUp(signals);
    }
  }

  /** Nothing is begun where nothing could be stored: others may reach the bucket, and `lastBackup` would keep them away. */
  #withoutBucket(): CheckOutcome {
    const error = this.#observer.bucketError;
    this.#troubles++;
    this.status.failing(error);
    return { kind: "failed", error };
  }

  #wait(decision: Extract<Decision, { action: "wait" }>, { facts }: Look): CheckOutcome {
    const { waitMs, reason } = decision;
    this.#busySinceMs = undefined;
    if (reason === "retry-later") return { kind: "retry-later", waitMs };
    this.status.fresh();
    if (reason === "not-due") return { kind: "not-due", waitMs };
    const { stamp } = facts;
    const what =
      stamp.kind === "time"
        ? `lastBackup ${stamp.time.toISOString()} is in the future`
        : `parse time value ${stamp.kind === "unreadable" ? stamp.text : ""}: not an RFC 3339 time`;
    const message = `${what}; no client makes backups; it is repaired in ${formatGoDuration(Math.ceil(waitMs / 1000) * 1000)} unless somebody changes it`;
    this.#parts.logger.warn(message);
    this.status.useless(message);
    return { kind: "useless-stamp", waitMs, message };
  }

  async #skip(
    { reason, inodes, fittingMs, repair }: Extract<Decision, { action: "skip" }>,
    look: Look,
    { abort }: StopSignals,
  ): Promise<CheckOutcome> {
    const { schedule, logger } = this.#parts;
    const period = formatGoDuration(schedule.intervalMs);
    const message =
      reason === "too-many-inodes"
        ? `backup metadata skipped because of too many inodes: ${inodes} ${period}; you may increase \`--backup-meta\` to enable it again`
        : `backup metadata skipped because it would not fit the period of ${period}: ${inodes} inodes; \`--backup-meta ${formatGoDuration(fittingMs)}\` would`;
    logger.warn(message);
    if (repair) await this.#repairStamp(look, abort);
    await this.#leaveWord("skipped", message, reason, undefined, abort);
    return { kind: "skipped", reason, message, fittingMs };
  }

  /** For those whose period is longer: they can make backups again. */
  async #repairStamp({ stamp, facts }: Look, signal: AbortSignal): Promise<void> {
    const hold = await this.#lease.tryAcquire(signal);
    if (hold === undefined) return;
    try {
      const { newestBackup } = facts;
      const value = newestBackup instanceof Date ? stampBytes(newestBackup) : undefined;
      const expected = new Map([[LAST_BACKUP_XATTR, stamp]]);
      const isDone = await hold.swapFenced({ expected, values: new Map([[LAST_BACKUP_XATTR, value]]) }, signal);
      if (isDone) this.#parts.logger.warn(`lastBackup is repaired: ${value?.toString() ?? "removed"}`);
    } finally {
      await hold.release(signal);
    }
  }

  /** Waits for a place, takes the lease, looks again, since somebody may have been faster, and makes the backup. */
  async #backUp({ stop, abort }: StopSignals): Promise<CheckOutcome> {
    const { gate } = this.#parts;
    return gate.run(async () => {
      stop.throwIfAborted();
      const hold = await this.#lease.tryAcquire(abort);
      if (hold === undefined) return this.#busy();
      this.#busySinceMs = undefined;
      this.status.holds(true);
      try {
        const signal = AbortSignal.any([abort, hold.lost]);
        const look = await this.#look(hold, signal);
        const decision = decide(look.facts);
        if (look.view === undefined) return this.#withoutBucket();
        if (decision.action === "backup") return await this.#attempt(hold, decision, look, abort);
        // Somebody has made it meanwhile. What its maker left behind is settled by that.
        if (hold.work.state !== "idle" && decision.action === "wait" && decision.reason === "not-due") {
          await hold.swapFenced({ expected: new Map(), values: new Map(), work: IDLE }, signal);
        }
        return decision.action === "wait" ? this.#wait(decision, look) : { kind: "not-due", waitMs: 0 };
      } finally {
        await hold.release(new AbortController().signal); // it ends with the lease at the latest
        this.status.holds(false);
      }
    }, stop);
  }

  /** One agent reads what a client has made last; what turns out to be damaged is made again, as if it were not there. */
  async #verify(found: UnverifiedBackup | undefined, { stop, abort }: StopSignals): Promise<void> {
    const { gate, schedule, logger } = this.#parts;
    if (found === undefined || !schedule.verify || stop.aborted) return;
    const verified = gate.run(async () => {
      const hold = await this.#lease.tryAcquire(abort);
      if (hold === undefined) return;
      this.status.holds(true);
      try {
        const signal = AbortSignal.any([stop, abort, hold.lost]);
        const now = await this.#observer.serverNow(this.#open, signal);
        const still = (await this.#observer.readBucket(this.#open, now, signal))?.unverified;
        if (still === undefined) return;
        const problems = await this.#open.verifyBackup(still, signal);
        if (problems.length === 0) logger.info(`backup ${still.backup.name} of another client is verified`);
        else logger.warn(`backup ${still.backup.name} of another client is damaged: ${problems.join("; ")}`);
        const view = await this.#observer.readBucket(this.#open, now, signal);
        if (view !== undefined) this.status.sees(view);
      } finally {
        await hold.release(new AbortController().signal);
        this.status.holds(false);
      }
    }, stop);
    await verified.catch((error: unknown) => {
      if (stop.aborted) return;
      logger.warn(`backup ${found.backup.name} of another client was not verified: ${withHint(error)}`);
      this.status.failedBeside(error);
    });
  }

  #busy(): CheckOutcome {
    const { clock, schedule, logger } = this.#parts;
    this.#busySinceMs ??= clock.monotonicMs();
    const sinceMs = clock.monotonicMs() - this.#busySinceMs;
    if (sinceMs > schedule.intervalMs) {
      const message = `another agent has held the lease for ${formatGoDuration(Math.round(sinceMs / 1000) * 1000)}, and there is no new backup`;
      logger.warn(message);
      this.status.leaseTrouble(message);
    } else {
      logger.debug("another agent makes or cleans up backups of this volume");
    }
    return { kind: "busy" };
  }

  async #attempt(
    hold: LeaseHold,
    decision: Extract<Decision, { action: "backup" }>,
    look: Look,
    abort: AbortSignal,
  ): Promise<CheckOutcome> {
    const { schedule, clock, random, logger } = this.#parts;
    const { facts, stamp } = look;
    const why = WHY[decision.reason];
    if (why !== undefined) logger.warn(why);
    const attempt = new BackupAttempt({
      volume: this.#open,
      hold,
      logger,
      begunAt: facts.now,
      reason: decision.reason,
      stamp,
      usedInodes: facts.usedInodes,
      prune: schedule.prune,
    });
    this.status.begun(facts.now);
    const result = await attempt.run(abort);
    if (result.kind === "overtaken") return this.#busy();
    if (result.kind === "stopped") return { kind: "stopped" };
    if (result.kind === "failed") {
      const count = (this.#failure?.count ?? 0) + 1;
      const retryMs = retryDelayMs(count, schedule.intervalMs, random());
      this.#failure = {
        begunAt: this.#failure?.begunAt ?? facts.now,
        stamp: result.stamp,
        count,
        retryAtMs: clock.monotonicMs() + retryMs,
      };
      logger.warn(
        `backup metadata failed: ${withHint(result.error)}; next try in ${formatGoDuration(Math.round(retryMs))}`,
      );
      this.status.failed(result.error);
      const cause = result.error instanceof DecantError ? result.error.code : "DECANT_E_FAILED";
      await this.#leaveWord("failed", errorText(result.error), cause, undefined, abort);
      return { kind: "failed", error: result.error };
    }
    this.#failure = undefined;
    this.#observer.seeStamp(result.stamp);
    this.status.succeeded();
    await this.#leaveWord("ok", undefined, undefined, result.backup.name, abort);
    const refused = await attempt.cleanUp(abort);
    this.#cleanedUp(refused);
    const view = await this.#observer.readBucket(this.#open, facts.now, abort);
    if (view !== undefined) this.status.sees(view);
    return {
      kind: "made",
      reason: decision.reason,
      key: result.backup.key,
      backup: result.finished,
      frozen: refused !== undefined,
    };
  }

  /** That a suspicious backup waits to be confirmed is told by the bucket, as long as it does. */
  #cleanedUp(refused: Awaited<ReturnType<BackupAttempt["cleanUp"]>>): void {
    if (refused === undefined || ("isFrozen" in refused && refused.isFrozen)) this.status.cleanedUp();
    else if (!("error" in refused)) this.status.cleanUpTrouble(undefined, refused.message);
    else {
      this.#parts.logger.warn(`clean-up failed: ${withHint(refused.error)}`);
      this.status.cleanUpTrouble(refused.error, withHint(refused.error));
    }
  }

  /** Looks, and forgets a failure of ours that somebody else has made good. `hold`: that of this agent. */
  async #look(hold: LeaseHold | undefined, signal: AbortSignal): Promise<Look> {
    const seen = await this.#observer.look(this.#open, hold?.work, signal);
    if (this.#failure !== undefined) {
      const good = seen.view?.lastGood?.time.getTime() ?? 0;
      const isCovered = good >= this.#failure.begunAt.getTime() - 1000;
      if (isCovered || !isSameStamp(this.#failure.stamp, seen.stamp)) {
        this.#failure = undefined;
        this.status.failureSettled();
      }
    }
    const { intervalMs, skipAbove } = this.#parts.schedule;
    const failure =
      this.#failure === undefined ? undefined : { begunAt: this.#failure.begunAt, retryInMs: this.#retryInMs()! };
    return { view: seen.view, stamp: seen.stamp, facts: { ...seen.facts, intervalMs, skipAbove, failure } };
  }

  async #leaveWord(
    outcome: "ok" | "failed" | "skipped",
    reason: string | undefined,
    cause: string | undefined,
    name: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const at = this.#parts.clock.now().toISOString();
      await this.#open.writeStatus({ outcome, at, name, reason, cause }, signal);
    } catch (error) {
      if (signal.aborted) return;
      this.#parts.logger.warn(withHint(error));
      this.status.failedBeside(error);
    }
  }
}
