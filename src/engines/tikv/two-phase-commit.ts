import { EngineError, errorText } from "../../base/errors.ts";
import { forEachLimited } from "../../base/limited.ts";
import type { Logger } from "../../base/logger.ts";
import { type ProtobufReader, ProtobufWriter } from "../../base/protobuf.ts";
import { LockHeartbeat } from "./lock-heartbeat.ts";
import type { LockResolver } from "./lock-resolver.ts";
import type { Mutations } from "./mutations.ts";
import { MAX_PARTS, type TikvClient } from "./tikv-client.ts";
import { LOCK_MS, type Patience } from "./tikv-errors.ts";
import { type KeyError, type Lock, type Region, readKeyError } from "./tikv-messages.ts";

/** Bytes of one prewrite: well below the largest entry of the log of a region, and small enough to be repeated. */
const PIECE_BYTES = 256 * 1024;
const PIECE_KEYS = 2048;
/** How many times longer others wait for transactions of many keys. */
const LARGE_TTL_FACTOR = 7;
const SMALL_KEYS = 256;
const ROLLBACK_MS = 5_000;

export interface CommitOptions {
  readonly client: TikvClient;
  readonly resolver: LockResolver;
  readonly logger: Logger;
  readonly patience: Patience;
  /** What was read at this timestamp has to be as it was, where it is among the mutations. */
  readonly startTs: bigint;
  /** When that was asked for, as `performance.now()`. */
  readonly startedAt: number;
  /** Called when all is locked and the timestamp of the commit is known; what it throws rolls back. */
  readonly beforeCommit?: (commitTs: bigint) => Promise<void>;
  /** See `CallOptions`. */
  readonly toTheEnd?: boolean;
}

/**
 * Commits in two phases (docs/spec/kv-stores.md §2.6): lock all keys with their values, then commit the first key, which decides,
 * then the others. False when another transaction came between: nothing is written then. Throws `EngineError`
 * `DECANT_E_OUTCOME_UNKNOWN` when it cannot be known.
 */
export async function commitInTwoPhases(mutations: Mutations, options: CommitOptions): Promise<boolean> {
  const commit = new TwoPhaseCommit(mutations, options);
  try {
    const commitTs = (await commit.lockAll()) ? await commit.commitPrimary() : undefined;
    if (commitTs === undefined) {
      await commit.rollBack();
      return false;
    }
    commit.end();
    await commit.commitSecondaries(commitTs);
    return true;
  } catch (error) {
    // what may be committed is left to be settled by those who meet its locks
    if (!commit.isUndecided) await commit.rollBack();
    throw error;
  } finally {
    commit.end();
  }
}

/** Positions of mutations, `to` excluded. */
interface Span {
  readonly from: number;
  readonly to: number;
}

class TwoPhaseCommit {
  readonly #mutations: Mutations;
  readonly #options: CommitOptions;
  readonly #heartbeat: LockHeartbeat;
  /** The commit was asked for, and it is not known what came of it. */
  isUndecided = false;

