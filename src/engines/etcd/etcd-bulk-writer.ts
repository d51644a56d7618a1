import { randomUUID } from "node:crypto";
import { recycle, viewOf } from "../../base/bytes.ts";
import { errorText } from "../../base/errors.ts";
import { PAIR_HEADER } from "../kv/kv-page.ts";
import type { KvBulkOptions, KvBulkWriter, KvGuard, KvPage, KvPair, KvStore } from "../kv/kv-store.ts";
import { removeGuarded } from "../kv/load-guard.ts";
import type { PrefixedKeys } from "../kv/prefixed-keys.ts";
import type { EtcdClient } from "./etcd-client.ts";
import { compare, deleteOperation, putOperation, readTxnResponse, TXN, txnRequest } from "./etcd-messages.ts";
import { commitSurely, guardCompares } from "./etcd-transactions.ts";
import { hashOf, KeyHashes } from "./key-hashes.ts";
import { PutRequestBuilder } from "./put-request.ts";
import { QuotaWatch } from "./quota-watch.ts";

/** Transactions that are under way at one time: etcd writes what came together to its log at once. */
const MAX_IN_FLIGHT = 6;

/** How long an abort may go on after the signal that caused it. */
const ABORT_TIMEOUT_MS = 60_000;

interface BulkParts {
  readonly store: KvStore;
  readonly client: EtcdClient;
  readonly keys: PrefixedKeys;
}

interface SentTransaction {
  readonly hashes: KeyHashes;
  readonly done: Promise<void>;
}

/**
 * Writes pairs in transactions, each on condition that the guard holds. They overtake each other, except where two of them may have
 * a key in common.
 *
 * A transaction whose answer was lost is done again: its values are the same, and nobody else writes while the guard holds. But the
 * first one may still be on its way, in a server that stood still, and must not come after newer values of its keys: before anything
 * else is sent, the value of the guard is changed, so that what was sent before cannot be done any more.
 */
export class EtcdBulkWriter implements KvBulkWriter {
  readonly #store: KvStore;
  readonly #client: EtcdClient;
  readonly #keys: PrefixedKeys;
  readonly #options: KvBulkOptions;
  readonly #watch: QuotaWatch;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #request: PutRequestBuilder;
  readonly #inFlight = new Set<SentTransaction>();
  readonly #spareHashes: KeyHashes[] = [];
  #guard: KvGuard;
  /** All that this load has had; only the last one, or the one before, can be there. */
  readonly #guards: KvGuard[];
  /** The keys of the request that is being filled. */
  #hashes = new KeyHashes();
  /** Something that was sent may still be done later. */
  #mayLinger = false;
  #failure: { readonly error: unknown } | undefined;
  #isDone = false;

  private constructor({ store, client, keys }: BulkParts, options: KvBulkOptions, watch: QuotaWatch) {
    this.#store = store;
    this.#client = client;
    this.#keys = keys;
    this.#options = options;
    this.#watch = watch;
    this.#guard = options.guard;
    this.#guards = [options.guard];
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
    this.#request = new PutRequestBuilder(keys.prefix);
  }

  /** Undefined when there is anything in the range: then nothing was written. */
  static async open(parts: BulkParts, options: KvBulkOptions): Promise<EtcdBulkWriter | undefined> {
    const { store, client, keys } = parts;
    const { guard, signal, takesOver } = options;
    const watch = await QuotaWatch.open(client, options);
    const conditions =
      takesOver === undefined
        ? // The condition is of the whole range, so that no client can have begun a volume since it was found empty.
          [compare(keys.prefix, undefined, keys.end)]
        : guardCompares(keys, { ...guard, value: takesOver });
    const request = txnRequest(conditions, [putOperation(keys.key(guard.key), guard.value)]);
    const isOurs = async (): Promise<boolean> =>
      (await store.get([guard.key], signal))[0]?.equals(guard.value) === true;
    return (await commitSurely(client, request, signal, isOurs))
      ? new EtcdBulkWriter(parts, options, watch)
      : undefined;
  }

