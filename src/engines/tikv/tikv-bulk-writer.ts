import { raceAbort } from "../../base/abortable.ts";
import { errorText } from "../../base/errors.ts";
import type { KvBulkOptions, KvBulkWriter, KvPage, KvPair, KvStore } from "../kv/kv-store.ts";
import { guardConditions, removeGuarded } from "../kv/load-guard.ts";
import { type Mutations, MutationsBuilder } from "./mutations.ts";
import { emptyValue, type TikvTransactions } from "./tikv-transactions.ts";

/** Size of one transaction. */
const BATCH_BYTES = 1024 * 1024;
/** How long an abort may go on after the signal that caused it. */
const ABORT_MS = 60_000;

interface Batch {
  readonly mutations: Mutations;
  readonly done: Promise<void>;
}

/** Fills a range with transactions that overtake each other, except where two of them have a key in common. */
export class TikvBulkWriter implements KvBulkWriter {
  readonly #store: KvStore;
  readonly #transactions: TikvTransactions;
  readonly #options: KvBulkOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #underWay: Set<Batch> = new Set();
  #gathered: MutationsBuilder;
  #failure: { readonly error: unknown } | undefined;
  #isDone = false;

  private constructor(store: KvStore, transactions: TikvTransactions, options: KvBulkOptions) {
    this.#store = store;
    this.#transactions = transactions;
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
    this.#gathered = this.#newBuilder();
  }

  static async open(
    store: KvStore,
    transactions: TikvTransactions,
    options: KvBulkOptions,
  ): Promise<TikvBulkWriter | undefined> {
    const { guard, signal, takesOver } = options;
    const conditions = guardConditions({ ...guard, value: takesOver });
    const changes = [{ key: guard.key, value: guard.value }];
    if (!(await store.transact({ conditions, changes }, signal))) return undefined;
    return new TikvBulkWriter(store, transactions, options);
  }

  async write(page: KvPage): Promise<void> {
    this.#check();
    assertNoEmptyValue(page);
    for (let at = 0; at < page.bytes.length; ) {
      at = this.#gathered.addPage(page, at, BATCH_BYTES);
      if (this.#gathered.size >= BATCH_BYTES) await this.#send();
    }
  }

  async get(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]> {
    await this.#drain();
    return this.#store.get(keys, this.#signal);
  }

  async finish(changes: readonly KvPair[]): Promise<void> {
    await this.checkpoint([...changes, { key: this.#options.guard.key, value: undefined }]);
    this.#isDone = true;
  }

  async checkpoint(changes: readonly KvPair[]): Promise<void> {
    await this.#drain();
    await this.announce(changes);
  }

  async announce(changes: readonly KvPair[]): Promise<void> {
    const { guard, signal } = this.#options;
    if (!(await this.#store.transact({ conditions: guardConditions(guard), changes }, signal))) throw guard.lost();
  }

  async suspend(): Promise<boolean> {
    this.#isDone = true;
    this.#stop.abort();
    await Promise.all(this.#allDone());
    return true;
  }

  async abort(): Promise<void> {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#stop.abort();
    // calls that are out are waited for, not cancelled: what they ask for is done or not done then
    await Promise.all(this.#allDone());
    try {
      const { guard, ranges } = this.#options;
      await removeGuarded(this.#store, guard, AbortSignal.timeout(ABORT_MS), ranges);
    } catch (error) {
      this.#options.logger.warn(
        `What was written to ${this.#store.address} could not be removed: ${errorText(error)}. It holds no volume, but it may not be empty`,
      );
    }
  }

  #newBuilder(): MutationsBuilder {
    return new MutationsBuilder(this.#transactions.prefix, BATCH_BYTES + BATCH_BYTES / 8);
  }

  #check(): void {
    this.#options.signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #send(): Promise<void> {
    if (this.#gathered.count === 0) return;
    const mutations = this.#gathered.finish();
    this.#gathered = this.#newBuilder();
    for (const batch of [...this.#underWay]) if (batch.mutations.overlaps(mutations)) await this.#heard(batch.done);
    while (this.#underWay.size >= this.#transactions.workers) await this.#heard(Promise.race(this.#allDone()));
    this.#check();
    const { guard, logger } = this.#options;
    const work = this.#transactions.writeGuarded(mutations, { guard, signal: this.#signal, logger });
    const done = work
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#underWay.delete(batch));
    const batch: Batch = { mutations, done };
    this.#underWay.add(batch);
  }

  async #drain(): Promise<void> {
    this.#check();
    await this.#send();
    await this.#heard(Promise.all(this.#allDone()));
    this.#check();
  }

  #allDone(): Promise<void>[] {
    return Array.from(this.#underWay, ({ done }) => done);
  }

  /** Waits, but not longer than until the signal fires: batches go on to the end of the call that is out. */
  #heard(work: Promise<unknown>): Promise<unknown> {
    return raceAbort(work, this.#options.signal);
  }
}

function assertNoEmptyValue({ bytes }: KvPage): void {
  for (let at = 0; at < bytes.length; ) {
    const [keySize, valueSize] = [bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4)];
    if (valueSize === 0) throw emptyValue(bytes.subarray(at + 8, at + 8 + keySize));
    at += 8 + keySize + valueSize;
  }
}
