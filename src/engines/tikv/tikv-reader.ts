import { ByteWriter } from "../../base/bytes.ts";
import { EngineError } from "../../base/errors.ts";
import { ProtobufReader, ProtobufWriter } from "../../base/protobuf.ts";
import type { KvPage } from "../kv/kv-store.ts";
import { keyAfter } from "../kv/prefixed-keys.ts";
import { type PartResult, RangeParts } from "../kv/range-parts.ts";
import { lowerEnd } from "./key-codec.ts";
import type { LockResolver } from "./lock-resolver.ts";
import type { TikvClient } from "./tikv-client.ts";
import type { Patience } from "./tikv-errors.ts";
import { type KeyError, type Lock, readKeyError } from "./tikv-messages.ts";

/** Bytes that a page is meant to have, and keys that are asked for at once: the store knows no limit in bytes. */
const PAGE_BYTES = 192 * 1024;
const [FIRST_LIMIT, MAX_LIMIT] = [512, 4096];
const GET_KEYS = 128;
/** Keys are asked for by this part of their number when an answer was larger than the store may send (10 MiB by default). */
const SHRINK = 8;
/** Transactions whose locks are passed over, remembered until there are so many. */
const MAX_PUSHED = 256;

export interface ReaderOptions {
  readonly resolver: LockResolver;
  readonly timestamp: bigint;
  readonly prefixSize: number;
  /** Pages of one scan that are read side by side. */
  readonly workers: number;
}

/** Reads as of one timestamp. Keys have the prefix of the volume; pages have them without. */
export class TikvReader {
  readonly #client: TikvClient;
  readonly #resolver: LockResolver;
  readonly #timestamp: bigint;
  readonly #prefixSize: number;
  readonly #workers: number;
  readonly #pushed: Set<bigint> = new Set();
  #limit = FIRST_LIMIT;
  #getKeys = GET_KEYS;

  constructor(client: TikvClient, options: ReaderOptions) {
    this.#client = client;
    this.#resolver = options.resolver;
    this.#timestamp = options.timestamp;
    this.#prefixSize = options.prefixSize;
    this.#workers = options.workers;
  }

  async get(keys: readonly Buffer[], patience: Patience, toTheEnd: boolean = false): Promise<(Buffer | undefined)[]> {
    const values: (Buffer | undefined)[] = keys.map(() => undefined);
    const maxKeys = (): number => this.#getKeys;
    await this.#client.forKeys(keys, { maxKeys, patience }, async (region, indexes) => {
      const request = new ProtobufWriter(1024);
      for (const i of indexes) request.element(2, keys[i]!);
      request.number(3, this.#timestamp);
      const shrink = (): boolean => {
        this.#getKeys = Math.min(this.#getKeys, Math.ceil(indexes.length / SHRINK));
        return indexes.length > 1;
      };
      const call = { method: "KvBatchGet", request, resolvedLocks: this.#pushed, toTheEnd, shrink };
      const answer = await this.#client.attempt(region, call, patience);
      if (answer === undefined) return indexes;
      const { found, errors } = this.#client.read(answer, readPairs);
      for (const i of indexes) values[i] = found.get(keys[i]!.toString("latin1"));
      if (errors.length === 0) return [];
      // a key that is locked is not among those that were found, and neither is one that is not there
      await this.#settle(errors, patience);
      return indexes;
    });
    return values;
  }

  /** Pages of `[start, end)`, of which some are asked for side by side. */
  async *scan(start: Buffer, end: Buffer, signal: AbortSignal): AsyncGenerator<KvPage> {
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const parts = new RangeParts<Promise<ScannedPart>>({ start, end });
    const ask = (): void =>
      parts.ask({ atOnce: this.#workers }, (part) => {
        const answer = this.#scanPart(part, end, both);
        answer.catch(() => undefined); // it is heard of when its turn comes
        return answer;
      });
    try {
      ask();
      for (let part = parts.first; part !== undefined; part = parts.first) {
        const { pages, limit, ...result } = await part.answer!;
        parts.received(result, limit);
        ask();
        yield* pages;
      }
    } finally {
      stop.abort();
      await Promise.allSettled(parts.asked);
    }
  }

