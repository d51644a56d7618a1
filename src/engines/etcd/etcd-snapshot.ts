import { ProtobufError } from "../../base/protobuf.ts";
import type { KvPage, KvRange, KvSnapshot } from "../kv/kv-store.ts";
import type { PrefixedKeys } from "../kv/prefixed-keys.ts";
import { type RangePart, RangeParts } from "../kv/range-parts.ts";
import type { EtcdClient } from "./etcd-client.ts";
import { callError, isTooLargeToReceive } from "./etcd-errors.ts";
import {
  MAX_TXN_OPERATIONS,
  RANGE,
  rangeOperation,
  rangeRequest,
  readTxnResponse,
  readValue,
  TXN,
  txnRequest,
} from "./etcd-messages.ts";
import { RangeResponseReader } from "./range-response.ts";

/**
 * Responses are asked for in about this size, by the pairs that were seen last: etcd takes only a number of pairs. The larger they are,
 * the less time both sides spend on each pair.
 */
const RESPONSE_BYTES = 2 * 1024 * 1024;
const FIRST_LIMIT = 1000;
/** A server gathers a whole response in its memory, and none of these pairs need be as small as those before them. */
const MAX_LIMIT = 32 * 1024;

/** Parts of a scan that are asked for at one time. */
const PARTS_AHEAD = { window: 4 };

interface AskedPart {
  readonly bytes: Promise<Buffer>;
  readonly limit: number;
}

/** All keys at one revision, which etcd keeps until somebody compacts it away (docs/spec/kv-stores.md §1). */
export class EtcdSnapshot implements KvSnapshot {
  readonly pointInTime = true;
  readonly method: string;
  readonly asOf: Date;
  readonly #client: EtcdClient;
  readonly #keys: PrefixedKeys;
  readonly #revision: bigint;
  readonly #signal: AbortSignal;

  constructor(
    client: EtcdClient,
    keys: PrefixedKeys,
    { revision, asOf, signal }: { revision: bigint; asOf: Date; signal: AbortSignal },
  ) {
    this.#client = client;
    this.#keys = keys;
    this.#revision = revision;
    this.#signal = signal;
    this.asOf = asOf;
    this.method = `all keys were read at revision ${revision} of etcd`;
  }

  async *scan(range: KvRange): AsyncGenerator<KvPage> {
    const stop = new AbortController();
    const signal = AbortSignal.any([this.#signal, stop.signal]);
    const response = new RangeResponseReader(this.#keys.prefix.length);
    const parts = new RangeParts<AskedPart>(this.#keys.range(range));
    let limit = FIRST_LIMIT;
    const ask = (part: RangePart<AskedPart>): AskedPart => {
      const bytes = this.#ask(part.start, part.end, limit, signal);
      bytes.catch(() => undefined); // heard when its turn comes, or not at all after another failure
      return { bytes, limit };
    };
    try {
      for (parts.ask(PARTS_AHEAD, ask); parts.first !== undefined; ) {
        const asked = parts.first.answer!;
        let bytes: Buffer;
        try {
          bytes = await asked.bytes;
        } catch (error) {
          if (!isTooLargeToReceive((error as Error).cause) || asked.limit === 1) throw error;
          limit = Math.max(1, Math.min(limit, asked.limit >> 4));
          parts.first.answer = ask(parts.first);
          continue;
        }
        response.open(bytes);
        parts.received(response, asked.limit);
        if (response.count > 0) limit = nextLimit(limit, bytes.length, response.count);
        // the next responses are on their way while this one is taken in
        parts.ask(PARTS_AHEAD, ask);
        yield* response.pages();
      }
    } catch (error) {
      throw error instanceof ProtobufError ? callError(error, this.#client.address.printable) : error;
    } finally {
      stop.abort();
    }
  }

  #ask(key: Buffer, end: Buffer, limit: number, signal: AbortSignal): Promise<Buffer> {
    const request = rangeRequest({ key, end, limit, revision: this.#revision }).written();
    return this.#client.call({ method: RANGE, request, signal, repeatable: true });
  }

  get(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]> {
    return readKeys(
      this.#client,
      keys.map((key) => this.#keys.key(key)),
      this.#revision,
      this.#signal,
    );
  }

  /** etcd keeps nothing for a reader. */
  async close(): Promise<void> {}
}

/** Values by their whole keys, all at one revision; 0: the newest. */
export async function readKeys(
  client: EtcdClient,
  keys: readonly Buffer[],
  at: bigint,
  signal: AbortSignal,
): Promise<(Buffer | undefined)[]> {
  const values: (Buffer | undefined)[] = [];
  let revision = at;
  for (let first = 0; first < keys.length; first += MAX_TXN_OPERATIONS) {
    const some = keys.slice(first, first + MAX_TXN_OPERATIONS);
    const request = txnRequest(
      [],
      some.map((key) => rangeOperation({ key, revision })),
    );
    const response = readTxnResponse(await client.call({ method: TXN, request, signal, repeatable: true }));
    if (revision === 0n) revision = response.revision;
    for (const range of response.ranges) values.push(readValue(range));
  }
  return values;
}

/** Grows slowly, so that large values after many small ones do no harm. */
function nextLimit(limit: number, bytes: number, count: number): number {
  const fitting = Math.floor(RESPONSE_BYTES / Math.max(1, bytes / Math.max(1, count)));
  return Math.max(1, Math.min(fitting, limit * 2, MAX_LIMIT));
}
