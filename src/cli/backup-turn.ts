import { hostname } from "node:os";
import { systemClock } from "../agent/clock.ts";
import { BackupLease } from "../agent/lease.ts";
import type { LeaseHold } from "../agent/lease-hold.ts";
import { IDLE, type LeaseWork, parseLease } from "../agent/lease-value.ts";
import { ConflictError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { MetadataStore } from "../engines/engine.ts";
import type { BackupTurn, StampChange } from "../operations/backups/fence.ts";
import { BACKUP_LEASE_XATTR, LAST_BACKUP_XATTR } from "../volume/backup-xattrs.ts";

/** How long a process that was killed keeps others away. */
const LEASE_MS = 60_000;

/** How long an interrupted command tries to give the lease back. */
const RELEASE_MS = 5000;

export interface TurnOptions {
  /** False: fail when another process has the lease. */
  readonly wait: boolean;
  readonly logger: Logger;
}

/**
 * Takes part in the work of the agents of a volume: nobody else makes or cleans up backups while a command does. Throws
 * `ConflictError` when it may not wait.
 */
export function acquireTurn({ wait, logger }: TurnOptions) {
  return async (store: MetadataStore, signal: AbortSignal): Promise<BackupTurn> => {
    const holder = `${hostname()}:${process.pid}`;
    const lease = new BackupLease({ store, clock: systemClock, holder, durationMs: LEASE_MS });
    const first = await lease.tryAcquire(signal);
    if (first !== undefined) return turnOf(first);
    const other = await holderOf(store, signal);
    if (!wait) {
      throw new ConflictError("DECANT_E_LEASE_BUSY", `${other} makes or cleans up backups of this volume now`, {
        retryable: true,
        hint: "Try again later, or wait for it without --no-wait; the lease of a process that was killed ends by itself",
      });
    }
    logger.info(`Waiting for ${other}, which makes or cleans up backups of this volume`);
    return turnOf(await lease.acquire(signal));
  };
}

async function holderOf(store: MetadataStore, signal: AbortSignal): Promise<string> {
  const bytes = (await store.readRootXattrs([BACKUP_LEASE_XATTR], signal)).get(BACKUP_LEASE_XATTR);
  return (bytes === undefined ? undefined : parseLease(bytes)?.holder) ?? "Another process";
}

function turnOf(hold: LeaseHold): BackupTurn {
  const swap = (change: StampChange, work: LeaseWork, signal: AbortSignal): Promise<boolean> =>
    hold.swapFenced(
      {
        expected: new Map([[LAST_BACKUP_XATTR, change.expected]]),
        values: new Map([[LAST_BACKUP_XATTR, change.value]]),
        work,
      },
      signal,
    );
  return {
    lost: hold.lost,
    check: (signal) => hold.checkFence(signal),
    begin: (change, signal) =>
      swap(change, { state: "backing-up", stamp: change.value?.toString() ?? "", attempt: 1 }, signal),
    async end(change, signal) {
      if (change !== undefined && (await swap(change, IDLE, signal))) return;
      await hold.swapFenced({ expected: new Map(), values: new Map(), work: IDLE }, signal);
    },
    async release() {
      await hold.release(AbortSignal.timeout(RELEASE_MS));
    },
  };
}
