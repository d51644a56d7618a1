import { raceAbort } from "../../base/abortable.ts";
import { EngineError } from "../../base/errors.ts";
import {
  COMMIT_UNKNOWN,
  type FdbError,
  fdbError,
  isFdbError,
  isHopeless,
  mayBeCommitted,
  outcomeUnknown,
  TIMED_OUT,
} from "./foundationdb-errors.ts";
import type { FdbDatabase, FdbKeySelector, FdbTransaction, FoundationdbPackage } from "./foundationdb-package.ts";

/** How long a transaction is tried, with all its attempts. */
const PATIENCE_MS = 60_000;

/** Streaming mode: the whole range is wanted, as soon as can be. */
const WANT_ALL = -2;

/** What an attempt of a transaction found, and whether it made changes that are to be committed. */
export interface Attempt<T> {
  readonly result: T;
  readonly commit: boolean;
}

/** Some pairs of a range, whole keys, and whether there may be more behind the last one. */
export interface FdbPairs {
  readonly results: readonly [key: Buffer, value: Buffer][];
  readonly more: boolean;
}

/**
 * Transactions, tried again as the client library says: it knows what is worth it and how long to wait, and ends when the patience
 * is over. Its errors come out as `EngineError`.
 */
export class FoundationdbClient {
  /** Masked. */
  readonly address: string;
  readonly #database: FdbDatabase;
  #isClosed = false;

  /** Throws `EngineError` for a cluster file that cannot be used. Does not connect. */
  constructor(fdb: FoundationdbPackage, clusterFile: string | undefined, address: string) {
    this.address = address;
    try {
      this.#database = clusterFile === undefined ? fdb.open() : fdb.open(clusterFile);
    } catch (error) {
      throw fdbError(error, address);
    }
  }

  /** Reads without conflicts, all at one version. `work` may be called again, and then reads at another one. */
  read<T>(
    work: (transaction: FdbTransaction) => Promise<T>,
    signal: AbortSignal,
    patienceMs: number = PATIENCE_MS,
  ): Promise<T> {
    return this.#attempts((transaction) => work(transaction.snapshot()), signal, patienceMs);
  }

  /**
   * Calls `work` until it has nothing to commit, or what it changed is committed. It gets `uncertain` from then on when an attempt
   * before may have been committed, which is settled by then: it has to look, and throws `outcomeUnknown` when that does not tell.
   * Where it is not settled, as a commit may still be under way, the call ends with that error at once.
   */
  async transact<T>(
    work: (transaction: FdbTransaction, uncertain: FdbError | undefined) => Promise<Attempt<T>>,
    signal: AbortSignal,
  ): Promise<T> {
    let uncertain: FdbError | undefined;
    const attempt = async (transaction: FdbTransaction): Promise<T> => {
      const { result, commit } = await work(transaction, uncertain);
      if (!commit) return result;
      try {
        await transaction.rawCommit();
      } catch (error) {
        if (!isFdbError(error) || !mayBeCommitted(error)) throw error;
        if (error.code !== COMMIT_UNKNOWN) throw outcomeUnknown(fdbError(error, this.address), this.address);
        uncertain = error;
        throw error;
      }
      return result;
    };
    try {
      return await this.#attempts(attempt, signal, PATIENCE_MS);
    } catch (error) {
      // It stays uncertain when all attempts after it fail.
      const isSaid = !(error instanceof EngineError) || error.code === "DECANT_E_OUTCOME_UNKNOWN";
      throw uncertain === undefined || isSaid ? error : outcomeUnknown(error, this.address);
    }
  }

  /** A transaction without further attempts; what it throws are errors of the library. */
  begin(patienceMs: number = PATIENCE_MS): FdbTransaction {
    return this.#database.rawCreateTransaction({ timeout: patienceMs });
  }

  async #attempts<T>(
    attempt: (transaction: FdbTransaction) => Promise<T>,
    signal: AbortSignal,
    patienceMs: number,
  ): Promise<T> {
    signal.throwIfAborted();
    const transaction = this.begin(patienceMs);
    // Calls that are out fail then, so that they do not keep the process from ending.
    const onAbort = (): void => transaction.rawCancel();
    signal.addEventListener("abort", onAbort, { once: true });
    let before: FdbError | undefined;
    try {
      for (;;) {
        try {
          const result = await raceAbort(attempt(transaction), signal);
          transaction.rawReset(); // only here is nothing of it under way any more
          return result;
        } catch (error) {
          signal.throwIfAborted();
          if (!isFdbError(error) || isHopeless(error)) throw error;
          if (error.code !== TIMED_OUT) before = error;
          await raceAbort(transaction.rawOnError(error.code), signal);
        }
      }
    } catch (error) {
      signal.throwIfAborted();
      throw isFdbError(error) ? fdbError(error, this.address, before) : error;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Never throws. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#database.close();
  }
}

/** The next pairs from `start` on, below `end`: as many as the server sends at once. */
export async function readPairs(transaction: FdbTransaction, start: Buffer, end: Buffer, limit = 0): Promise<FdbPairs> {
  const pairs = await transaction.getRangeNative(firstFrom(start), firstFrom(end), limit, 0, WANT_ALL, 1, false);
  if (pairs.more && pairs.results.length === 0) {
    // Going on from nowhere would end in a loop, or with keys missing.
    throw new EngineError(
      "DECANT_E_FOUNDATIONDB",
      "FoundationDB sent no keys of a range, and says that there are more",
    );
  }
  return pairs;
}

function firstFrom(key: Buffer): FdbKeySelector {
  return { key, orEqual: false, offset: 1, _isKeySelector: true };
}