  constructor(mutations: Mutations, options: CommitOptions) {
    this.#mutations = mutations;
    this.#options = options;
    const { client, logger, startTs, startedAt } = options;
    const { lockMs = LOCK_MS } = client.timing;
    this.#heartbeat = new LockHeartbeat({
      ...{ client, logger, startTs, startedAt },
      primary: Buffer.from(mutations.key(0)),
      ttlMs: mutations.count <= SMALL_KEYS ? lockMs : lockMs * LARGE_TTL_FACTOR,
    });
  }

  /** Nobody needs to wait for it any more. */
  end(): void {
    this.#heartbeat.end();
  }

  /** False on a conflict. */
  async lockAll(): Promise<boolean> {
    let isConflict = false;
    await this.#forPieces({ from: 0, to: this.#mutations.count }, this.#options.patience, async (region, span) => {
      if (isConflict) return true;
      const outcome = await this.#lock(region, span);
      if (outcome === "conflict") isConflict = true;
      if (outcome === "locked" && span.from === 0) this.#heartbeat.begin();
      return outcome !== "again";
    });
    return !isConflict;
  }

  /** The timestamp at which the first key, which decides, is committed; undefined when it was rolled back by others. */
  async commitPrimary(): Promise<bigint | undefined> {
    const { client, patience, beforeCommit } = this.#options;
    for (;;) {
      const commitTs = await client.pd.timestamp(patience);
      await beforeCommit?.(commitTs);
      const outcome = await this.#commitPrimaryAt(commitTs);
      if (outcome === "committed") return commitTs;
      if (outcome === "rolled-back") return undefined;
    }
  }

  /** They are committed by the first key already, for every client that meets their locks. */
  async commitSecondaries(commitTs: bigint): Promise<void> {
    const { client, startTs, logger, patience: before, toTheEnd = false } = this.#options;
    const patience = client.patience(before.signal);
    try {
      await this.#forPieces({ from: 1, to: this.#mutations.count }, patience, async (region, { from, to }) => {
        const request = new ProtobufWriter(1024).number(2, startTs).number(4, commitTs);
        for (let i = from; i < to; i++) request.element(3, this.#mutations.key(i));
        return (await client.attempt(region, { method: "KvCommit", request, toTheEnd }, patience)) !== undefined;
      });
    } catch (error) {
      logger.debug(`TiKV: locks of the committed transaction ${startTs} were left: ${errorText(error)}`);
    }
  }

  /** Removes the locks. What cannot be removed now others do when they meet it. */
  async rollBack(): Promise<void> {
    const { client, startTs, logger } = this.#options;
    const patience = client.patience(AbortSignal.timeout(ROLLBACK_MS));
    try {
      await this.#forPieces({ from: 0, to: this.#mutations.count }, patience, async (region, { from, to }) => {
        const request = new ProtobufWriter(1024).number(2, startTs);
        for (let i = from; i < to; i++) request.element(3, this.#mutations.key(i));
        return (await client.attempt(region, { method: "KvBatchRollback", request }, patience)) !== undefined;
      });
    } catch (error) {
      logger.debug(`TiKV: transaction ${startTs} was left to be rolled back by others: ${errorText(error)}`);
    }
  }

  async #lock(region: Region, { from, to }: Span): Promise<"locked" | "again" | "conflict"> {
    const { client, resolver, patience, startTs, toTheEnd = false } = this.#options;
    let size = 256;
    for (let i = from; i < to; i++) size += this.#mutations.size(i) + 24;
    const request = new ProtobufWriter(size);
    for (let i = from; i < to; i++) this.#mutations.write(i, request);
    request
      .bytes(3, this.#mutations.key(0))
      .number(4, startTs)
      .number(5, this.#heartbeat.ttl)
      .number(8, this.#mutations.count)
      .number(10, startTs + 1n);
    const answer = await client.attempt(region, { method: "KvPrewrite", request, toTheEnd }, patience);
    if (answer === undefined) return "again";
    const errors = client.read(answer, readErrors);
    if (errors.length === 0) return "locked";
    const locks: Lock[] = [];
    for (const { kind, lock, text } of errors) {
      if (kind === "conflict" || kind === "retryable") return "conflict";
      if (lock === undefined) throw writeError(text);
      locks.push(lock);
    }
    await resolver.resolve(locks, 0n, patience);
    return "again";
  }

  async #commitPrimaryAt(commitTs: bigint): Promise<"committed" | "rolled-back" | "too-low"> {
    const { client, resolver, patience, startTs, toTheEnd = false } = this.#options;
    const primary = this.#mutations.key(0);
    patience.isUncertain = false;
    try {
      const call = (): { method: string; request: ProtobufWriter; toTheEnd: boolean } => {
        const request = new ProtobufWriter().number(2, startTs).element(3, primary).number(4, commitTs);
        return { method: "KvCommit", request, toTheEnd };
      };
      const answer = await client.callFor(primary, call, patience);
      const [error] = client.read(answer, readErrors);
      if (error === undefined) return "committed";
      if (error.kind === "commit-ts-expired") return "too-low";
      // any other answer to a commit is not relied on: what has become of the transaction is
      const outcome = await resolver.outcome(Buffer.from(primary), startTs, patience);
      if (outcome === undefined) throw writeError(error.text);
      return outcome > 0n ? "committed" : "rolled-back";
    } catch (error) {
      this.isUndecided = patience.signal.aborted || patience.isUncertain;
      if (patience.signal.aborted || !patience.isUncertain) throw error;
      throw outcomeUnknown(error);
    }
  }

  /** Calls `work` for pieces of one region each, some at one time, and again for those for which it gives false. */
  async #forPieces(
    all: Span,
    patience: Patience,
    work: (region: Region, span: Span) => Promise<boolean>,
  ): Promise<void> {
    let rest: Span[] = [all];
    while (rest.length > 0) {
      const pieces: { region: Region; span: Span }[] = [];
      for (const span of rest) {
        for (let from = span.from; from < span.to; ) {
          const region = await this.#options.client.regions.locate(this.#mutations.key(from), patience);
          const to = this.#pieceEnd(from, span.to, region.end);
          pieces.push({ region, span: { from, to } });
          from = to;
        }
      }
      const again: Span[] = [];
      await forEachLimited(pieces, MAX_PARTS, async ({ region, span }) => {
        if (!(await work(region, span))) again.push(span);
      });
      rest = again;
    }
  }

  #pieceEnd(from: number, limit: number, regionEnd: Buffer): number {
    let to = from;
    let bytes = 0;
    do {
      bytes += this.#mutations.size(to);
      to++;
    } while (
      to < limit &&
      to - from < PIECE_KEYS &&
      bytes + this.#mutations.size(to) <= PIECE_BYTES &&
      (regionEnd.length === 0 || this.#mutations.compareKey(to, regionEnd) < 0)
    );
    return to;
  }
}

/** Field 2 of an answer: none, one or several reasons. */
function readErrors(reader: ProtobufReader): KeyError[] {
  const errors: KeyError[] = [];
  while (reader.next()) if (reader.field === 2) errors.push(readKeyError(reader.message()));
  return errors;
}

function writeError(problem: string): EngineError {
  return new EngineError("DECANT_E_TIKV_WRITE", `TiKV refused a transaction: ${problem}`, {
    hint: "The logs of the stores say more",
  });
}

function outcomeUnknown(cause: unknown): EngineError {
  return new EngineError(
    "DECANT_E_OUTCOME_UNKNOWN",
    `TiKV did not say whether a transaction was committed: ${errorText(cause)}`,
    { cause, retryable: true, hint: "What is stored now can be read when the servers answer again" },
  );
}
