import { ConflictError } from "../base/errors.ts";
import { formatGoDuration } from "../base/go-duration.ts";
import type { Logger } from "../base/logger.ts";
import type { BackupName } from "../operations/backups/backup-name.ts";
import type { Fence } from "../operations/backups/fence.ts";
import { LAST_BACKUP_XATTR } from "../volume/backup-xattrs.ts";
import type { AgentVolume, FinishedBackup, PruneResult } from "./agent-volume.ts";
import type { BackupReason } from "./decide.ts";
import type { LeaseHold } from "./lease-hold.ts";
import { IDLE, type LeaseWork } from "./lease-value.ts";
import { parseStamp, stampBytes } from "./stamp.ts";

export interface BackupAttemptOptions {
  readonly volume: AgentVolume;
  readonly hold: LeaseHold;
  readonly logger: Logger;
  readonly begunAt: Date;
  readonly reason: BackupReason;
  /** `lastBackup` as it was looked at. */
  readonly stamp: Buffer | undefined;
  readonly usedInodes: bigint;
  readonly prune: boolean;
}

export type AttemptResult =
  | {
      readonly kind: "made";
      readonly backup: BackupName;
      readonly finished: FinishedBackup;
      readonly stamp: Buffer | undefined;
    }
  /** `stamp`: what `lastBackup` was left as. */
  | { readonly kind: "failed"; readonly error: unknown; readonly stamp: Buffer | undefined }
  /** Somebody else, a client of the reference, has just set `lastBackup`. */
  | { readonly kind: "overtaken" }
  /** Aborted; `lastBackup` and the bucket are as they were. */
  | { readonly kind: "stopped" };

/** From so many inodes on the reference says that it has begun (docs/spec/auto-backup.md §5). */
const ANNOUNCED_INODES = 100_000n;

/** One backup under a lease: stamp, backup, clean-up. What it stores it stores as the holder, or not at all. */
export class BackupAttempt {
  readonly #options: BackupAttemptOptions;
  /** What is left in the lease while the backup is made, for whoever takes over. */
  readonly #work: LeaseWork;
  /** `lastBackup` while the backup is made. */
  readonly #stamp: Buffer | undefined;

  constructor(options: BackupAttemptOptions) {
    this.#options = options;
    const { begunAt, reason, stamp, hold } = options;
    // A stamp that stands for a backup that failed is not renewed before there is one: clients would wait another period.
    const isRepetition = (reason === "retry" || reason === "take-over") && parseStamp(stamp).kind === "time";
    this.#stamp = isRepetition ? stamp : stampBytes(begunAt);
    const left = hold.work;
    this.#work =
      isRepetition && left.state === "backing-up"
        ? { ...left, attempt: left.attempt + 1 }
        : { state: "backing-up", stamp: this.#stamp!.toString(), attempt: 1 };
  }

  /** Never throws but for the first swap: `ConflictError` for a lost lease, `EngineError`. */
  async run(abort: AbortSignal): Promise<AttemptResult> {
    const { hold, stamp, begunAt, volume, logger, usedInodes } = this.#options;
    const signal = AbortSignal.any([abort, hold.lost]);
    const before = hold.work;
    if (!(await this.#swap(stamp, this.#stamp, this.#work, signal))) return { kind: "overtaken" };
    if (usedInodes >= ANNOUNCED_INODES) logger.info(`backup metadata started, inodes=${usedInodes}`);
    let backup: BackupName | undefined;
    try {
      backup = await volume.freeName(begunAt, signal);
      const finished = await volume.makeBackup(backup, signal);
      const left = await this.#finish();
      logger.info(
        `backup metadata succeed, fast mode: true, path: "${finished.path}", used ${formatGoDuration(finished.durationMs)}`,
      );
      for (const warning of finished.warnings) logger.warn(warning);
      for (const reason of finished.suspicious) logger.warn(`suspicious backup ${backup.name}: ${reason}`);
      return { kind: "made", backup, finished, stamp: left };
    } catch (error) {
      if (abort.aborted) {
        await this.#undo(backup, before);
        return { kind: "stopped" };
      }
      return { kind: "failed", error: hold.lost.aborted ? hold.lost.reason : error, stamp: this.#stamp };
    }
  }

  /** Only after `made`. Undefined when there is nothing to say. Never throws. */
  async cleanUp(abort: AbortSignal): Promise<PruneResult["refusal"] | { readonly error: unknown }> {
    const { volume, hold, prune, logger } = this.#options;
    if (!prune || abort.aborted) return undefined;
    const signal = AbortSignal.any([abort, hold.lost]);
    const fence: Fence = { check: (asked) => hold.checkFence(asked) };
    try {
      const { deleted, kept, refusal } = await volume.prune(fence, signal);
      if (refusal !== undefined) logger.warn(`clean-up: ${refusal.message}`);
      else if (deleted > 0) logger.info(`clean-up: ${deleted} deleted, ${kept} kept`);
      return refusal;
    } catch (error) {
      return abort.aborted ? undefined : { error };
    }
  }

  /** The backup is there, whatever becomes of this: who finds the lease as it was finds the backup too. */
  async #finish(): Promise<Buffer | undefined> {
    const { hold, begunAt, stamp } = this.#options;
    const now = stampBytes(begunAt);
    try {
      const isOld = this.#stamp === stamp && (await this.#swap(stamp, now, IDLE, hold.lost));
      if (isOld) return now;
      await hold.swapFenced({ expected: new Map(), values: new Map(), work: IDLE }, hold.lost);
    } catch (error) {
      if (!(error instanceof ConflictError)) this.#options.logger.debug(String(error));
    }
    return this.#stamp;
  }

  /** Puts back what was there before, as far as it is still ours. */
  async #undo(backup: BackupName | undefined, work: LeaseWork): Promise<void> {
    const { hold, stamp, volume, logger } = this.#options;
    try {
      if (backup !== undefined) await volume.discard(backup, hold.lost);
      await this.#swap(this.#stamp, stamp, work, hold.lost);
      logger.info("backup metadata aborted: nothing is left of it in the bucket, lastBackup is as it was");
    } catch (error) {
      logger.warn(`backup metadata aborted, and could not be undone: ${String(error)}; the next agent makes it`);
    }
  }

  #swap(
    expected: Buffer | undefined,
    value: Buffer | undefined,
    work: LeaseWork,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { hold } = this.#options;
    return hold.swapFenced(
      { expected: new Map([[LAST_BACKUP_XATTR, expected]]), values: new Map([[LAST_BACKUP_XATTR, value]]), work },
      signal,
    );
  }
}