  /** About a page, by regions as they are when it comes to them; those up to `rangeEnd` will be needed too. */
  async #scanPart(
    { start, end }: { start: Buffer; end: Buffer },
    rangeEnd: Buffer,
    signal: AbortSignal,
  ): Promise<ScannedPart> {
    const pages: KvPage[] = [];
    const limit = this.#limit;
    let [count, bytes] = [0, 0];
    let [firstKey, lastKey]: (Buffer | undefined)[] = [];
    let at = start;
    let patience = this.#client.patience(signal);
    while (count < limit && bytes < PAGE_BYTES) {
      const [region] = await this.#client.regions.locateRange(at, rangeEnd, patience);
      const regionEnd = lowerEnd(region!.end, end);
      const most = Math.min(limit - count, this.#limit);
      const request = new ProtobufWriter().bytes(2, at).number(3, most).number(4, this.#timestamp).bytes(7, regionEnd);
      const shrink = (): boolean => this.#shrinkLimit(most);
      const call = { method: "KvScan", request, isBulkRead: true, resolvedLocks: this.#pushed, shrink };
      const answer = await this.#client.attempt(region!, call, patience);
      if (answer === undefined) continue;
      const pairs = this.#client.read(answer, (reader) => readScan(reader, this.#prefixSize));
      if (pairs.count > 0) {
        pages.push({ count: pairs.count, bytes: pairs.bytes });
        count += pairs.count;
        bytes += pairs.bytes.length;
        firstKey ??= pairs.firstKey;
        lastKey = pairs.lastKey;
        this.#adapt(pairs.count, pairs.bytes.length);
      }
      if (pairs.errors.length > 0) {
        at = pairs.resumeAt ?? (pairs.count === 0 ? at : keyAfter(lastKey!));
        if (pairs.count > 0) patience = this.#client.patience(signal);
        await this.#settle(pairs.errors, patience);
        continue;
      }
      patience = this.#client.patience(signal);
      if (pairs.count >= most) at = keyAfter(lastKey!);
      else if (regionEnd.equals(end)) return { pages, limit, count, firstKey, lastKey, resumeAt: undefined };
      else at = regionEnd;
    }
    return { pages, limit, count, firstKey, lastKey, resumeAt: at };
  }

  /** Asks for as many keys as make a page, growing slowly: large values may follow small ones. */
  #adapt(count: number, bytes: number): void {
    const fitting = Math.floor(PAGE_BYTES / Math.max(1, bytes / count));
    this.#limit = Math.max(1, Math.min(MAX_LIMIT, fitting, this.#limit * 2));
  }

  #shrinkLimit(limit: number): boolean {
    this.#limit = Math.min(this.#limit, Math.ceil(limit / SHRINK));
    return limit > 1;
  }

  async #settle(errors: readonly KeyError[], patience: Patience): Promise<void> {
    const locks: Lock[] = [];
    for (const error of errors) {
      if (error.lock === undefined) {
        throw new EngineError("DECANT_E_TIKV_READ", `Cannot read from TiKV: ${error.text}`, {
          hint: "The logs of the stores say more",
        });
      }
      locks.push(error.lock);
    }
    if (this.#pushed.size > MAX_PUSHED) this.#pushed.clear();
    for (const version of await this.#resolver.resolve(locks, this.#timestamp, patience)) this.#pushed.add(version);
  }
}

interface ScannedPart extends PartResult {
  readonly pages: readonly KvPage[];
  /** Pairs that were asked for. */
  readonly limit: number;
}

interface FoundPairs {
  /** By key, its bytes as latin1. */
  readonly found: ReadonlyMap<string, Buffer>;
  readonly errors: readonly KeyError[];
}

/** kvrpcpb.BatchGetResponse. A value without bytes cannot be stored: some servers answer so for a key that is not there. */
function readPairs(reader: ProtobufReader): FoundPairs {
  const found = new Map<string, Buffer>();
  const errors: KeyError[] = [];
  while (reader.next()) {
    if (reader.field === 5) errors.push(readKeyError(reader.message()));
    if (reader.field !== 2) continue;
    const pair = reader.message();
    let [key, value]: (Buffer | undefined)[] = [];
    while (pair.next()) {
      if (pair.field === 1) errors.push(readKeyError(pair.message()));
      else if (pair.field === 2) key = pair.view();
      else if (pair.field === 3) value = pair.view();
    }
    if (key !== undefined && value !== undefined && value.length > 0)
      found.set(key.toString("latin1"), Buffer.from(value));
  }
  return { found, errors };
}

interface ScannedPairs {
  /** A page of what comes before the first error. */
  readonly count: number;
  readonly bytes: Buffer;
  readonly firstKey: Buffer | undefined;
  readonly lastKey: Buffer | undefined;
  readonly errors: readonly KeyError[];
  /** The key with the first error, where one is told. */
  readonly resumeAt: Buffer | undefined;
}

/** kvrpcpb.ScanResponse. */
function readScan(reader: ProtobufReader, prefixSize: number): ScannedPairs {
  const out = new ByteWriter(reader.bytes.length + 64);
  const { bytes } = reader;
  const pair = new ProtobufReader(bytes);
  const errors: KeyError[] = [];
  let count = 0;
  let [firstStart, firstEnd, lastStart, lastEnd] = [0, 0, 0, 0];
  let resumeAt: Buffer | undefined;
  while (reader.next()) {
    if (reader.field === 3) errors.push(readKeyError(reader.message()));
    if (reader.field !== 2) continue;
    pair.reopen(reader.start, reader.end);
    let [keyStart, keyEnd, valueStart, valueEnd] = [0, 0, 0, 0];
    let error: KeyError | undefined;
    while (pair.next()) {
      if (pair.field === 1) error = readKeyError(pair.message());
      else if (pair.field === 2) [keyStart, keyEnd] = [pair.start, pair.end];
      else if (pair.field === 3) [valueStart, valueEnd] = [pair.start, pair.end];
    }
    if (error !== undefined) {
      if (errors.length === 0) resumeAt = error.lock?.key ?? bytes.subarray(keyStart, keyEnd);
      errors.push(error);
    } else if (errors.length === 0) {
      out.writeU32(keyEnd - keyStart - prefixSize);
      out.writeU32(valueEnd - valueStart);
      out.writeSlice(bytes, keyStart + prefixSize, keyEnd);
      out.writeSlice(bytes, valueStart, valueEnd);
      if (count === 0) [firstStart, firstEnd] = [keyStart, keyEnd];
      [lastStart, lastEnd] = [keyStart, keyEnd];
      count++;
    }
  }
  const copy = (from: number, to: number): Buffer | undefined =>
    count === 0 ? undefined : Buffer.from(bytes.subarray(from, to));
  const [firstKey, lastKey] = [copy(firstStart, firstEnd), copy(lastStart, lastEnd)];
  return { count, bytes: out.written(), firstKey, lastKey, errors, resumeAt };
}
