import { randomUUID } from "node:crypto";
import { InternalError, UsageError } from "../base/errors.ts";
import { BACKUP_LEASE_XATTR } from "../volume/backup-xattrs.ts";
import type { Clock } from "./clock.ts";
import { LeaseHold, type LeaseStore } from "./lease-hold.ts";
import { encodeLease, IDLE, type LeaseWork, MAX_LEASE_MS, parseLease } from "./lease-value.ts";
import { type OwnValue, OwnValues } from "./own-values.ts";

export interface BackupLeaseOptions {
  readonly store: LeaseStore;
  readonly clock: Clock;
  /** Who this is, for people who read the attribute: `host:process`. */
  readonly holder: string;
  /** How long a holder that has died keeps others away. Agents may differ in it. */
  readonly durationMs: number;
}

/** A value of the attribute, undefined = absent, and since when it is known not to have changed. */
interface Observation {
  readonly bytes: Buffer | undefined;
  readonly sinceMs: number;
}

/**
 * The lease between the agents of a volume: of all of them, one at most holds it. It is an extended attribute of the root
 * inode, changed by compare and set alone.
 *
 * Nobody's time of day counts. A holder stores a new value every third of the duration. Who sees the same value for the
 * whole duration, by the own monotonic clock, takes it for dead and replaces it. A holder that could not renew for two
 * thirds of the duration, by its own monotonic clock, stops, so both are never sure at once, unless their clocks run at
 * rates that differ by half. What must not depend on clocks at all is stored with `LeaseHold.swapFenced`.
 *
 * One object per process and volume: it knows what it has stored, also when an answer was lost.
 */
export class BackupLease {
  readonly #store: LeaseStore;
  readonly #clock: Clock;
  readonly #holder: string;
  readonly #durationMs: number;
  readonly #instance: string = randomUUID();
  readonly #own: OwnValues = new OwnValues();
  #seen: Observation | undefined;
  #highestToken = 0;
  #requested: { readonly expected: Buffer | undefined; readonly own: OwnValue } | undefined;
  #hold: LeaseHold | undefined;

  constructor({ store, clock, holder, durationMs }: BackupLeaseOptions) {
    if (!(Number.isSafeInteger(durationMs) && durationMs > 0 && durationMs <= MAX_LEASE_MS)) {
      throw new UsageError("DECANT_E_LEASE_DURATION", `A lease of ${durationMs} ms is not possible`, {
        hint: `It takes a whole number of milliseconds up to ${MAX_LEASE_MS} (24 hours)`,
      });
    }
    this.#store = store;
    this.#clock = clock;
    this.#holder = holder;
    this.#durationMs = durationMs;
  }

  /** Waits until it is free, or its holder is dead, and takes it. Errors of the database are thrown: call again. */
  async acquire(signal: AbortSignal): Promise<LeaseHold> {
    for (;;) {
      const hold = await this.tryAcquire(signal);
      if (hold !== undefined) return hold;
      await this.#clock.sleep(this.#pauseMs(), signal);
    }
  }

  /**
   * Takes the lease if that is possible now; undefined if somebody else has it or was faster. What was seen counts for
   * later calls: only who has looked twice, the duration apart, can tell that a holder is dead.
   */
  async tryAcquire(signal: AbortSignal): Promise<LeaseHold | undefined> {
    if (this.#hold?.isHeld() === true) {
      throw new InternalError("DECANT_E_LEASE_HELD", "A lease is asked for by the process that holds it");
    }
    const bytes = (await this.#store.readRootXattrs([BACKUP_LEASE_XATTR], signal)).get(BACKUP_LEASE_XATTR);
    const nowMs = this.#clock.monotonicMs();
    if (this.#seen === undefined || !isSame(this.#seen.bytes, bytes)) this.#seen = { bytes, sinceMs: nowMs };
    const found = bytes === undefined ? undefined : parseLease(bytes);
    this.#highestToken = Math.max(this.#highestToken, found?.token ?? 0);
    const isFree = bytes === undefined || (found !== undefined && found.holder === undefined);
    if (!isFree && !this.#own.has(bytes) && nowMs < this.#deadAtMs(this.#seen)) return undefined;

    const own = this.#request(bytes, found?.work ?? IDLE);
    const startedAtMs = this.#clock.monotonicMs();
    const swap = {
      expected: new Map([[BACKUP_LEASE_XATTR, bytes]]),
      values: new Map([[BACKUP_LEASE_XATTR, own.bytes]]),
    };
    const isTaken = await this.#store.swapRootXattrs(swap, signal);
    this.#seen = undefined;
    if (!isTaken) return undefined;
    this.#own.settle(own);
    this.#requested = undefined;
    this.#highestToken = own.value.token;
    const { work } = own.value;
    this.#hold = new LeaseHold({
      store: this.#store,
      clock: this.#clock,
      own: this.#own,
      first: { ...own, startedAtMs },
      unfinished: work.state === "idle" ? undefined : { ...work, holder: found?.holder },
    });
    return this.#hold.isHeld() ? this.#hold : undefined; // not when the answer took too long
  }

  /**
   * The value to take the lease with, in the place of `expected`. Remembered before it is sent: whatever becomes of the
   * answer, it is recognised when it is seen. Without an answer the same value is asked for again.
   */
  #request(expected: Buffer | undefined, work: LeaseWork): OwnValue {
    const last = this.#requested;
    if (last !== undefined && isSame(last.expected, expected) && this.#own.has(last.own.bytes)) return last.own;
    if (last !== undefined && !isSame(last.own.bytes, expected)) this.#own.drop(last.own);
    const value = {
      holder: this.#holder,
      instance: this.#instance,
      token: this.#highestToken + 1,
      renewal: this.#own.nextRenewal(),
      durationMs: this.#durationMs,
      work,
    };
    const own = { bytes: encodeLease(value), value, startedAtMs: this.#clock.monotonicMs() };
    this.#own.add(own);
    this.#requested = { expected, own };
    return own;
  }

  /** When a value that does not change is that of a dead holder. What is no lease at all is given the own duration. */
  #deadAtMs({ bytes, sinceMs }: Observation): number {
    const found = bytes === undefined ? undefined : parseLease(bytes);
    return sinceMs + (found?.durationMs ?? this.#durationMs);
  }

  #pauseMs(): number {
    const pollMs = this.#durationMs / 3;
    if (this.#seen === undefined) return pollMs;
    return Math.max(1, Math.min(pollMs, this.#deadAtMs(this.#seen) - this.#clock.monotonicMs()));
  }
}

function isSame(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}