  async write({ bytes, count }: KvPage): Promise<void> {
    this.#check();
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const keySize = view.getUint32(at);
      const valueSize = view.getUint32(at + 4);
      const key = at + PAIR_HEADER;
      at = key + keySize + valueSize;
      const hash = hashOf(view, key, key + keySize);
      if (this.#isUnderWay(hash)) await this.#drain();
      else if (!this.#request.fits(keySize, valueSize)) await this.#send();
      this.#hashes.add(hash);
      this.#request.add(view, key, keySize, valueSize);
      if (this.#request.isFull) await this.#send();
    }
    recycle(bytes);
  }

  #isUnderWay(hash: number): boolean {
    if (this.#hashes.has(hash)) return true;
    for (const { hashes } of this.#inFlight) if (hashes.has(hash)) return true;
    return false;
  }

  /** Sends what was gathered, and waits while too much is under way. */
  async #send(): Promise<void> {
    if (this.#request.count === 0) return;
    if (this.#mayLinger) await this.#changeGuard();
    const request = this.#request.take(txnRequest(guardCompares(this.#keys, this.#guard), []));
    const hashes = this.#hashes;
    this.#hashes = this.#spareHashes.pop() ?? new KeyHashes();
    const size = request.length;
    const done = this.#commit(request)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .then(() => {
        this.#inFlight.delete(sent);
        hashes.clear();
        this.#spareHashes.push(hashes);
      });
    const sent: SentTransaction = { hashes, done };
    this.#inFlight.add(sent);
    if (this.#inFlight.size >= MAX_IN_FLIGHT) await Promise.race(Array.from(this.#inFlight, (each) => each.done));
    this.#check();
    await this.#watch.wrote(size, this.#signal);
  }

  async #commit(request: Buffer): Promise<void> {
    const onRepeat = (): void => {
      this.#mayLinger = true;
    };
    const call = { method: TXN, request, signal: this.#signal, repeatable: true, onRepeat };
    if (!readTxnResponse(await this.#client.call(call)).succeeded) throw this.#options.guard.lost();
    recycle(request);
  }

  #check(): void {
    this.#options.signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** After this, keys that were written may be written again. */
  async #drain(): Promise<void> {
    await this.#send();
    await this.#allDone();
    if (this.#mayLinger) await this.#changeGuard();
  }

  async #allDone(): Promise<void> {
    await Promise.all(Array.from(this.#inFlight, (each) => each.done));
    this.#check();
  }

  async #changeGuard(): Promise<void> {
    await this.#allDone();
    this.#mayLinger = false;
    const next: KvGuard = { ...this.#options.guard, value: Buffer.from(randomUUID()) };
    this.#guards.push(next);
    const key = this.#keys.key(next.key);
    const request = txnRequest(guardCompares(this.#keys, this.#guard), [putOperation(key, next.value)]);
    const isChanged = async (): Promise<boolean> => (await this.#heldGuard(this.#signal)) === next;
    if (!(await commitSurely(this.#client, request, this.#signal, isChanged))) throw next.lost();
    this.#guard = next;
  }

  /** Of the guards of this load, the one that is stored. */
  async #heldGuard(signal: AbortSignal): Promise<KvGuard | undefined> {
    const [value] = await this.#store.get([this.#guard.key], signal);
    return this.#guards.find((guard) => value?.equals(guard.value));
  }

  async get(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]> {
    await this.#drain();
    return this.#store.get(keys, this.#signal);
  }

  async checkpoint(changes: readonly KvPair[]): Promise<void> {
    await this.#drain();
    await this.announce(changes);
  }

  async announce(changes: readonly KvPair[]): Promise<void> {
    if (this.#mayLinger) await this.#changeGuard();
    const guard = this.#guard;
    const operations = changes.map(({ key, value }) => putOperation(this.#keys.key(key), value!));
    const request = txnRequest(guardCompares(this.#keys, guard), operations);
    const isStored = async (): Promise<boolean> => {
      const keys = changes.map(({ key }) => key);
      const stored = await this.#store.get(keys, this.#signal);
      return changes.every(({ value }, i) => stored[i]?.equals(value!) === true);
    };
    const onRepeat = (): void => {
      this.#mayLinger = true; // and must not come after the next position
    };
    if (!(await commitSurely(this.#client, request, this.#signal, isStored, onRepeat))) throw guard.lost();
  }

  async suspend(): Promise<boolean> {
    this.#isDone = true;
    this.#stop.abort();
    await Promise.all(Array.from(this.#inFlight, (each) => each.done));
    return true;
  }

  /** etcd answers when a transaction is on the disks of most servers. */
  async finish(changes: readonly KvPair[]): Promise<void> {
    await this.#drain();
    const guard = this.#guard;
    const request = txnRequest(guardCompares(this.#keys, guard), [
      ...changes.map(({ key, value }) => {
        return value === undefined ? deleteOperation(this.#keys.key(key)) : putOperation(this.#keys.key(key), value);
      }),
      deleteOperation(this.#keys.key(guard.key)),
    ]);
    const isFinished = (): Promise<boolean> => this.#isFinished(changes);
    if (!(await commitSurely(this.#client, request, this.#options.signal, isFinished))) throw guard.lost();
    this.#isDone = true;
  }

  /** Whether an earlier attempt was done after all: its changes are there, and the guard has gone with them. */
  async #isFinished(changes: readonly KvPair[]): Promise<boolean> {
    const keys = [this.#guard.key, ...changes.map(({ key }) => key)];
    const [marker, ...values] = await this.#store.get(keys, this.#options.signal);
    if (marker !== undefined) return false;
    return changes.every(({ value }, i) => (value === undefined ? !values[i] : values[i]?.equals(value) === true));
  }

  async abort(): Promise<void> {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#stop.abort();
    await Promise.all(Array.from(this.#inFlight, (each) => each.done));
    try {
      const signal = AbortSignal.timeout(ABORT_TIMEOUT_MS);
      const guard = (await this.#heldGuard(signal)) ?? this.#guard;
      await removeGuarded(this.#store, guard, signal, this.#options.ranges);
    } catch (error) {
      this.#options.logger.warn(
        `What was written to ${this.#store.address} could not be removed: ${errorText(error)}. It holds no volume, but it may not be empty`,
      );
    }
  }
}
