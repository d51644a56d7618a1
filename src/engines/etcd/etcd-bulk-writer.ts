import { ByteWriter, recycle } from "../../base/bytes.ts";
import { DecantError, errorText } from "../../base/errors.ts";
import { putVarint32, varintSize32 } from "../../base/varint.ts";
import { PAIR_HEADER } from "../kv/kv-page.ts";
import type { KvBulkOptions, KvBulkWriter, KvPage, KvPair, KvStore } from "../kv/kv-store.ts";
import { removeGuarded } from "../kv/load-guard.ts";
import type { EtcdClient } from "./etcd-client.ts";
import type { EtcdKeys } from "./etcd-keys.ts";
import {
  compare,
  deleteOperation,
  MAX_TXN_OPERATIONS,
  putOperation,
  readTxnResponse,
  TXN,
  txnRequest,
} from "./etcd-messages.ts";
import { guardCompares } from "./etcd-transactions.ts";
import { QuotaWatch } from "./quota-watch.ts";

/** Requests of up to 1.5 MiB are taken (docs/spec/kv-stores.md §1). */
const MAX_TRANSACTION_BYTES = 1024 * 1024;

/** Transactions that are under way at one time: etcd writes what came together to its log at once. */
const MAX_IN_FLIGHT = 16;

/** How long an abort may go on after the signal that caused it. */
const ABORT_TIMEOUT_MS = 60_000;

const FINISH_ATTEMPTS = 3;

/** A power of two: one place in a million is taken by mistake for every key that is under way. */
const KEY_SLOTS = 1 << 21;

/** TxnRequest.success, RequestOp.request_put, PutRequest.key and .value. */
const TAG_SUCCESS = 0x12;
const TAG_PUT = 0x12;
const TAG_KEY = 0x0a;
const TAG_VALUE = 0x12;

/**
 * Writes pairs in transactions of up to 128, each on condition that the guard holds. They overtake each other, except where two
 * of them may have a key in common.
 */
export class EtcdBulkWriter implements KvBulkWriter {
  readonly #store: KvStore;
  readonly #client: EtcdClient;
  readonly #keys: EtcdKeys;
  readonly #options: KvBulkOptions;
  readonly #watch: QuotaWatch;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #head: Buffer;
  readonly #writer = new ByteWriter(MAX_TRANSACTION_BYTES + 65536);
  readonly #inFlight = new Map<number, Promise<void>>();
  /** The number of the last transaction that has a key of this hash. */
  readonly #slots = new Uint32Array(KEY_SLOTS);
  #operations = 0;
  #transaction = 1;
  #failure: { readonly error: unknown } | undefined;
  #isDone = false;

  private constructor(
    { store, client, keys }: { store: KvStore; client: EtcdClient; keys: EtcdKeys },
    options: KvBulkOptions,
    watch: QuotaWatch,
  ) {
    this.#store = store;
    this.#client = client;
    this.#keys = keys;
    this.#options = options;
    this.#watch = watch;
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
    this.#head = Buffer.from(txnRequest(guardCompares(keys, options.guard), []));
    this.#writer.writeBytes(this.#head);
  }

  /** Undefined when there is anything in the range: then nothing was written. */
  static async open(
    parts: { store: KvStore; client: EtcdClient; keys: EtcdKeys },
    options: KvBulkOptions,
  ): Promise<EtcdBulkWriter | undefined> {
    const { client, keys } = parts;
    const { guard, signal } = options;
    const watch = await QuotaWatch.open(client, options.expectedBytes, signal);
    // The condition is of the whole range, so that no client can have begun a volume since it was found empty.
    const begin = txnRequest(
      [compare(keys.prefix, undefined, keys.end)],
      [putOperation(keys.key(guard.key), guard.value)],
    );
    const response = await client.call({ method: TXN, request: begin, signal, repeatable: false });
    return readTxnResponse(response).succeeded ? new EtcdBulkWriter(parts, options, watch) : undefined;
  }

