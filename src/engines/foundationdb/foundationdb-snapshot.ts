import { PageBuilder } from "../kv/kv-page.ts";
import type { KvPage, KvRange, KvSnapshot, KvSnapshotOptions } from "../kv/kv-store.ts";
import { keyAfter, type PrefixedKeys } from "../kv/prefixed-keys.ts";
import { type FdbPairs, type FoundationdbClient, readPairs } from "./foundationdb-client.ts";
import { type FoundationdbClock, ReadVersions } from "./read-versions.ts";

/** Values that are asked for in one transaction. */
const KEYS_PER_READ = 500;

/** All keys as of one instant where the versions allow it, which is known at the end only: see `ReadVersions`. */
export class FoundationdbSnapshot implements KvSnapshot {
  readonly #keys: PrefixedKeys;
  readonly #versions: ReadVersions;

  private constructor(keys: PrefixedKeys, versions: ReadVersions) {
    this.#keys = keys;
    this.#versions = versions;
  }

  static async open(
    client: FoundationdbClient,
    keys: PrefixedKeys,
    options: KvSnapshotOptions & { readonly clock: FoundationdbClock },
  ): Promise<FoundationdbSnapshot> {
    return new FoundationdbSnapshot(keys, await ReadVersions.open(client, { ...options, outside: keys.end }));
  }

  get pointInTime(): boolean {
    return this.#versions.isExact;
  }

  get method(): string {
    return this.#versions.method;
  }

  get asOf(): Date {
    return this.#versions.asOf;
  }

  async *scan(range: KvRange): AsyncGenerator<KvPage> {
    const { start, end } = this.#keys.range(range);
    if (start.compare(end) >= 0) return;
    const pages = new PageBuilder();
    let pending: Promise<FdbPairs> | undefined = this.#ask(start, end);
    try {
      while (pending !== undefined) {
        const { results, more }: FdbPairs = await pending;
        // the next pairs are on their way while these are taken in
        pending = more ? this.#ask(keyAfter(results.at(-1)![0]), end) : undefined;
        pending?.catch(() => undefined);
        for (const [key, value] of results) {
          this.#put(pages, key, value);
          if (pages.isFull) yield pages.take()!;
        }
      }
      const rest = pages.take();
      if (rest !== undefined) yield rest;
    } finally {
      await pending?.catch(() => undefined);
    }
  }

  #ask(start: Buffer, end: Buffer): Promise<FdbPairs> {
    return this.#versions.read(
      (transaction) => readPairs(transaction, start, end),
      ({ results, more }) => [[start, more ? keyAfter(results.at(-1)![0]) : end]],
    );
  }

  #put(pages: PageBuilder, key: Buffer, value: Buffer): void {
    const { prefix } = this.#keys;
    const at = pages.add(key.length - prefix.length, value.length);
    const { buffer } = pages.writer;
    key.copy(buffer, at, prefix.length);
    value.copy(buffer, at + key.length - prefix.length);
  }

  async get(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]> {
    const values: (Buffer | undefined)[] = [];
    for (let first = 0; first < keys.length; first += KEYS_PER_READ) {
      const some = keys.slice(first, first + KEYS_PER_READ).map((key) => this.#keys.key(key));
      const read = await this.#versions.read(
        (transaction) => Promise.all(some.map((key) => transaction.get(key))),
        () => some.map((key) => [key, keyAfter(key)]),
      );
      for (const value of read) values.push(value);
    }
    return values;
  }

  async close(): Promise<void> {
    this.#versions.close();
  }
}
