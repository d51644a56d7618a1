/**
 * Proof that nobody else makes or cleans up backups of this volume now. Whoever deletes asks before the first deletion and before
 * each batch of them, and writes `lastBackup` through it.
 */
export interface Fence {
  /** Throws when it is not, or no longer, this caller's turn. */
  check(signal: AbortSignal): Promise<void>;
}

/** A turn that somebody was given, see `BackupRequest.acquire`. */
export interface BackupTurn extends Fence {
  /** Fires when the turn is lost: what is being made has to be given up. */
  readonly lost: AbortSignal;
  /**
   * Replaces the `lastBackup` attribute of the root inode when it still has the `expected` bytes (undefined = absent). False
   * when somebody else was faster. Throws when the turn is lost.
   */
  swapLastBackup(
    change: { readonly expected: Buffer | undefined; readonly value: Buffer | undefined },
    signal: AbortSignal,
  ): Promise<boolean>;
  /** Never throws. */
  release(): Promise<void>;
}
