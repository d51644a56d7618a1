import { errorText } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { keyAfter } from "../kv/prefixed-keys.ts";
import type { FoundationdbClient } from "./foundationdb-client.ts";
import { isFdbError, TOO_OLD } from "./foundationdb-errors.ts";
import type { FdbTransaction } from "./foundationdb-package.ts";
import { SeenRanges } from "./seen-ranges.ts";

/** Time for tests to turn. */
export interface FoundationdbClock {
  /** Milliseconds from any moment on, never backwards. */
  now(): number;
  /** Calls once, later; returns what stops that. */
  after(ms: number, run: () => void): () => void;
}

export const systemClock: FoundationdbClock = {
  now: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms).unref();
    return () => clearTimeout(timer);
  },
};

/**
 * When a version is checked and left. The cluster forgets it after five seconds; the sooner it is checked, the more of them are left to
 * come to the end in when something has changed.
 */
const RENEW_AFTER_MS = 2000;

/** How long a check may take: after that it would be refused for its age. */
const CHECK_MS = 2500;

export interface ReadVersionsOptions {
  readonly signal: AbortSignal;
  readonly logger: Logger;
  readonly clock: FoundationdbClock;
  /** A key outside of the volume, for the check. */
  readonly outside: Buffer;
}

/**
 * The versions at which a volume is read. One is held as long as the cluster can read at it, five seconds. Then another one follows,
 * and all that was read before has to be the same at it, or what is read is no point in time. That can be proven: a transaction that
 * begins at the old version, declares what was read as read (conflict ranges) and commits, is refused when any of it was changed since,
 * keys that came in between included. It changes nothing: what it declares to write is a range without a value outside of the volume,
 * because a transaction that writes nothing is not checked. Reading goes on at the version at which it was committed, so
 * after any number of versions all is as of the last one.
 *
 * Where it is refused, the old version is used up first: what ends in time needs no other.
 */
export class ReadVersions {
  readonly #client: FoundationdbClient;
  readonly #options: ReadVersionsOptions;
  readonly #seen: SeenRanges;
  #version: Buffer = Buffer.alloc(0);
  #since = 0;
  #asOf = new Date();
  #count = 0;
  #isChanged = false;
  #isExact = true;
  #underWay = 0;
  #onIdle: (() => void) | undefined;
  #renewal: Promise<void> | undefined;
  #stopTimer: () => void = () => undefined;
  #proof: FdbTransaction | undefined;
  #isClosed = false;

  private constructor(client: FoundationdbClient, options: ReadVersionsOptions) {
    this.#client = client;
    this.#options = options;
    this.#seen = new SeenRanges(options.outside.length);
  }

  static async open(client: FoundationdbClient, options: ReadVersionsOptions): Promise<ReadVersions> {
    const versions = new ReadVersions(client, options);
    await versions.#begin();
    return versions;
  }

  /** All that was read is as of one instant. Final when nothing more is read. */
  get isExact(): boolean {
    return this.#isExact;
  }

  get asOf(): Date {
    return this.#asOf;
  }

  /** In one sentence. */
  get method(): string {
    const version = this.#version.readBigUInt64BE();
    if (this.#count === 1) return `all keys were read at version ${version} of FoundationDB`;
    const many = `keys were read at ${this.#count} versions of FoundationDB, which keeps one for five seconds`;
    return this.#isExact
      ? `${many}, and it confirmed each time that what had been read was still the same: all is as of version ${version}`
      : `${many}, and what had been read was changed meanwhile or could not be checked`;
  }

  /** Reads at the version that is held. `seen` names the whole ranges of keys that the result tells about. */
  async read<T>(
    work: (transaction: FdbTransaction) => Promise<T>,
    seen: (result: T) => Iterable<readonly [start: Buffer, end: Buffer]>,
  ): Promise<T> {
    for (;;) {
      await this.#settled();
      const version = this.#version;
      this.#underWay++;
      try {
        const result = await this.#readAt(version, work);
        if (result !== undefined) {
          for (const [start, end] of seen(result.value)) this.#seen.add(start, end);
          return result.value;
        }
      } finally {
        this.#underWay--;
        if (this.#underWay === 0) this.#onIdle?.();
      }
      await this.#replace(version);
    }
  }

  /** Undefined when the version is too old to be read. */
  async #readAt<T>(
    version: Buffer,
    work: (transaction: FdbTransaction) => Promise<T>,
  ): Promise<{ value: T } | undefined> {
    try {
      const value = await this.#client.read(async (transaction) => {
        transaction.setReadVersion(version);
        try {
          return await work(transaction);
        } catch (error) {
          // The library would go on at a newer version of its own choice.
          if (isFdbError(error) && error.code === TOO_OLD) throw new VersionLost();
          throw error;
        }
      }, this.#options.signal);
      return { value };
    } catch (error) {
      if (error instanceof VersionLost) return undefined;
      throw error;
    }
  }

