import { ConflictError, DecantError, errorText } from "../base/errors.ts";
import type { MetadataStore, RootXattrSwap } from "../engines/engine.ts";
import { BACKUP_LEASE_XATTR } from "../volume/backup-xattrs.ts";
import type { Clock } from "./clock.ts";
import { type BackupInProgress, encodeLease, type LeaseWork, parseLease } from "./lease-value.ts";
import type { OwnValue, OwnValues } from "./own-values.ts";

/** What a lease needs of a database. */
export type LeaseStore = Pick<MetadataStore, "readRootXattrs" | "swapRootXattrs">;

/** A backup that the holder before has begun and not ended. */
export interface UnfinishedBackup extends BackupInProgress {
  /** Undefined when that holder gave the lease back. */
  readonly holder: string | undefined;
}

export interface LeaseHoldOptions {
  readonly store: LeaseStore;
  readonly clock: Clock;
  readonly own: OwnValues;
  /** The value with which the lease was taken. */
  readonly first: OwnValue;
  readonly unfinished: UnfinishedBackup | undefined;
}

/** What is stored together with the lease, and only by its holder. */
export interface FencedSwap extends RootXattrSwap {
  /** What the holder is at from then on; as before when not given. */
  readonly work?: LeaseWork;
}

interface Change extends FencedSwap {
  readonly isRelease?: boolean;
}

const NOTHING: Change = { expected: new Map(), values: new Map() };

/** After how much of the duration a failed request is repeated. */
const RETRY_SHARE = 1 / 30;

/**
 * One hold of the lease, which renews itself until it is released or lost. A hold that was lost never comes back, also
 * when the same process takes the lease again: what still works for it cannot store anything any more.
 */
export class LeaseHold {
  readonly token: number;
  readonly unfinished: UnfinishedBackup | undefined;
  readonly #store: LeaseStore;
  readonly #clock: Clock;
  readonly #own: OwnValues;
  readonly #durationMs: number;
  /** What is in the database, as far as known. */
  #current: OwnValue;
  /** The own clock's reading from which on this hold is none. */
  #validUntilMs: number;
  readonly #lost: AbortController = new AbortController();
  readonly #ended: AbortController = new AbortController();
  #isReleased = false;
  #lastFailure: unknown;
  /** One request at a time: each needs to know what the one before has stored. */
  #queue: Promise<unknown> = Promise.resolve();
  readonly #background: Promise<unknown>;

  constructor({ store, clock, own, first, unfinished }: LeaseHoldOptions) {
    this.#store = store;
    this.#clock = clock;
    this.#own = own;
    this.#current = first;
    this.#durationMs = first.value.durationMs;
    this.#validUntilMs = first.startedAtMs + (this.#durationMs * 2) / 3;
    this.token = first.value.token;
    this.unfinished = unfinished;
    this.#background = Promise.all([this.#watch(), this.#keepRenewed()]);
  }

  /** Fires when the lease is lost, with a `ConflictError` as the reason: whatever is done for the hold has to stop. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Whether nobody else can have it at this moment, by the own clock. */
  isHeld(): boolean {
    return this.#isValid() && !this.#isReleased;
  }

  #isValid(): boolean {
    if (this.#lost.signal.aborted) return false;
    if (this.#clock.monotonicMs() < this.#validUntilMs) return true;
    this.#lose(this.#expiredError());
    return false;
  }

  get work(): LeaseWork {
    return this.#current.value.work;
  }

  /** Stores a new value of the lease. Throws `ConflictError` `DECANT_E_LEASE_LOST` when it is lost. */
  async renew(signal: AbortSignal): Promise<void> {
    await this.#write(NOTHING, signal);
  }

  /**
   * Returns when this is the holder, said by the database and not by a clock: before something is done that the database
   * cannot guard, such as the clean-up of old backups. Throws as `renew` does.
   */
  checkFence(signal: AbortSignal): Promise<void> {
    return this.renew(signal);
  }

  /**
   * `swapRootXattrs` in one transaction with a renewal of the lease, so that nobody but the holder can store `values`. False
   * when other attributes are not as expected. The answer is certain: one that was lost is asked for again until the lease
   * ends. Throws `ConflictError` `DECANT_E_LEASE_LOST` when it is lost; after that, an abort or an error that repeating does
   * not help against nothing is known of `values`, and `work`, stored in the same transaction, tells the next holder.
   */
  swapFenced(swap: FencedSwap, signal: AbortSignal): Promise<boolean> {
    return this.#write(swap, signal);
  }

  /** Gives the lease back, with its work as it is. False when that failed: then it ends by itself. */
  async release(signal: AbortSignal): Promise<boolean> {
    // Before it is asked for: it may be another's before the answer is here.
    this.#isReleased = true;
    try {
      return await this.#write({ ...NOTHING, isRelease: true }, signal);
    } catch {
      return false; // whoever waits for it has only to wait longer
    } finally {
      this.#ended.abort();
      await this.#background;
    }
  }

  #write(change: Change, signal: AbortSignal): Promise<boolean> {
    const result = this.#queue.then(() => this.#settle(change, AbortSignal.any([signal, this.#lost.signal])));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  /** Swaps until the outcome is known. */
  async #settle(change: Change, signal: AbortSignal): Promise<boolean> {
    for (;;) {
      this.#throwIfOver(change);
      const own = this.#next(change);
      const outcome = await this.#swap(change, own, signal);
      if (outcome === "stored") {
        this.#throwIfOver(change);
        return true;
      }
      if (outcome === "refused") return false;
    }
  }

