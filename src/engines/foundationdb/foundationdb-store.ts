import type {
  KvBulkOptions,
  KvBulkWriter,
  KvChangeLog,
  KvDeleteOptions,
  KvLimits,
  KvRange,
  KvSnapshot,
  KvSnapshotOptions,
  KvStore,
  KvTransaction,
} from "../kv/kv-store.ts";
import { PrefixedKeys } from "../kv/prefixed-keys.ts";
import type { FoundationdbAddress } from "./foundationdb-address.ts";
import { FoundationdbBulkWriter } from "./foundationdb-bulk-writer.ts";
import { FoundationdbClient } from "./foundationdb-client.ts";
import type { FoundationdbPackage } from "./foundationdb-package.ts";
import { FoundationdbSnapshot } from "./foundationdb-snapshot.ts";
import { FoundationdbTransactions } from "./foundationdb-transactions.ts";
import { type FoundationdbClock, systemClock } from "./read-versions.ts";

/** Limits of every cluster (docs/spec/kv-stores.md §4). */
export const MAX_VALUE_BYTES = 100_000;
export const MAX_KEY_BYTES = 10_000;

/** How long the first answer is waited for. */
const CONNECT_MS = 20_000;

/** One prefix of a FoundationDB cluster (docs/spec/kv.md, docs/spec/kv-stores.md §4). */
export class FoundationdbStore implements KvStore {
  readonly name = "FoundationDB";
  readonly address: string;
  readonly changeLog: KvChangeLog = { sharded: false, rewind: 1_000_000n };
  readonly limits: KvLimits = {
    maxValueBytes: MAX_VALUE_BYTES,
    maxKeyBytes: MAX_KEY_BYTES,
    emptyValues: true,
    maxTransactionPairs: undefined,
  };
  readonly #client: FoundationdbClient;
  readonly #keys: PrefixedKeys;
  readonly #transactions: FoundationdbTransactions;
  readonly #clock: FoundationdbClock;

  /** Throws `EngineError` for a cluster file that cannot be used. */
  constructor(fdb: FoundationdbPackage, address: FoundationdbAddress, clock: FoundationdbClock = systemClock) {
    this.address = address.printable;
    this.#client = new FoundationdbClient(fdb, address.clusterFile, address.printable);
    this.#keys = new PrefixedKeys(address.prefix);
    this.#transactions = new FoundationdbTransactions(this.#client, this.#keys);
    this.#clock = clock;
  }

  /** Throws `EngineError` when no cluster can be reached. */
  async check(signal: AbortSignal): Promise<void> {
    await this.#client.read((transaction) => transaction.getReadVersion(), signal, CONNECT_MS);
  }

  openSnapshot(options: KvSnapshotOptions): Promise<KvSnapshot> {
    return FoundationdbSnapshot.open(this.#client, this.#keys, { ...options, clock: this.#clock });
  }

  get(keys: readonly Uint8Array[], signal: AbortSignal): Promise<(Buffer | undefined)[]> {
    return this.#transactions.get(keys, signal);
  }

  transact(transaction: KvTransaction, signal: AbortSignal): Promise<boolean> {
    return this.#transactions.transact(transaction, signal);
  }

  openBulkWriter(options: KvBulkOptions): Promise<KvBulkWriter | undefined> {
    return FoundationdbBulkWriter.open(this, this.#transactions, options);
  }

  deleteRange(range: KvRange, options: KvDeleteOptions): Promise<void> {
    return this.#transactions.deleteRange(range, options);
  }

  /** Versions count microseconds, but of no clock that is known. */
  async serverTime(): Promise<undefined> {}

  async close(): Promise<void> {
    this.#client.close();
  }
}
