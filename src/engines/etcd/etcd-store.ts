import { ProtobufReader } from "../../base/protobuf.ts";
import type {
  KvBulkOptions,
  KvBulkWriter,
  KvDeleteOptions,
  KvLimits,
  KvRange,
  KvSnapshot,
  KvSnapshotOptions,
  KvStore,
  KvTransaction,
} from "../kv/kv-store.ts";
import { PrefixedKeys } from "../kv/prefixed-keys.ts";
import type { EtcdAddress } from "./etcd-address.ts";
import { EtcdBulkWriter } from "./etcd-bulk-writer.ts";
import { EtcdClient } from "./etcd-client.ts";
import { deleteRange } from "./etcd-delete-range.ts";
import { readServerTime } from "./etcd-http.ts";
import { MAX_TXN_OPERATIONS, RANGE, rangeRequest, readRevision } from "./etcd-messages.ts";
import { EtcdSnapshot, readKeys } from "./etcd-snapshot.ts";
import { transact } from "./etcd-transactions.ts";

/** What a request of 1.5 MiB has left for a value beside its key and the conditions. */
const MAX_VALUE_BYTES = 1536 * 1024 - 4096;

/** One prefix of an etcd cluster (docs/spec/kv.md, docs/spec/kv-stores.md §1). */
export class EtcdStore implements KvStore {
  readonly name = "etcd";
  readonly address: string;
  readonly changeLog: undefined;
  readonly limits: KvLimits = {
    maxValueBytes: MAX_VALUE_BYTES,
    maxKeyBytes: undefined,
    emptyValues: true,
    maxTransactionPairs: MAX_TXN_OPERATIONS,
  };
  readonly #client: EtcdClient;
  readonly #keys: PrefixedKeys;
  readonly #endpoints: EtcdAddress;

  constructor(address: EtcdAddress) {
    this.address = address.printable;
    this.#endpoints = address;
    this.#client = new EtcdClient(address);
    this.#keys = new PrefixedKeys(address.prefix);
  }

  /** Throws `EngineError` when no server can be reached. */
  async check(signal: AbortSignal): Promise<void> {
    await this.#revision(signal);
  }

  async #revision(signal: AbortSignal): Promise<bigint> {
    const request = rangeRequest({ key: this.#keys.prefix, limit: 1, keysOnly: true }).written();
    const reader = new ProtobufReader(await this.#client.call({ method: RANGE, request, signal, repeatable: true }));
    while (reader.next()) if (reader.field === 1) return readRevision(reader.message());
    return 0n;
  }

  async openSnapshot({ signal }: KvSnapshotOptions): Promise<KvSnapshot> {
    const asOf = new Date();
    const revision = await this.#revision(signal);
    return new EtcdSnapshot(this.#client, this.#keys, { revision, asOf, signal });
  }

  get(keys: readonly Uint8Array[], signal: AbortSignal): Promise<(Buffer | undefined)[]> {
    return readKeys(
      this.#client,
      keys.map((key) => this.#keys.key(key)),
      0n,
      signal,
    );
  }

  transact(transaction: KvTransaction, signal: AbortSignal): Promise<boolean> {
    return transact(this.#client, this.#keys, transaction, signal);
  }

  openBulkWriter(options: KvBulkOptions): Promise<KvBulkWriter | undefined> {
    return EtcdBulkWriter.open({ store: this, client: this.#client, keys: this.#keys }, options);
  }

  deleteRange(range: KvRange, options: KvDeleteOptions): Promise<void> {
    return deleteRange(this.#client, this.#keys, range, options);
  }

  serverTime(signal: AbortSignal): Promise<Date | undefined> {
    return readServerTime(this.#endpoints, signal);
  }

  async close(): Promise<void> {
    this.#client.close();
  }
}
