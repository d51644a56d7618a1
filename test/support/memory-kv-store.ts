import { PageBuilder, pairsOf } from "../../src/engines/kv/kv-page.ts";
import type {
  KvBulkOptions,
  KvBulkWriter,
  KvChangeLog,
  KvDeleteOptions,
  KvGuard,
  KvLimits,
  KvPage,
  KvPair,
  KvRange,
  KvSnapshot,
  KvSnapshotOptions,
  KvStore,
  KvTransaction,
} from "../../src/engines/kv/kv-store.ts";
import { removeGuarded } from "../../src/engines/kv/load-guard.ts";

/** Pairs by key, as latin1 text: its order is that of the bytes. */
type Pairs = Map<string, Buffer>;

/** A store in memory that does what the contract says and nothing else, to test what is built on it without a server. */
export class MemoryKvStore implements KvStore {
  readonly name = "memory";
  readonly address: string;
  readonly limits: KvLimits;
  readonly changeLog: KvChangeLog = { sharded: false, rewind: 1000n };
  /** Changed by nobody: every change makes another map. */
  pairs: Pairs = new Map();
  #lines = 0n;

  constructor(address: string = "memory://test", limits: Partial<KvLimits> = {}) {
    this.address = address;
    this.limits = {
      maxValueBytes: undefined,
      maxKeyBytes: undefined,
      emptyValues: true,
      maxTransactionPairs: undefined,
      ...limits,
    };
  }

  async openSnapshot({ signal }: KvSnapshotOptions): Promise<KvSnapshot> {
    signal.throwIfAborted();
    const { pairs } = this;
    return {
      pointInTime: true,
      method: "a copy in memory",
      asOf: new Date(),
      scan: (range) => scan(pairs, range, signal),
      get: async (keys) => keys.map((key) => copyOf(pairs.get(text(key)))),
      close: async () => undefined,
    };
  }

  async get(keys: readonly Uint8Array[], signal: AbortSignal): Promise<(Buffer | undefined)[]> {
    signal.throwIfAborted();
    return keys.map((key) => copyOf(this.pairs.get(text(key))));
  }

  async transact({ conditions, changes, logEntries = [] }: KvTransaction, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    const holds = conditions.every(({ key, value }) => {
      const stored = this.pairs.get(text(key));
      return value === undefined ? stored === undefined : stored?.equals(value) === true;
    });
    if (!holds) return false;
    const lines = logEntries.map((line) => {
      const key = Buffer.alloc(12, "XLOG");
      key.writeBigUInt64BE(++this.#lines, 4);
      return { key, value: Buffer.from(line) };
    });
    this.#apply([...changes, ...lines]);
    return true;
  }

  #apply(changes: readonly KvPair[]): void {
    const pairs = new Map(this.pairs);
    for (const { key, value } of changes) {
      if (value === undefined) pairs.delete(text(key));
      else pairs.set(text(key), Buffer.from(value));
    }
    this.pairs = pairs;
  }

  holds({ key, value, absent }: KvGuard): boolean {
    return this.pairs.get(text(key))?.equals(value) === true && !this.pairs.has(text(absent));
  }

  async openBulkWriter(options: KvBulkOptions): Promise<KvBulkWriter | undefined> {
    const { guard, signal, takesOver } = options;
    signal.throwIfAborted();
    const stored = this.pairs.get(text(guard.key));
    const isFree = takesOver === undefined ? stored === undefined : stored?.equals(takesOver) === true;
    if (!isFree || this.pairs.has(text(guard.absent))) return undefined;
    this.#apply([guard]);
    let isDone = false;
    const check = (): void => {
      signal.throwIfAborted();
      if (!this.holds(guard)) throw guard.lost();
    };
    return {
      write: async (page) => {
        check();
        for (const [key, value] of pairsOf(page)) this.pairs.set(text(key), Buffer.from(value));
      },
      get: (keys) => this.get(keys, signal),
      checkpoint: async (changes) => {
        check();
        this.#apply(changes);
      },
      announce: async (changes) => {
        check();
        this.#apply(changes);
      },
      suspend: async () => {
        isDone = true;
        return true;
      },
      finish: async (changes) => {
        check();
        this.#apply([...changes, { key: guard.key, value: undefined }]);
        isDone = true;
      },
      abort: async () => {
        if (isDone) return;
        isDone = true;
        await removeGuarded(this, guard, new AbortController().signal).catch((error: Error) => {
          options.logger.warn(error.message);
        });
      },
    };
  }

  async deleteRange(range: KvRange, { signal, guard }: KvDeleteOptions): Promise<void> {
    signal.throwIfAborted();
    if (guard !== undefined && !this.holds(guard)) throw guard.lost();
    const isKept = (key: string): boolean => guard !== undefined && key === text(guard.key);
    this.pairs = new Map([...this.pairs].filter(([key]) => !isInside(key, range) || isKept(key)));
  }

  async serverTime(): Promise<undefined> {}

  async close(): Promise<void> {}
}

async function* scan(pairs: Pairs, range: KvRange, signal: AbortSignal): AsyncGenerator<KvPage> {
  const pages = new PageBuilder(4096);
  const keys = [...pairs.keys()].filter((key) => isInside(key, range)).sort();
  for (const key of keys) {
    signal.throwIfAborted();
    pages.put(Buffer.from(key, "latin1"), pairs.get(key)!);
    if (pages.isFull) yield pages.take()!;
  }
  const rest = pages.take();
  if (rest !== undefined) yield rest;
}

function isInside(key: string, { start, end }: KvRange): boolean {
  return key >= text(start) && (end.length === 0 || key < text(end));
}

function text(key: Uint8Array): string {
  return Buffer.from(key).toString("latin1");
}

function copyOf(value: Buffer | undefined): Buffer | undefined {
  return value === undefined ? undefined : Buffer.from(value);
}
