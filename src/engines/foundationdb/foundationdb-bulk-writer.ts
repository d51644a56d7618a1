import { ByteWriter, recycle } from "../../base/bytes.ts";
import { EngineError, errorText } from "../../base/errors.ts";
import { KeySlots } from "../kv/key-slots.ts";
import { PAIR_HEADER } from "../kv/kv-page.ts";
import type { KvBulkOptions, KvBulkWriter, KvPage, KvPair, KvStore } from "../kv/kv-store.ts";
import { removeGuarded } from "../kv/load-guard.ts";
import { printableKey } from "../notes.ts";
import { readPairs } from "./foundationdb-client.ts";
import type { FdbTransaction } from "./foundationdb-package.ts";
import type { FoundationdbTransactions } from "./foundationdb-transactions.ts";

/**
 * Bytes and pairs of one transaction. The cluster counts every key three times, itself and the range that others are checked against, and
 * something for each pair: this stays below 3 MB of the 10 MB that it takes, and of the 1 MB that FoundationDB advises it is not far.
 */
const BATCH_BYTES = 512 * 1024;
const BATCH_PAIRS = 5000;

/** Transactions that are under way at one time. */
const MAX_IN_FLIGHT = 8;

/** How long an abort may go on after the signal that caused it. */
const ABORT_TIMEOUT_MS = 60_000;

/** Pairs as in a `KvPage`, the keys with the prefix of the volume. */
type Batch = KvPage;

/**
 * Writes pairs in transactions that read the guard: they are not committed when it was changed since. They overtake each other, except
 * where two of them may have a key in common.
 */
export class FoundationdbBulkWriter implements KvBulkWriter {
  readonly #store: KvStore;
  readonly #transactions: FoundationdbTransactions;
  readonly #options: KvBulkOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #writer = new ByteWriter(BATCH_BYTES + 131_072);
  readonly #slots = new KeySlots();
  readonly #inFlight = new Map<number, Promise<void>>();
  #count = 0;
  #batch = 1;
  #failure: { readonly error: unknown } | undefined;
  #isDone = false;

  private constructor(store: KvStore, transactions: FoundationdbTransactions, options: KvBulkOptions) {
    this.#store = store;
    this.#transactions = transactions;
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
  }

  /** Undefined when there is anything in the range: then nothing was written. */
  static async open(
    store: KvStore,
    transactions: FoundationdbTransactions,
    options: KvBulkOptions,
  ): Promise<FoundationdbBulkWriter | undefined> {
    const { client, keys } = transactions;
    const { guard, signal, takesOver } = options;
    const isOurs = await client.transact<boolean>(async (transaction, uncertain) => {
      // The value of the guard is nobody else's.
      if (uncertain !== undefined && (await transactions.guardHolds(transaction, guard))) {
        return { result: true, commit: false };
      }
      const isFree =
        takesOver === undefined
          ? // Reads the whole range, so that no client can have begun a volume since it was found empty.
            (await readPairs(transaction, keys.prefix, keys.end, 1)).results.length === 0
          : await transactions.guardHolds(transaction, { ...guard, value: takesOver });
      if (!isFree) return { result: false, commit: false };
      transactions.apply(transaction, [guard]);
      return { result: true, commit: true };
    }, signal);
    return isOurs ? new FoundationdbBulkWriter(store, transactions, options) : undefined;
  }

  async write({ bytes, count }: KvPage): Promise<void> {
    this.#check();
    for (let i = 0, at = 0; i < count; i++) {
      const keySize = bytes.readUInt32BE(at);
      const valueSize = bytes.readUInt32BE(at + 4);
      const key = at + PAIR_HEADER;
      at = key + keySize + valueSize;
      this.#assertFits(bytes, key, keySize, valueSize);
      const size = PAIR_HEADER + this.#transactions.keys.prefix.length + keySize + valueSize;
      if (this.#writer.length + size > BATCH_BYTES || this.#count === BATCH_PAIRS) await this.#send();
      const before = this.#slots.note(bytes, key, key + keySize, this.#batch);
      const underWay = before === this.#batch ? undefined : this.#inFlight.get(before);
      if (underWay !== undefined) await underWay;
      this.#put(bytes, key, keySize, valueSize);
    }
    recycle(bytes);
  }

  #assertFits(bytes: Buffer, key: number, keySize: number, valueSize: number): void {
    const { maxKeyBytes, maxValueBytes } = this.#store.limits;
    const wholeSize = this.#transactions.keys.prefix.length + keySize;
    if (wholeSize <= maxKeyBytes! && valueSize <= maxValueBytes!) return;
    throw new EngineError(
      "DECANT_E_FOUNDATIONDB_TOO_LARGE",
      `FoundationDB cannot store the key ${printableKey(bytes, key, key + keySize)}: it has ${wholeSize} bytes and ${valueSize} in its value, ${maxKeyBytes} and ${maxValueBytes} are possible`,
      { hint: "Loads name such values before anything is written; see --on-unsupported" },
    );
  }

