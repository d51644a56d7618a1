import { UsageError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { changeLogRewind } from "../kv/change-log.ts";
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
import { connectorFor } from "./grpc-connection.ts";
import { Outages } from "./outages.ts";
import { PdClient } from "./pd-client.ts";
import type { TikvAddress } from "./tikv-address.ts";
import { TikvBulkWriter } from "./tikv-bulk-writer.ts";
import { TikvClient } from "./tikv-client.ts";
import { DEFAULT_TIMING, type TikvTiming } from "./tikv-errors.ts";
import { physicalOf } from "./tikv-messages.ts";
import { TikvSnapshot } from "./tikv-snapshot.ts";
import { TikvTransactions } from "./tikv-transactions.ts";

/** What the reference's client takes in one entry, by its default. */
const MAX_VALUE_BYTES = 6 * 1024 * 1024;
const LOG_SHARDS = 64;
/** Ten seconds, in timestamps. */
const LOG_REWIND = 10_000n << 18n;
const [WORKERS, MAX_WORKERS] = [4, 16];

export interface TikvStoreOptions {
  readonly signal: AbortSignal;
  readonly logger: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Others than the defaults, for tests. */
  readonly timing?: TikvTiming;
  readonly renewMs?: number;
}

/** One prefix of a TiKV cluster (docs/spec/kv.md, docs/spec/kv-stores.md §2). */
export class TikvStore implements KvStore {
  readonly name = "TiKV";
  readonly address: string;
  readonly changeLog: KvChangeLog;
  readonly limits: KvLimits = {
    maxValueBytes: MAX_VALUE_BYTES,
    maxKeyBytes: undefined,
    emptyValues: false,
    maxTransactionPairs: undefined,
  };
  readonly #pd: PdClient;
  readonly #client: TikvClient;
  readonly #transactions: TikvTransactions;
  readonly #renewMs: number | undefined;

  private constructor(
    address: string,
    transactions: TikvTransactions,
    { renewMs, rewind }: { renewMs: number | undefined; rewind: bigint },
  ) {
    this.address = address;
    this.changeLog = { sharded: true, rewind };
    this.#pd = transactions.client.pd;
    this.#client = transactions.client;
    this.#transactions = transactions;
    this.#renewMs = renewMs;
  }

  /**
   * Throws `EngineError` when no placement driver can be reached, `UsageError` for certificates and variables of the environment
   * that cannot be used.
   */
  static async open(address: TikvAddress, options: TikvStoreOptions): Promise<TikvStore> {
    const { signal, logger, env, timing = DEFAULT_TIMING, renewMs } = options;
    const settings = { logShards: logShards(env), workers: workersOf(env) };
    const connect = connectorFor(address.tls);
    const outages = new Outages(logger);
    const pd = await PdClient.open(address.endpoints, connect, { timing, outages, signal });
    const client = new TikvClient(pd, connect, { timing, outages });
    const transactions = new TikvTransactions(client, address.prefix, settings);
    return new TikvStore(address.printable, transactions, { renewMs, rewind: changeLogRewind(env, LOG_REWIND) });
  }

  openSnapshot(options: KvSnapshotOptions): Promise<KvSnapshot> {
    return TikvSnapshot.open(this.#transactions, options, this.#renewMs);
  }

  get(keys: readonly Uint8Array[], signal: AbortSignal): Promise<(Buffer | undefined)[]> {
    return this.#transactions.get(keys, this.#client.patience(signal));
  }

  transact(transaction: KvTransaction, signal: AbortSignal): Promise<boolean> {
    return this.#transactions.transact(transaction, signal);
  }

  openBulkWriter(options: KvBulkOptions): Promise<KvBulkWriter | undefined> {
    return TikvBulkWriter.open(this, this.#transactions, options);
  }

  deleteRange({ start, end }: KvRange, options: KvDeleteOptions): Promise<void> {
    return this.#transactions.deleteRange(this.#transactions.key(start), this.#transactions.rangeEnd(end), options);
  }

  async serverTime(signal: AbortSignal): Promise<Date> {
    return new Date(physicalOf(await this.#pd.timestamp(this.#client.patience(signal))));
  }

  async close(): Promise<void> {
    this.#client.close();
    this.#pd.close();
  }
}

/** All clients of a volume must have the same number (docs/spec/changelog.md §2). */
function logShards(env: TikvStoreOptions["env"]): number {
  const shards = Number(env.JFS_TKV_CHANGELOG_SHARDS ?? LOG_SHARDS);
  return Number.isInteger(shards) && shards >= 1 && shards <= 256 ? shards : LOG_SHARDS;
}

/** Pages that are read, and transactions that are written, side by side. */
function workersOf({ DECANT_TIKV_WORKERS: given = "" }: TikvStoreOptions["env"]): number {
  const workers = Number(given);
  if (given === "") return WORKERS;
  if (Number.isInteger(workers) && workers >= 1 && workers <= MAX_WORKERS) return workers;
  throw new UsageError(
    "DECANT_E_OPTION_VALUE",
    `DECANT_TIKV_WORKERS must be a whole number from 1 to ${MAX_WORKERS}, not ${JSON.stringify(given)}`,
    { hint: `Without it there are ${WORKERS}` },
  );
}
