import type { BucketView } from "./bucket-view.ts";
import type { SkipReason } from "./decide.ts";

/** What an agent knows of a volume at this moment: for metrics, health and reports. Times of day are those of the checks. */
export interface VolumeStatus {
  /** Unique among the volumes of an agent. Without secrets. */
  readonly label: string;
  readonly uuid: string | undefined;
  readonly intervalMs: number;
  readonly startedAt: Date;
  /** Since when it has been known what follows; undefined before the first check. */
  readonly checkedAt: Date | undefined;
  readonly bucket: BucketView | undefined;
  readonly usedInodes: number | undefined;
  /** How far the server's clock is ahead of ours. */
  readonly clockSkewMs: number | undefined;
  /** What is wrong now. */
  readonly troubles: readonly Trouble[];
  readonly skipped: { readonly reason: SkipReason; readonly text: string; readonly fittingMs: number } | undefined;
  /** Since when a backup is being made. */
  readonly runningSince: Date | undefined;
  readonly holdsLease: boolean;
  /** Counted since the agent was started. */
  readonly made: number;
  readonly failures: ReadonlyMap<string, number>;
  readonly skips: number;
  readonly hookFailures: number;
}

/**
 * `database`, `bucket`: cannot be reached. `backup`: the last attempt failed. `stamp`: `lastBackup` is of no use. `lease`: another
 * agent holds it for longer than a period. `clean-up`: failed, or refused.
 */
export const TROUBLE_KINDS = ["database", "bucket", "backup", "stamp", "lease", "clean-up"] as const;

export type TroubleKind = (typeof TROUBLE_KINDS)[number];

export interface Trouble {
  readonly kind: TroubleKind;
  readonly message: string;
}

export interface Health {
  readonly healthy: boolean;
  /** A sentence each. */
  readonly reasons: readonly string[];
}

/** The share of the period that a check may come late, beside the time that a backup takes. */
const GRACE = 0.25;

/**
 * Unhealthy when the last good backup is older than two periods and a quarter, and for everything that somebody has to look after.
 * An agent that has just been started is not blamed for what it finds, as long as it may still put it right.
 */
export function healthOf(status: VolumeStatus, now: Date): Health {
  const reasons: string[] = [];
  const { bucket, intervalMs, skipped, checkedAt, startedAt } = status;
  const limitMs = intervalMs * (2 + GRACE);
  const sinceStartMs = now.getTime() - startedAt.getTime();
  if (skipped !== undefined) reasons.push(skipped.text);
  for (const { message } of status.troubles) reasons.push(message);
  if (bucket?.frozenBy !== undefined) {
    reasons.push(
      `${bucket.frozenBy.name} looks as if something was lost (${bucket.frozenBy.reasons.join("; ")}); nothing is cleaned up`,
    );
  }
  const last = bucket?.lastGood?.time;
  const ageMs = last === undefined ? undefined : now.getTime() - last.getTime();
  if (checkedAt === undefined) {
    if (sinceStartMs > limitMs) reasons.push("no check has come to its end since the agent was started");
  } else if (status.runningSince === undefined && now.getTime() - checkedAt.getTime() > intervalMs * (1 + GRACE)) {
    reasons.push(`no check has come to its end since ${checkedAt.toISOString()}`);
  } else if (sinceStartMs > intervalMs * (1 + GRACE)) {
    if (ageMs === undefined) reasons.push("there is no good backup");
    else if (ageMs > limitMs) reasons.push(`the last good backup is of ${last!.toISOString()}`);
  }
  return { healthy: reasons.length === 0, reasons };
}
