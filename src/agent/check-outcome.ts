import type { FinishedBackup } from "./agent-volume.ts";
import type { BackupReason, SkipReason } from "./decide.ts";

/** What became of one check of a volume. */
export type CheckOutcome =
  | {
      readonly kind: "made";
      readonly reason: BackupReason;
      readonly key: string;
      readonly backup: FinishedBackup;
      /** Nothing was cleaned up, though it should have been. */
      readonly frozen: boolean;
    }
  | { readonly kind: "not-due"; readonly waitMs: number }
  /** Another agent has the lease: what is to be done, it does. */
  | { readonly kind: "busy" }
  /** The last attempt failed, and it is not yet time for the next. */
  | { readonly kind: "retry-later"; readonly waitMs: number }
  /** `lastBackup` is of no use, and is repaired after `waitMs` if it stays like that. */
  | { readonly kind: "useless-stamp"; readonly waitMs: number; readonly message: string }
  | { readonly kind: "skipped"; readonly reason: SkipReason; readonly message: string; readonly fittingMs: number }
  | { readonly kind: "failed"; readonly error: unknown }
  /** The agent was stopped before anything was begun, or in the middle; then nothing is left of it. */
  | { readonly kind: "stopped" };
