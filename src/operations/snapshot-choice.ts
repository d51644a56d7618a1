import { UsageError } from "../base/errors.ts";
import { parseDurationSeconds } from "../base/go-duration.ts";
import type { Consistency, SnapshotMethod, SnapshotOptions } from "../engines/engine.ts";
import type { OperationContext } from "./context.ts";
import type { DumpReport } from "./report.ts";

/** How a volume is read that others write to; only Redis has a choice, other engines have a view of one instant. */
export interface SnapshotChoice {
  /** Default `auto`. */
  readonly snapshot?: SnapshotMethod | undefined;
  /** Milliseconds for which the writers of a Redis may be held where nothing else leads to one instant; 0: not at all. Default 500. */
  readonly maxPauseMs?: number | undefined;
}

/** What `openSnapshot` is to be given. */
export function snapshotOptions(
  { snapshot, maxPauseMs }: SnapshotChoice,
  { signal, logger, progress }: Pick<OperationContext, "signal" | "logger" | "progress">,
): SnapshotOptions {
  return {
    ...{ signal, logger, progress },
    ...(snapshot === undefined ? {} : { method: snapshot }),
    ...(maxPauseMs === undefined ? {} : { maxPauseMs }),
  };
}

/** What reports and manifests say of it. */
export function reportedConsistency({
  pointInTime,
  method,
  asOf,
  asked,
  tracking,
}: Consistency): DumpReport["consistency"] {
  return {
    ...{ pointInTime, method, asOf: asOf.toISOString() },
    ...(asked === true ? { asked } : {}),
    ...(tracking === undefined ? {} : { tracking }),
  };
}

/** A full resync comes as one stream of the whole database. */
export function refuseReplicaOfPart(snapshot: SnapshotMethod | undefined, isPart: boolean): void {
  if (snapshot !== "replica" || !isPart) return;
  throw new UsageError(
    "DECANT_E_REPLICA_SUBDIR",
    "A full resync gives whole volumes: --snapshot replica takes no --subdir",
    { hint: "Use --snapshot tracking, or take the part from an RDB file of the server (rdb://)" },
  );
}

const METHODS: readonly SnapshotMethod[] = ["auto", "tracking", "replica", "none"];

/** Throws `UsageError`. */
export function parseSnapshotMethod(text: string): SnapshotMethod {
  const method = METHODS.find((known) => known === text);
  if (method !== undefined) return method;
  throw new UsageError(
    "DECANT_E_OPTION_VALUE",
    `Invalid value "${text}" for "snapshot": it must be ${METHODS.slice(0, -1).join(", ")} or ${METHODS.at(-1)}`,
  );
}

/** Longer than this no clients wait for a server. */
const LONGEST_PAUSE_MS = 60_000;

/** `500ms`, `0`: milliseconds. Throws `UsageError`. */
export function parseMaxPause(text: string): number {
  const seconds = parseDurationSeconds(text);
  const ms = seconds === undefined ? -1 : Math.round(seconds * 1000);
  if (ms >= 0 && ms <= LONGEST_PAUSE_MS) return ms;
  throw new UsageError(
    "DECANT_E_OPTION_VALUE",
    `Invalid value "${text}" for "max-pause": 0, or up to 1m, such as 500ms`,
  );
}