  async write({ bytes, count }: KvPage): Promise<void> {
    this.#check();
    for (let i = 0, at = 0; i < count; i++) {
      const keySize = bytes.readUInt32BE(at);
      const valueSize = bytes.readUInt32BE(at + 4);
      const key = at + PAIR_HEADER;
      at = key + keySize + valueSize;
      const size = this.#sizeOf(keySize, valueSize);
      if (this.#operations > 0 && this.#writer.length + size > MAX_TRANSACTION_BYTES) await this.#send();
      const slot = hashOf(bytes, key, key + keySize) & (KEY_SLOTS - 1);
      const before = this.#slots[slot]!;
      if (before === this.#transaction && this.#operations > 0) await this.#send();
      const underWay = this.#inFlight.get(before);
      if (underWay !== undefined) await underWay;
      this.#slots[slot] = this.#transaction;
      this.#put(bytes, key, keySize, valueSize);
      if (this.#operations === MAX_TXN_OPERATIONS) await this.#send();
    }
    recycle(bytes);
  }

  #sizeOf(keySize: number, valueSize: number): number {
    const operation = fieldSize(putSize(this.#keys.prefix.length + keySize, valueSize));
    return fieldSize(operation);
  }

  #put(bytes: Buffer, key: number, keySize: number, valueSize: number): void {
    const { prefix } = this.#keys;
    const wholeKey = prefix.length + keySize;
    const put = putSize(wholeKey, valueSize);
    const operation = fieldSize(put);
    const writer = this.#writer;
    let to = writer.reserve(fieldSize(operation));
    const out = writer.buffer;
    out[to] = TAG_SUCCESS;
    to = putVarint32(out, to + 1, operation);
    out[to] = TAG_PUT;
    to = putVarint32(out, to + 1, put);
    out[to] = TAG_KEY;
    to = putVarint32(out, to + 1, wholeKey);
    out.set(prefix, to);
    bytes.copy(out, to + prefix.length, key, key + keySize);
    to += wholeKey;
    if (valueSize > 0) {
      out[to] = TAG_VALUE;
      to = putVarint32(out, to + 1, valueSize);
      bytes.copy(out, to, key + keySize, key + keySize + valueSize);
      to += valueSize;
    }
    writer.length = to;
    this.#operations++;
  }

  /** Sends what was gathered, and waits while too much is under way. */
  async #send(): Promise<void> {
    if (this.#operations === 0) return;
    const request = this.#writer.take();
    this.#writer.writeBytes(this.#head);
    this.#operations = 0;
    const number = this.#transaction++;
    const sent = this.#commit(request)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#inFlight.delete(number));
    this.#inFlight.set(number, sent);
    if (this.#inFlight.size >= MAX_IN_FLIGHT) await Promise.race(this.#inFlight.values());
    this.#check();
    await this.#watch.wrote(request.length, this.#signal);
  }

  /** Doing it again does no harm: the values are the same, and nobody else writes while the guard holds. */
  async #commit(request: Buffer): Promise<void> {
    const response = await this.#client.call({ method: TXN, request, signal: this.#signal, repeatable: true });
    if (!readTxnResponse(response).succeeded) throw this.#options.guard.lost();
    recycle(request);
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

  /** etcd answers when a transaction is on the disks of most servers. When the last answer is lost, it is asked for again. */
  async finish(changes: readonly KvPair[]): Promise<void> {
    await this.#drain();
    const { guard, signal } = this.#options;
    const request = txnRequest(guardCompares(this.#keys, guard), [
      ...changes.map(({ key, value }) => {
        return value === undefined ? deleteOperation(this.#keys.key(key)) : putOperation(this.#keys.key(key), value);
      }),
      deleteOperation(this.#keys.key(guard.key)),
    ]);
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await this.#client.call({ method: TXN, request, signal, repeatable: false });
        if (!readTxnResponse(response).succeeded && !(await this.#isFinished(changes))) throw guard.lost();
        break;
      } catch (error) {
        const isUncertain = error instanceof DecantError && error.code === "DECANT_E_ETCD_UNAVAILABLE";
        if (!isUncertain || attempt === FINISH_ATTEMPTS) throw error;
      }
    }
    this.#isDone = true;
  }

  /** Whether an earlier attempt was done after all: its changes are there, and the guard has gone with them. */
  async #isFinished(changes: readonly KvPair[]): Promise<boolean> {
    const { guard, signal } = this.#options;
    const [marker, ...values] = await this.#store.get([guard.key, ...changes.map(({ key }) => key)], signal);
    if (marker !== undefined) return false;
    return changes.every(({ value }, i) => (value === undefined ? !values[i] : values[i]?.equals(value) === true));
  }

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

function putSize(keySize: number, valueSize: number): number {
  return fieldSize(keySize) + (valueSize === 0 ? 0 : fieldSize(valueSize));
}

/** Bytes of a field of `size` bytes, with its tag. */
function fieldSize(size: number): number {
  return 1 + varintSize32(size) + size;
}

/** FNV-1a, with the high bits mixed in. */
function hashOf(bytes: Buffer, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash ^ (hash >>> 15);
}