  /**
   * One value, asked to be stored as often as needed. `moved`: another own value, whose answer was lost, has been found
   * in the database, so all is to be done again on top of that.
   */
  async #swap(change: Change, own: OwnValue, signal: AbortSignal): Promise<"stored" | "refused" | "moved"> {
    let isDoubtful = false;
    for (;;) {
      const startedAtMs = this.#clock.monotonicMs();
      const swapped = await this.#ask(() => this.#store.swapRootXattrs(this.#fenced(change, own), signal), own, signal);
      if (swapped === undefined) {
        isDoubtful = true;
        continue;
      }
      if (swapped) {
        this.#adopt(own, startedAtMs);
        return "stored";
      }
      const bytes = await this.#readLease(signal);
      const found = bytes === undefined ? undefined : this.#recognise(bytes);
      if (found === own) {
        this.#adopt(own, own.startedAtMs);
        return "stored";
      }
      if (found === undefined || found.value.token !== this.token) throw this.#takenError(bytes);
      if (found !== this.#current) {
        this.#adopt(found, found.startedAtMs);
        return "moved";
      }
      // The other attributes are not as expected. A request without answer could still come to find them so.
      if (!isDoubtful) return "refused";
      const barrier = await this.#swap(NOTHING, this.#next(NOTHING), signal);
      if (barrier === "stored") return "refused";
      return this.#current === own ? "stored" : "moved";
    }
  }

  #recognise(bytes: Buffer): OwnValue | undefined {
    return this.#current.bytes.equals(bytes) ? this.#current : this.#own.find(bytes);
  }

  #fenced({ expected, values }: Change, own: OwnValue): RootXattrSwap {
    return {
      expected: new Map([...expected, [BACKUP_LEASE_XATTR, this.#current.bytes]]),
      values: new Map([...values, [BACKUP_LEASE_XATTR, own.bytes]]),
    };
  }

  /** The value that comes after the one in the database. */
  #next({ work, isRelease = false }: Change): OwnValue {
    const last = this.#current.value;
    const value = {
      ...last,
      holder: isRelease ? undefined : last.holder,
      renewal: this.#own.nextRenewal(),
      work: work ?? last.work,
    };
    return { bytes: encodeLease(value), value, startedAtMs: this.#clock.monotonicMs() };
  }

  /** It is in the database, where it was not before that reading of the clock. */
  #adopt(own: OwnValue, sinceMs: number): void {
    this.#own.settle(own);
    this.#current = own;
    if (!this.#isValid()) return;
    this.#validUntilMs = Math.max(this.#validUntilMs, sinceMs + (this.#durationMs * 2) / 3);
    this.#lastFailure = undefined;
  }

  async #readLease(signal: AbortSignal): Promise<Buffer | undefined> {
    for (;;) {
      const answer = await this.#ask(() => this.#store.readRootXattrs([BACKUP_LEASE_XATTR], signal), undefined, signal);
      if (answer !== undefined) return answer.get(BACKUP_LEASE_XATTR);
    }
  }

  /** The answer to one request; undefined, after a pause, when there was none and there may be one the next time. */
  async #ask<T>(request: () => Promise<T>, own: OwnValue | undefined, signal: AbortSignal): Promise<T | undefined> {
    signal.throwIfAborted();
    if (own !== undefined) this.#own.add(own);
    try {
      return await request();
    } catch (error) {
      signal.throwIfAborted();
      this.#lastFailure = error;
      if (!(error instanceof DecantError && error.retryable)) throw error;
    }
    await this.#clock.sleep(this.#durationMs * RETRY_SHARE, signal);
    return undefined;
  }

  async #watch(): Promise<void> {
    try {
      while (this.#isValid()) {
        await this.#clock.sleep(this.#validUntilMs - this.#clock.monotonicMs(), this.#ended.signal);
      }
    } catch {
      // It has ended.
    }
  }

  async #keepRenewed(): Promise<void> {
    try {
      while (this.isHeld()) {
        const leftMs = this.#validUntilMs - this.#durationMs / 3 - this.#clock.monotonicMs();
        if (leftMs > 0) await this.#clock.sleep(leftMs, this.#ended.signal);
        else await this.renew(this.#ended.signal).catch(() => this.#pauseAfterFailure());
      }
    } catch {
      // It has ended, and `lost` says why if it was not released.
    }
  }

  #pauseAfterFailure(): Promise<void> {
    return this.#clock.sleep(this.#durationMs * RETRY_SHARE, this.#ended.signal);
  }

  #throwIfOver({ isRelease = false }: Change): void {
    if (isRelease ? this.#isValid() : this.isHeld()) return;
    throw this.#lost.signal.aborted ? this.#lost.signal.reason : this.#lostError("it was given back", undefined);
  }

  #lose(error: ConflictError): void {
    if (this.#lost.signal.aborted) return;
    this.#lost.abort(error);
    this.#ended.abort();
  }

  #takenError(bytes: Buffer | undefined): ConflictError {
    const holder = bytes === undefined ? undefined : parseLease(bytes)?.holder;
    const text = bytes === undefined ? "somebody removed it" : `${holder ?? "somebody else"} has taken it`;
    const error = this.#lostError(text, undefined);
    this.#lose(error);
    return error;
  }

  #expiredError(): ConflictError {
    const seconds = ((this.#durationMs * 2) / 3 / 1000).toFixed(1);
    const reason = this.#lastFailure === undefined ? "" : ` (${errorText(this.#lastFailure)})`;
    return this.#lostError(`it could not be renewed for ${seconds} seconds${reason}`, this.#lastFailure);
  }

  #lostError(reason: string, cause: unknown): ConflictError {
    return new ConflictError("DECANT_E_LEASE_LOST", `The lease for backups of the volume is lost: ${reason}`, {
      hint: "Another agent may make backups now; this one waits for its turn",
      ...(cause === undefined ? {} : { cause }),
    });
  }
}
