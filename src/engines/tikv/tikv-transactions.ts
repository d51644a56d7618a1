import { EngineError } from "../../base/errors.ts";
import { type Logger, silentLogger } from "../../base/logger.ts";
import { ProtobufWriter } from "../../base/protobuf.ts";
import type { KvDeleteOptions, KvGuard, KvPair, KvTransaction } from "../kv/kv-store.ts";
import { spansWithout } from "../kv/prefixed-keys.ts";
import { lowerEnd } from "./key-codec.ts";
import { LockResolver } from "./lock-resolver.ts";
import { type Mutations, MutationsBuilder, OP_DELETE, OP_LOCK, OP_PUT } from "./mutations.ts";
import type { TikvClient } from "./tikv-client.ts";
import type { Patience } from "./tikv-errors.ts";
import { TikvReader } from "./tikv-reader.ts";
import { commitInTwoPhases } from "./two-phase-commit.ts";

/** What all parts of one store share. */
export class TikvTransactions {
  readonly client: TikvClient;
  readonly resolver: LockResolver;
  readonly prefix: Buffer;
  /** The first key behind all of the volume. */
  readonly end: Buffer;
  readonly workers: number;
  readonly #logShards: bigint;

  constructor(client: TikvClient, prefix: Buffer, { logShards, workers }: { logShards: number; workers: number }) {
    this.client = client;
    this.workers = workers;
    this.resolver = new LockResolver(client);
    this.prefix = prefix;
    this.end = Buffer.from(prefix);
    this.end[prefix.length - 1] = prefix[prefix.length - 1]! + 1; // 0xFD, always
    this.#logShards = BigInt(logShards);
  }

  key(key: Uint8Array): Buffer {
    return Buffer.concat([this.prefix, key]);
  }

  rangeEnd(end: Uint8Array): Buffer {
    return end.length === 0 ? this.end : this.key(end);
  }

  reader(timestamp: bigint): TikvReader {
    const { resolver, workers } = this;
    return new TikvReader(this.client, { resolver, timestamp, prefixSize: this.prefix.length, workers });
  }

  /** Values as of now, of keys without the prefix. */
  async get(keys: readonly Uint8Array[], patience: Patience): Promise<(Buffer | undefined)[]> {
    const timestamp = await this.client.pd.timestamp(patience);
    return this.#read(keys, timestamp, patience);
  }

