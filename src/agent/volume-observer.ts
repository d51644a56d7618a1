import { DecantError, errorText } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { BACKUP_LEASE_XATTR, LAST_BACKUP_XATTR } from "../volume/backup-xattrs.ts";
import type { AgentVolume } from "./agent-volume.ts";
import type { BucketView } from "./bucket-view.ts";
import type { Clock } from "./clock.ts";
import type { CheckFacts } from "./decide.ts";
import { IDLE, type LeaseWork, parseLease } from "./lease-value.ts";
import { isSameStamp, parseStamp } from "./stamp.ts";
import type { StatusBoard } from "./status-board.ts";

/** All that one look at database and bucket gives, but for what the agent itself knows. */
export interface Observation {
  /** Undefined when the bucket cannot be read. */
  readonly view: BucketView | undefined;
  /** The bytes of `lastBackup`. */
  readonly stamp: Buffer | undefined;
  readonly facts: Omit<CheckFacts, "intervalMs" | "skipAbove" | "failure">;
}

export interface VolumeObserverParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly status: StatusBoard;
}

/** More is warned of. */
const CLOCK_SKEW_MS = 60_000;

/** Looks at a volume, and remembers since when `lastBackup` has been what it is. */
export class VolumeObserver {
  readonly #parts: VolumeObserverParts;
  /** Why the bucket could not be read the last time. */
  bucketError: unknown;
  #stampSeen: { readonly bytes: Buffer | undefined; readonly sinceMs: number } | undefined;

  constructor(parts: VolumeObserverParts) {
    this.#parts = parts;
  }

  /** `work`: what this agent found with the lease; without it that of whoever has it, who may be at it still. */
  async look(volume: AgentVolume, work: LeaseWork | undefined, signal: AbortSignal): Promise<Observation> {
    const { clock, status } = this.#parts;
    const attributes = await volume.store.readRootXattrs([LAST_BACKUP_XATTR, BACKUP_LEASE_XATTR], signal);
    const stamp = attributes.get(LAST_BACKUP_XATTR);
    const lease = attributes.get(BACKUP_LEASE_XATTR);
    const left = work ?? (lease === undefined ? undefined : parseLease(lease)?.work) ?? IDLE;
    const stampSinceMs = this.seeStamp(stamp);
    const stampSeenMs = clock.monotonicMs() - stampSinceMs;
    const usedInodes = await volume.usedInodes(signal);
    const now = await this.serverNow(volume, signal);
    const view = await this.readBucket(volume, now, signal);
    status.looked(usedInodes, view);
    const unfinished = left.state === "idle" ? undefined : parseStamp(Buffer.from(left.stamp));
    return {
      view,
      stamp,
      facts: {
        now,
        stamp: parseStamp(stamp),
        stampSeenMs,
        newestBackup: view === undefined ? "unknown" : view.newest,
        newestGood: view === undefined ? "unknown" : view.lastGood?.time,
        unfinished: unfinished?.kind === "time" ? unfinished.time : undefined,
        usedInodes,
        runs: view?.runs ?? [],
      },
    };
  }

  /** Since when exactly this value has been seen, by the monotonic clock. */
  seeStamp(bytes: Buffer | undefined): number {
    if (this.#stampSeen === undefined || !isSameStamp(this.#stampSeen.bytes, bytes)) {
      this.#stampSeen = { bytes, sinceMs: this.#parts.clock.monotonicMs() };
    }
    return this.#stampSeen.sinceMs;
  }

  /** The server's clock, where it has one, since it is the same for all agents. */
  async serverNow(volume: AgentVolume, signal: AbortSignal): Promise<Date> {
    const { clock, logger, status } = this.#parts;
    const server = await volume.serverTime(signal);
    const local = clock.now();
    if (server === undefined) return local;
    const skewMs = server.getTime() - local.getTime();
    if (status.skews(skewMs, CLOCK_SKEW_MS)) {
      const seconds = Math.abs(Math.round(skewMs / 1000));
      const side = skewMs > 0 ? "ahead of" : "behind";
      logger.warn(`the clock of the database server is ${seconds} s ${side} ours; backups go by the server's`);
    }
    return server;
  }

  /** Undefined, and a warning, when the bucket cannot be read. */
  async readBucket(volume: AgentVolume, now: Date, signal: AbortSignal): Promise<BucketView | undefined> {
    const { logger, status } = this.#parts;
    try {
      const view = await volume.readBucket(now, signal);
      status.bucketReadable();
      return view;
    } catch (error) {
      if (signal.aborted) throw error;
      this.bucketError = error;
      logger.warn(withHint(error));
      status.bucketTrouble(error, withHint(error));
      return undefined;
    }
  }
}

/** An error and what can be done about it, as one line. */
export function withHint(error: unknown): string {
  const hint = error instanceof DecantError ? error.hint : undefined;
  return hint === undefined ? errorText(error) : `${errorText(error)} (${hint})`;
}
