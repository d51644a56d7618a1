/**
 * Proof that nobody else makes or cleans up backups of this volume now. Whoever deletes asks before the first deletion and before
 * each batch of them.
 */
export interface Fence {
  /** Throws when it is not, or no longer, this caller's turn. */
  check(signal: AbortSignal): Promise<void>;
}

/** A value of the `lastBackup` attribute of the root inode, and the one to replace it by; undefined = absent. */
export interface StampChange {
  readonly expected: Buffer | undefined;
  readonly value: Buffer | undefined;
}

/** A turn at making backups, which one process at most has at a time. */
export interface BackupTurn extends Fence {
  /** Fires when the turn is lost: what is being made has to be given up. */
  readonly lost: AbortSignal;

  /**
   * Stores the time of the backup that begins, and tells those who come after this process, should it die, what it was at.
   * False when another client has stored a time meanwhile.
   */
  begin(change: StampChange, signal: AbortSignal): Promise<boolean>;

  /** The backup is made, or given up: then `change` puts back the time before, unless another client has stored one. */
  end(change: StampChange | undefined, signal: AbortSignal): Promise<void>;

  /** Never throws. */
  release(): Promise<void>;
}