  #read(
    keys: readonly Uint8Array[],
    timestamp: bigint,
    patience: Patience,
    toTheEnd = false,
  ): Promise<(Buffer | undefined)[]> {
    return this.reader(timestamp).get(
      keys.map((key) => this.key(key)),
      patience,
      toTheEnd,
    );
  }

  /** See `KvStore.transact`: conditions are read at the begin, and locked with the changes so that nobody writes them meanwhile. */
  async transact(transaction: KvTransaction, signal: AbortSignal): Promise<boolean> {
    const { conditions, changes, logEntries = [] } = transaction;
    const patience = this.client.patience(signal);
    for (;;) {
      const logIds: bigint[] = [];
      const startedAt = performance.now();
      let startTs = 0n;
      for (let i = 0; i < Math.max(1, logEntries.length); i++) {
        startTs = await this.client.pd.timestamp(patience);
        logIds.push(startTs);
      }
      const keys = conditions.map(({ key }) => key);
      const values = keys.length === 0 ? [] : await this.#read(keys, startTs, patience);
      if (!conditions.every(({ value }, i) => isSame(values[i], value))) return false;
      const builder = new MutationsBuilder(this.prefix);
      for (const { key } of conditions) builder.add(OP_LOCK, key);
      for (const change of changes) addChange(builder, change);
      for (const [i, entry] of logEntries.entries()) builder.add(OP_PUT, this.#logKey(logIds[i]!), Buffer.from(entry));
      if (changes.length + logEntries.length === 0) return true;
      const options = { ...this.#commitOptions(silentLogger), patience, startTs, startedAt };
      if (await commitInTwoPhases(builder.finish(), options)) return true;
      await patience.pause("conflict", "other transactions keep writing the same keys");
    }
  }

  /**
   * Writes what nobody else is to have written, as long as the guard holds, which is looked at as of the very timestamp at which
   * it is committed: a transaction that changes the guard before sees none of it, or removes it after it.
   */
  async writeGuarded(
    mutations: Mutations,
    { guard, signal, logger }: { guard: KvGuard; signal: AbortSignal; logger: Logger },
  ): Promise<void> {
    const patience = this.client.patience(signal);
    for (;;) {
      const startedAt = performance.now();
      const startTs = await this.client.pd.timestamp(patience);
      const beforeCommit = async (commitTs: bigint): Promise<void> => {
        const found = await this.#read([guard.key, guard.absent], commitTs, patience, true);
        if (!isSame(found[0], guard.value) || found[1] !== undefined) throw guard.lost();
      };
      const options = { ...this.#commitOptions(logger), patience, startTs, startedAt, beforeCommit, toTheEnd: true };
      if (await commitInTwoPhases(mutations, options)) return;
      await patience.pause("conflict", "other transactions keep writing the same keys");
    }
  }

  /** Removes keys, region by region, for good and with their history: as the reference does it. */
  async deleteRange(start: Buffer, end: Buffer, { signal, guard }: KvDeleteOptions): Promise<void> {
    const kept = guard === undefined ? undefined : this.key(guard.key);
    const options = { signal, ...(guard === undefined ? {} : { guard }) };
    for (const span of spansWithout({ start, end }, kept)) await this.#deleteSpan(span.start, span.end, options);
  }

  async #deleteSpan(start: Buffer, end: Buffer, { signal, guard }: KvDeleteOptions): Promise<void> {
    let at = start;
    while (at.compare(end) < 0) {
      const patience = this.client.patience(signal);
      if (guard !== undefined) {
        const found = await this.get([guard.key, guard.absent], patience);
        if (!isSame(found[0], guard.value) || found[1] !== undefined) throw guard.lost();
      }
      const region = await this.client.regions.locate(at, patience);
      const to = lowerEnd(region.end, end);
      const request = new ProtobufWriter().bytes(2, at).bytes(3, to);
      const answer = await this.client.attempt(region, { method: "KvDeleteRange", request, toTheEnd: true }, patience);
      if (answer === undefined) continue;
      const problem = this.client.read(answer, (reader) => {
        while (reader.next()) if (reader.field === 2) return reader.text();
        return "";
      });
      if (problem !== "") {
        throw new EngineError("DECANT_E_TIKV_WRITE", `TiKV could not remove a range of keys: ${problem}`, {
          hint: "The logs of the stores say more",
        });
      }
      at = to;
    }
  }

  #commitOptions(logger: Logger): { client: TikvClient; resolver: LockResolver; logger: Logger } {
    return { client: this.client, resolver: this.resolver, logger };
  }

  /** `XLOG`, shard, number of the line (docs/spec/kv.md §5.13). */
  #logKey(id: bigint): Buffer {
    const key = Buffer.alloc(13);
    key.write("XLOG");
    key[4] = Number((id ^ (id >> 18n)) % this.#logShards);
    key.writeBigUInt64BE(id, 5);
    return key;
  }
}

function addChange(builder: MutationsBuilder, { key, value }: KvPair): void {
  if (value === undefined) {
    builder.add(OP_DELETE, key);
    return;
  }
  if (value.length === 0) throw emptyValue(key);
  builder.add(OP_PUT, key, value);
}

/** What `limits` says; whoever comes so far has not looked. */
export function emptyValue(key: Uint8Array): EngineError {
  return new EngineError(
    "DECANT_E_TIKV_EMPTY_VALUE",
    `TiKV cannot store the empty value of key ${Buffer.from(key).toString("hex")}`,
    { hint: "Values must have at least one byte there" },
  );
}

function isSame(found: Buffer | undefined, expected: Uint8Array | undefined): boolean {
  if (found === undefined || expected === undefined) return found === expected;
  return found.compare(expected) === 0;
}