  /** Waits until a version is held that can be read, and renews it where it is time to. */
  async #settled(): Promise<void> {
    const { clock } = this.#options;
    if (this.#renewal === undefined && this.#canBeProven && clock.now() - this.#since >= RENEW_AFTER_MS) this.#renew();
    while (this.#renewal !== undefined) await this.#renewal;
  }

  get #canBeProven(): boolean {
    return this.#isExact && !this.#isChanged;
  }

  /** Begins the check of the version that is held. */
  #renew(): void {
    this.#renewal = this.#check().finally(() => {
      this.#renewal = undefined;
    });
    this.#renewal.catch(() => undefined); // whoever reads next hears of it
  }

  async #check(): Promise<void> {
    // What is under way at the old version has to be among what is checked.
    if (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      this.#onIdle = undefined;
    }
    if (this.#isClosed) return;
    if (this.#seen.isEmpty) return this.#begin();
    const asOf = new Date();
    const now = this.#options.clock.now();
    const version = await this.#prove();
    if (version === undefined) this.#isChanged = true;
    else this.#hold(version, now, asOf);
  }

  /** The version at which all that was seen is the same; undefined when it is not, or nobody can tell. */
  async #prove(): Promise<Buffer | undefined> {
    const { logger, outside } = this.#options;
    const old = this.#version;
    try {
      const transaction = this.#client.begin(CHECK_MS);
      this.#proof = transaction;
      for (;;) {
        transaction.setReadVersion(old);
        for (const [start, end] of this.#seen) transaction.addReadConflictRange(start, end);
        transaction.addWriteConflictRange(outside, keyAfter(outside));
        try {
          await transaction.rawCommit();
          const version = transaction.getCommittedVersion();
          transaction.rawReset();
          // -1 is that of a transaction that nobody has looked at
          return version.readBigInt64BE() > old.readBigInt64BE() ? version : undefined;
        } catch (error) {
          // As it changes nothing, it may be committed twice; but it is refused for good when something has changed.
          if (!isFdbError(error) || !AGAIN.has(error.code)) throw error;
          await transaction.rawOnError(error.code);
        }
      }
    } catch (error) {
      logger.debug(`FoundationDB does not confirm that nothing has changed: ${errorText(error)}`);
      return undefined;
    } finally {
      this.#proof = undefined;
    }
  }

  /** Goes on at the newest version instead of one that is too old. */
  async #replace(old: Buffer): Promise<void> {
    while (this.#renewal !== undefined) await this.#renewal;
    if (!this.#version.equals(old)) return;
    this.#renewal = this.#begin().finally(() => {
      this.#renewal = undefined;
    });
    await this.#renewal;
  }

  async #begin(): Promise<void> {
    const asOf = new Date();
    const now = this.#options.clock.now();
    const { signal, logger } = this.#options;
    const version = await this.#client.read((transaction) => transaction.getReadVersion(), signal);
    const isFirst = this.#seen.isEmpty;
    if (!isFirst && this.#isExact) {
      this.#isExact = false;
      logger.warn(
        "FoundationDB keeps a version for five seconds, and what had been read was changed meanwhile or could not be checked: what is read is no point in time",
      );
    }
    if (isFirst) this.#count = 0;
    this.#hold(version, now, asOf);
  }

  #hold(version: Buffer, since: number, asOf: Date): void {
    this.#stopTimer();
    this.#version = version;
    this.#since = since;
    this.#asOf = asOf;
    this.#count++;
    if (this.#isClosed || !this.#canBeProven) return;
    // Also while nobody reads: whoever stores what was read may take his time.
    this.#stopTimer = this.#options.clock.after(RENEW_AFTER_MS, () => {
      if (!this.#isClosed && this.#renewal === undefined) this.#renew();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#stopTimer();
    this.#proof?.rawCancel();
  }
}

/** Failures of a commit after which the same one may still be taken. */
const AGAIN: ReadonlySet<number> = new Set([1009, 1021, 1037, 1039, 1042, 1051, 1078, 1213, 1223]);

class VersionLost extends Error {}