  #put(bytes: Buffer, key: number, keySize: number, valueSize: number): void {
    const { prefix } = this.#transactions.keys;
    const writer = this.#writer;
    writer.writeU32(prefix.length + keySize);
    writer.writeU32(valueSize);
    writer.writeBytes(prefix);
    writer.writeSlice(bytes, key, key + keySize + valueSize);
    this.#count++;
  }

  /** Sends what was gathered, and waits while too much is under way. */
  async #send(): Promise<void> {
    if (this.#count === 0) return;
    const batch: Batch = { bytes: this.#writer.take(), count: this.#count };
    this.#count = 0;
    const number = this.#batch++;
    const sent = this.#commit(batch)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#inFlight.delete(number));
    this.#inFlight.set(number, sent);
    if (this.#inFlight.size >= MAX_IN_FLIGHT) await Promise.race(this.#inFlight.values());
    this.#check();
  }

  /** Doing it again does no harm: the values are the same, and nobody else writes while the guard holds. */
  async #commit(batch: Batch): Promise<void> {
    const { guard } = this.#options;
    try {
      await this.#transactions.client.transact<void>(async (transaction) => {
        if (!(await this.#transactions.guardHolds(transaction, guard))) throw guard.lost();
        setAll(transaction, batch);
        return { result: undefined, commit: true };
      }, this.#signal);
    } catch (error) {
      // It will be removed in any case: why it failed is what matters.
      const isUnknown = error instanceof EngineError && error.code === "DECANT_E_OUTCOME_UNKNOWN";
      throw isUnknown && error.cause !== undefined ? error.cause : error;
    }
    recycle(batch.bytes);
  }

  #check(): void {
    this.#options.signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #drain(): Promise<void> {
    await this.#send();
    await Promise.all(this.#inFlight.values());
    this.#check();
  }

  async get(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]> {
    await this.#drain();
    return this.#store.get(keys, this.#signal);
  }

  async finish(changes: readonly KvPair[]): Promise<void> {
    this.#check();
    await this.#drain();
    const { guard, signal } = this.#options;
    await this.#transactions.client.transact<void>(async (transaction, uncertain) => {
      if (!(await this.#transactions.guardHolds(transaction, guard))) {
        if (uncertain === undefined || !(await this.#isFinished(transaction, changes))) throw guard.lost();
        return { result: undefined, commit: false };
      }
      this.#transactions.apply(transaction, [...changes, { key: guard.key, value: undefined }]);
      return { result: undefined, commit: true };
    }, signal);
    this.#isDone = true;
  }

  async checkpoint(changes: readonly KvPair[]): Promise<void> {
    await this.#drain();
    await this.announce(changes);
  }

  /** Doing it again does no harm either: these are the values of this one load. */
  async announce(changes: readonly KvPair[]): Promise<void> {
    const { guard } = this.#options;
    await this.#transactions.client.transact<void>(async (transaction) => {
      if (!(await this.#transactions.guardHolds(transaction, guard))) throw guard.lost();
      this.#transactions.apply(transaction, changes);
      return { result: undefined, commit: true };
    }, this.#signal);
  }

  async suspend(): Promise<boolean> {
    this.#isDone = true;
    this.#stop.abort();
    await Promise.all(this.#inFlight.values());
    return true;
  }

  /** Whether an earlier attempt was committed after all: its changes are there, and the guard has gone with them. */
  async #isFinished(transaction: FdbTransaction, changes: readonly KvPair[]): Promise<boolean> {
    const { keys } = this.#transactions;
    const asked = [this.#options.guard.key, ...changes.map(({ key }) => key)];
    const [marker, ...values] = await Promise.all(asked.map((key) => transaction.get(keys.key(key))));
    if (marker !== undefined) return false;
    return changes.every(({ value }, i) => (value === undefined ? values[i] === undefined : values[i]?.equals(value)));
  }

  /** Commits that are still under way need the guard, which is changed before anything is removed. */
  async abort(): Promise<void> {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#stop.abort();
    await Promise.all(this.#inFlight.values());
    try {
      const { guard, ranges } = this.#options;
      await removeGuarded(this.#store, guard, AbortSignal.timeout(ABORT_TIMEOUT_MS), ranges);
    } catch (error) {
      this.#options.logger.warn(
        `What was written to ${this.#store.address} could not be removed: ${errorText(error)}. It holds no volume, but it may not be empty`,
      );
    }
  }
}

/** The client library copies what it is given; the package takes views and nothing else, so there are two for each pair. */
function setAll(transaction: FdbTransaction, { bytes, count }: Batch): void {
  for (let i = 0, at = 0; i < count; i++) {
    const key = at + PAIR_HEADER;
    const value = key + bytes.readUInt32BE(at);
    at = value + bytes.readUInt32BE(at + 4);
    transaction.set(bytes.subarray(key, value), bytes.subarray(value, at));
  }
}
