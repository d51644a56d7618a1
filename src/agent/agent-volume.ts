import type { BackupName } from "../operations/backups/backup-name.ts";
import type { Fence } from "../operations/backups/fence.ts";
import type { RunStatus } from "../operations/backups/run-status.ts";
import type { BucketView, UnverifiedBackup } from "./bucket-view.ts";
import type { LeaseStore } from "./lease-hold.ts";

/** A volume as the agent's loop needs it: its database, its bucket, and how a backup is made. Opened for one check. */
export interface AgentVolume {
  readonly name: string;
  readonly uuid: string;
  readonly store: LeaseStore;

  /** The clock of the database server, undefined where there is none. */
  serverTime(signal: AbortSignal): Promise<Date | undefined>;

  /** The volume's counter of inodes, as the reference limits it. */
  usedInodes(signal: AbortSignal): Promise<bigint>;

  /** What is in the bucket, without backups from the future. Throws where it cannot be read. */
  readBucket(now: Date, signal: AbortSignal): Promise<BucketView>;

  /** The name for a backup begun at that time, which no object has. */
  freeName(begunAt: Date, signal: AbortSignal): Promise<BackupName>;

  /** Makes and verifies one backup. It counts from when this returns. */
  makeBackup(backup: BackupName, signal: AbortSignal): Promise<FinishedBackup>;

  /** Reads a backup that somebody else made to its end, and keeps in the bucket whether it is whole. Returns what is wrong with it. */
  verifyBackup(backup: UnverifiedBackup, signal: AbortSignal): Promise<readonly string[]>;

  /** Removes what an aborted `makeBackup` may have left under its name: a whole object, which was not read back. */
  discard(backup: BackupName, signal: AbortSignal): Promise<void>;

  /** Cleans up by the volume's policy. */
  prune(fence: Fence, signal: AbortSignal): Promise<PruneResult>;

  /** Leaves word of a run in the bucket. */
  writeStatus(status: Omit<RunStatus, "by">, signal: AbortSignal): Promise<void>;

  close(): Promise<void>;
}

export interface FinishedBackup {
  /** Address of the object, for people. */
  readonly path: string;
  readonly bytes: number;
  readonly inodes: number;
  readonly durationMs: number;
  /** Why it looks as if something was lost; empty when nothing does. */
  readonly suspicious: readonly string[];
  /** What a user should know of it, a sentence each. */
  readonly warnings: readonly string[];
}

export interface PruneResult {
  readonly deleted: number;
  readonly kept: number;
  /** Why nothing was cleaned up; undefined when it was. `isFrozen`: until somebody confirms a suspicious backup. */
  readonly refusal: { readonly isFrozen: boolean; readonly message: string } | undefined;
}
