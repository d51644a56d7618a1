import { EngineError } from "../../base/errors.ts";
import { type ProtobufReader, ProtobufWriter } from "../../base/protobuf.ts";
import type { TikvClient } from "./tikv-client.ts";
import type { Patience } from "./tikv-errors.ts";
import { type KeyError, type Lock, physicalOf, readKeyError, readLock } from "./tikv-messages.ts";

/** kvrpcpb.Action: a transaction that is alive cannot be committed at or below the timestamp of the reader any more. */
const MIN_COMMIT_TS_PUSHED = 3;
/** Keys of one call. */
const MAX_KEYS = 256;
const maxKeys = (): number => MAX_KEYS;

/** What a transaction that left locks has come to. */
export type TransactionState =
  | { readonly state: "alive"; readonly isPushed: boolean; readonly ttl: number }
  /** `commitTs` 0n: rolled back. */
  | { readonly state: "ended"; readonly commitTs: bigint }
  /** All its locks together decide. */
  | { readonly state: "async"; readonly primary: Lock };

/** kvrpcpb.CheckTxnStatusResponse, as it counts for one who meets a lock at `now` (docs/spec/kv-stores.md §2.5). */
export function transactionState(answer: TransactionAnswer, lockVersion: bigint, now: bigint): TransactionState {
  const { ttl, commitTs, action, primary } = answer;
  if (ttl > 0 && primary?.useAsyncCommit === true && isExpired(lockVersion, ttl, now))
    return { state: "async", primary };
  if (ttl > 0) return { state: "alive", isPushed: action === MIN_COMMIT_TS_PUSHED, ttl };
  return { state: "ended", commitTs };
}

export interface TransactionAnswer {
  readonly error: KeyError | undefined;
  readonly ttl: number;
  readonly commitTs: bigint;
  readonly action: number;
  readonly primary: Lock | undefined;
}

export function readTransactionAnswer(reader: ProtobufReader): TransactionAnswer {
  let error: KeyError | undefined;
  let [ttl, action] = [0, 0];
  let commitTs = 0n;
  let primary: Lock | undefined;
  while (reader.next()) {
    if (reader.field === 2) error = readKeyError(reader.message());
    else if (reader.field === 3) ttl = reader.number();
    else if (reader.field === 4) commitTs = reader.uint64();
    else if (reader.field === 5) action = reader.number();
    else if (reader.field === 6) primary = readLock(reader.message());
  }
  return { error, ttl, commitTs, action, primary };
}

/** Whether the time that a lock was given has passed at a timestamp. */
export function isExpired(lockVersion: bigint, ttl: number, now: bigint): boolean {
  return physicalOf(lockVersion) + ttl <= physicalOf(now);
}

export interface SecondaryAnswer {
  readonly error: KeyError | undefined;
  readonly locks: readonly Lock[];
  readonly commitTs: bigint;
}

/**
 * What the locks of a transaction with asynchronous commit say, of which these answers are about all keys but the primary: a key
 * without its lock decides by what is there instead, and when all have theirs, it is committed at the highest of their lowest
 * timestamps. Undefined where a lock is of the other kind: then the primary alone decides. Throws `EngineError` where keys without
 * their locks say different things.
 */
export function asyncCommitTs(
  primary: Lock,
  answers: readonly (SecondaryAnswer & { keys: number })[],
): bigint | undefined {
  const decided = new Set(answers.filter(({ locks, keys }) => locks.length < keys).map(({ commitTs }) => commitTs));
  if (decided.size > 1) throw unsettled(primary, `it is committed at ${[...decided].join(" and at ")}`);
  for (const commitTs of decided) return commitTs;
  let highest = primary.minCommitTs;
  for (const lock of answers.flatMap(({ locks }) => locks)) {
    if (!lock.useAsyncCommit) return undefined;
    if (lock.minCommitTs > highest) highest = lock.minCommitTs;
  }
  return highest;
}

function readSecondaryAnswer(reader: ProtobufReader): SecondaryAnswer {
  let error: KeyError | undefined;
  const locks: Lock[] = [];
  let commitTs = 0n;
  while (reader.next()) {
    if (reader.field === 2) error = readKeyError(reader.message());
    else if (reader.field === 3) locks.push(readLock(reader.message()));
    else if (reader.field === 4) commitTs = reader.uint64();
  }
  return { error, locks, commitTs };
}

/** Settles what transactions have left behind, by the rules that all clients keep. */
export class LockResolver {
  readonly #client: TikvClient;

  constructor(client: TikvClient) {
    this.#client = client;
  }

  /**
   * Removes the locks of transactions that have ended, and gives those that are alive and cannot commit below `readerTs` any
   * more: a reader may pass over their locks. For others it has waited a little. `readerTs` 0n: for a writer, who has to wait
   * for them all.
   */
  async resolve(locks: readonly Lock[], readerTs: bigint, patience: Patience): Promise<ReadonlySet<bigint>> {
    const pushed = new Set<bigint>();
    let waitsFor: { lock: Lock; ttl: number } | undefined;
    for (const group of byTransaction(locks)) {
      const lock = group[0]!;
      const state = await this.#settle(lock, readerTs, patience);
      if (state.state === "alive") {
        if (state.isPushed && readerTs > 0n) pushed.add(lock.version);
        else waitsFor ??= { lock, ttl: state.ttl };
      } else if (state.state === "ended") {
        await this.#remove(lock.version, state.commitTs, keysOf(group), patience);
      }
    }
    if (waitsFor !== undefined) {
      const { lock, ttl } = waitsFor;
      this.#client.outages.locked(lock.version, physicalOf(lock.version) + ttl - Date.now());
      await patience.pause("lock", lockText(lock));
    }
    return pushed;
  }

