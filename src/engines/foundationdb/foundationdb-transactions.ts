import type { KvDeleteOptions, KvGuard, KvPair, KvRange, KvTransaction } from "../kv/kv-store.ts";
import { guardConditions } from "../kv/load-guard.ts";
import { type PrefixedKeys, spansWithout } from "../kv/prefixed-keys.ts";
import type { Attempt, FoundationdbClient } from "./foundationdb-client.ts";
import { type FdbError, fdbError, outcomeUnknown } from "./foundationdb-errors.ts";
import type { FdbTransaction } from "./foundationdb-package.ts";

/** Lines of the change log that have one read version (docs/spec/kv.md §5.13). */
const LINES_PER_VERSION = 1000;

interface LogLine {
  readonly key: Buffer;
  readonly value: Buffer;
}

const HOLDS: Attempt<boolean> = { result: true, commit: false };
const DOES_NOT_HOLD: Attempt<boolean> = { result: false, commit: false };
const CHANGED: Attempt<boolean> = { result: true, commit: true };

/** Changes of one volume's keys. */
export class FoundationdbTransactions {
  readonly client: FoundationdbClient;
  readonly keys: PrefixedKeys;
  #line = Math.floor(Math.random() * LINES_PER_VERSION);

  constructor(client: FoundationdbClient, keys: PrefixedKeys) {
    this.client = client;
    this.keys = keys;
  }

  /** Values as of now. */
  async get(keys: readonly Uint8Array[], signal: AbortSignal): Promise<(Buffer | undefined)[]> {
    const whole = keys.map((key) => this.keys.key(key));
    return this.client.read((transaction) => Promise.all(whole.map((key) => transaction.get(key))), signal);
  }

  /**
   * See `KvStore.transact`. When it is not known whether an attempt was committed: its lines in the change log tell, where it has some; and
   * where the conditions still hold it is made again, as it then changes nothing that somebody has changed since. Where they do not,
   * that may be by this transaction or by another one with the same changes, and nothing tells them apart.
   */
  async transact({ conditions, changes, logEntries = [] }: KvTransaction, signal: AbortSignal): Promise<boolean> {
    let lines: readonly LogLine[] = [];
    return this.client.transact<boolean>(async (transaction, uncertain) => {
      if (uncertain !== undefined && lines.length > 0 && (await this.#isThere(transaction, lines))) return HOLDS;
      if (!(await this.#holds(transaction, conditions))) {
        if (uncertain !== undefined) throw this.#unknown(uncertain);
        return DOES_NOT_HOLD;
      }
      if (changes.length + logEntries.length === 0) return HOLDS;
      this.apply(transaction, changes);
      lines = logEntries.length === 0 ? [] : await this.#number(transaction, logEntries);
      for (const { key, value } of lines) transaction.set(key, value);
      return CHANGED;
    }, signal);
  }

  #unknown(uncertain: FdbError): Error {
    const { address } = this.client;
    return outcomeUnknown(fdbError(uncertain, address), address);
  }

  /** Reads with conflicts: when any of it is changed before the transaction is committed, it is not. */
  async #holds(transaction: FdbTransaction, conditions: readonly KvPair[]): Promise<boolean> {
    const found = await Promise.all(conditions.map(({ key }) => transaction.get(this.keys.key(key))));
    return conditions.every(({ value }, i) => isSame(found[i], value));
  }

  /** That the guard holds, as of the version at which the transaction is committed. */
  guardHolds(transaction: FdbTransaction, guard: KvGuard): Promise<boolean> {
    return this.#holds(transaction, guardConditions(guard));
  }

  apply(transaction: FdbTransaction, changes: readonly KvPair[]): void {
    for (const { key, value } of changes) {
      if (value === undefined) transaction.clear(this.keys.key(key));
      else transaction.set(this.keys.key(key), asBuffer(value));
    }
  }

  async #isThere(transaction: FdbTransaction, lines: readonly LogLine[]): Promise<boolean> {
    const found = await Promise.all(lines.map(({ key }) => transaction.get(key)));
    return lines.every(({ value }, i) => found[i]?.equals(value) === true);
  }

  /**
   * `XLOG`, read version * 1000 + a number of the process below 1000 (docs/spec/kv.md §5.13). Another client may have taken the same one:
   * the next free ones are taken, and reading them keeps it so.
   */
  async #number(transaction: FdbTransaction, entries: readonly string[]): Promise<LogLine[]> {
    const first = (await transaction.getReadVersion()).readBigUInt64BE() * BigInt(LINES_PER_VERSION);
    for (;;) {
      // Lines of one transaction keep their order.
      if (this.#line + entries.length > LINES_PER_VERSION) this.#line = 0;
      const lines = entries.map((entry, i) => ({
        key: this.#lineKey(first + BigInt(this.#line + i)),
        value: Buffer.from(entry),
      }));
      this.#line += entries.length;
      const found = await Promise.all(lines.map(({ key }) => transaction.get(key)));
      if (found.every((value) => value === undefined)) return lines;
    }
  }

  #lineKey(id: bigint): Buffer {
    const key = Buffer.alloc(12, "XLOG");
    key.writeBigUInt64BE(id, 4);
    return this.keys.key(key);
  }

  /** One transaction, however many keys there are: the cluster takes note of the range and removes them later. */
  async deleteRange(range: KvRange, { signal, guard }: KvDeleteOptions): Promise<void> {
    const { start, end } = this.keys.range(range);
    if (start.compare(end) >= 0) return;
    const kept = guard === undefined ? undefined : this.keys.key(guard.key);
    await this.client.transact<void>(async (transaction) => {
      if (guard !== undefined && !(await this.guardHolds(transaction, guard))) throw guard.lost();
      for (const span of spansWithout({ start, end }, kept)) transaction.clearRange(span.start, span.end);
      return { result: undefined, commit: true };
    }, signal);
  }
}

function isSame(found: Buffer | undefined, expected: Uint8Array | undefined): boolean {
  if (found === undefined || expected === undefined) return found === expected;
  return found.compare(expected) === 0;
}

/** The same bytes: the package takes nothing else. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
