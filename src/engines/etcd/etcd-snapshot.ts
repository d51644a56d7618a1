import { ProtobufReader } from "../../base/protobuf.ts";
import { PageBuilder } from "../kv/kv-page.ts";
import type { KvPage, KvRange, KvSnapshot } from "../kv/kv-store.ts";
import type { EtcdClient } from "./etcd-client.ts";
import { isTooLargeToReceive } from "./etcd-errors.ts";
import { type EtcdKeys, keyAfter } from "./etcd-keys.ts";
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

/** Responses are asked for in about this size, by the pairs that were seen last: etcd takes only a number of pairs. */
const RESPONSE_BYTES = 1024 * 1024;
const FIRST_LIMIT = 1000;
const MAX_LIMIT = 20_000;

/** All keys at one revision, which etcd keeps until somebody compacts it away (docs/spec/kv-stores.md §1). */
export class EtcdSnapshot implements KvSnapshot {
  readonly pointInTime = true;
  readonly method: string;
  readonly asOf: Date;
  readonly #client: EtcdClient;
  readonly #keys: EtcdKeys;
  readonly #revision: bigint;
  readonly #signal: AbortSignal;

  constructor(
    client: EtcdClient,
    keys: EtcdKeys,
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
    const { start, end } = this.#keys.range(range);
    const stop = new AbortController();
    const signal = AbortSignal.any([this.#signal, stop.signal]);
    const parser = new RangeParser(this.#keys.prefix.length);
    let limit = FIRST_LIMIT;
    let pending: Promise<Buffer> | undefined = this.#ask(start, end, limit, signal);
    let from = start;
    try {
      while (pending !== undefined) {
        let response: Buffer;
        try {
          response = await pending;
        } catch (error) {
          if (!isTooLargeToReceive((error as Error).cause) || limit === 1) throw error;
          limit = Math.max(1, limit >> 4);
          pending = this.#ask(from, end, limit, signal);
          continue;
        }
        parser.open(response);
        const { lastKey } = parser;
        pending = undefined;
        if (parser.more && lastKey !== undefined) {
          from = keyAfter(lastKey);
          limit = nextLimit(limit, response.length, parser.count);
          // the next response is on its way while this one is taken in
          pending = this.#ask(from, end, limit, signal);
          pending.catch(() => undefined);
        }
        yield* parser.pages();
      }
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

/** Takes the pairs of a RangeResponse: header 1, kvs 2 (key 1, value 5), more 3, count 4. */
class RangeParser {
  more = false;
  /** Pairs in the response, and the whole key of the last one. */
  count = 0;
  lastKey: Buffer | undefined;
  readonly #prefixBytes: number;
  readonly #pages = new PageBuilder();
  #response: Buffer = Buffer.alloc(0);

  constructor(prefixBytes: number) {
    this.#prefixBytes = prefixBytes;
  }

  /** Finds out how it goes on, without looking into the pairs but the last one. */
  open(response: Buffer): void {
    this.#response = response;
    this.more = false;
    this.count = 0;
    let [start, end] = [0, 0];
    const reader = new ProtobufReader(response);
    while (reader.next()) {
      if (reader.field === 2) {
        this.count++;
        ({ start, end } = reader);
      } else if (reader.field === 3) this.more = reader.bool();
    }
    this.lastKey = undefined;
    const last = new ProtobufReader(response, start, end);
    while (this.lastKey === undefined && last.next()) if (last.field === 1) this.lastKey = last.view();
  }

  *pages(): Generator<KvPage> {
    const bytes = this.#response;
    const pages = this.#pages;
    const prefixBytes = this.#prefixBytes;
    const reader = new ProtobufReader(bytes);
    const pair = new ProtobufReader(bytes);
    while (reader.next()) {
      if (reader.field !== 2) continue;
      pair.reopen(reader.start, reader.end);
      let [key, keyEnd, value, valueEnd] = [0, 0, 0, 0];
      while (pair.next()) {
        if (pair.field === 1) {
          key = pair.start + prefixBytes;
          keyEnd = pair.end;
        } else if (pair.field === 5) {
          value = pair.start;
          valueEnd = pair.end;
        }
      }
      const to = pages.add(keyEnd - key, valueEnd - value);
      const { buffer } = pages.writer;
      bytes.copy(buffer, to, key, keyEnd);
      bytes.copy(buffer, to + keyEnd - key, value, valueEnd);
      if (pages.isFull) yield pages.take()!;
    }
    const rest = pages.take();
    if (rest !== undefined) yield rest;
  }
}