  /** What has become of a transaction, which is rolled back when its time is over. */
  async #settle(lock: Lock, readerTs: bigint, patience: Patience): Promise<TransactionState> {
    let forceSync = false;
    for (;;) {
      const now = await this.#client.pd.timestamp(patience);
      // The primary may be about to be locked: only when the time is over, its absence is a decision.
      const isOver = isExpired(lock.version, lock.ttl, now);
      const answer = await this.#check(lock, { readerTs, now, isOver, forceSync }, patience);
      if (answer.error?.kind === "txn-not-found") {
        if (isOver) throw unsettled(lock, answer.error.text);
        return { state: "alive", isPushed: false, ttl: lock.ttl };
      }
      if (answer.error !== undefined) throw unsettled(lock, answer.error.text);
      const state = transactionState(answer, lock.version, now);
      if (state.state !== "async") return state;
      const commitTs = await this.#checkSecondaries(state.primary, patience);
      if (commitTs !== undefined) {
        const { primary } = state;
        await this.#remove(lock.version, commitTs, [lock.primary, ...primary.secondaries], patience);
        return { state: "ended", commitTs };
      }
      forceSync = true;
    }
  }

  /**
   * What has become of a transaction of our own whose commit was answered by an error: a commit timestamp, 0n when it was rolled
   * back (which it is from now on when it was not decided), undefined while its locks are alive.
   */
  async outcome(primary: Buffer, version: bigint, patience: Patience): Promise<bigint | undefined> {
    const lock = { primary, version, key: primary, ttl: 0, useAsyncCommit: false, minCommitTs: 0n, secondaries: [] };
    const now = await this.#client.pd.timestamp(patience);
    const answer = await this.#check(lock, { readerTs: 0n, now, isOver: true, forceSync: true }, patience);
    if (answer.error !== undefined) throw unsettled(lock, answer.error.text);
    return answer.ttl > 0 ? undefined : answer.commitTs;
  }

  async #check(
    lock: Lock,
    how: { readerTs: bigint; now: bigint; isOver: boolean; forceSync: boolean },
    patience: Patience,
  ): Promise<TransactionAnswer> {
    const request = (): ProtobufWriter =>
      new ProtobufWriter()
        .bytes(2, lock.primary)
        .number(3, lock.version)
        .number(4, how.readerTs)
        .number(5, how.now)
        .bool(6, how.isOver)
        .bool(7, how.forceSync);
    const call = { method: "KvCheckTxnStatus" };
    const answer = await this.#client.callFor(lock.primary, () => ({ ...call, request: request() }), patience);
    return this.#client.read(answer, readTransactionAnswer);
  }

  async #checkSecondaries(primary: Lock, patience: Patience): Promise<bigint | undefined> {
    const answers: (SecondaryAnswer & { keys: number })[] = [];
    const keys = primary.secondaries as Buffer[];
    await this.#client.forKeys(keys, { maxKeys, patience }, async (region, indexes) => {
      const request = new ProtobufWriter(1024);
      for (const i of indexes) request.element(2, keys[i]!);
      request.number(3, primary.version);
      const answer = await this.#client.attempt(region, { method: "KvCheckSecondaryLocks", request }, patience);
      if (answer === undefined) return indexes;
      const secondary = this.#client.read(answer, readSecondaryAnswer);
      if (secondary.error !== undefined) throw unsettled(primary, secondary.error.text);
      answers.push({ ...secondary, keys: indexes.length });
      return [];
    });
    return asyncCommitTs(primary, answers);
  }

  /** Commits or rolls back the locks of these keys. */
  async #remove(version: bigint, commitTs: bigint, keys: Buffer[], patience: Patience): Promise<void> {
    await this.#client.forKeys(keys, { maxKeys, patience }, async (region, indexes) => {
      const request = new ProtobufWriter(1024).number(2, version).number(3, commitTs);
      for (const i of indexes) request.element(5, keys[i]!);
      const answer = await this.#client.attempt(region, { method: "KvResolveLock", request }, patience);
      if (answer === undefined) return indexes;
      const error = this.#client.read(answer, (reader) => {
        while (reader.next()) if (reader.field === 2) return readKeyError(reader.message());
        return undefined;
      });
      if (error !== undefined) throw removalError(version, error.text);
      return [];
    });
  }
}

function byTransaction(locks: readonly Lock[]): Iterable<Lock[]> {
  const groups = new Map<bigint, Lock[]>();
  for (const lock of locks) {
    const group = groups.get(lock.version);
    if (group === undefined) groups.set(lock.version, [lock]);
    else group.push(lock);
  }
  return groups.values();
}

function keysOf(locks: readonly Lock[]): Buffer[] {
  return locks.map((lock) => lock.key);
}

function lockText(lock: Lock): string {
  return `key ${lock.key.toString("hex")} is locked by transaction ${lock.version}, which is alive`;
}

function unsettled(lock: Lock, problem: string): EngineError {
  return new EngineError("DECANT_E_TIKV_LOCK", `Cannot settle transaction ${lock.version} of TiKV: ${problem}`, {
    hint: "It has locked a key that is needed; the logs of the stores say more",
  });
}

function removalError(version: bigint, problem: string): EngineError {
  return new EngineError("DECANT_E_TIKV_LOCK", `Cannot remove locks of transaction ${version} of TiKV: ${problem}`, {
    hint: "The logs of the stores say more",
  });
}
