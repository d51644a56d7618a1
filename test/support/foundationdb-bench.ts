import { expect } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { parseFoundationdbAddress } from "../../src/engines/foundationdb/foundationdb-address.ts";
import { preparePackage } from "../../src/engines/foundationdb/foundationdb-package.ts";
import { FoundationdbStore } from "../../src/engines/foundationdb/foundationdb-store.ts";
import { pairsOf } from "../../src/engines/kv/kv-page.ts";
import type { KvPair, KvRange } from "../../src/engines/kv/kv-store.ts";
import { type StandInCluster, StandInPackage } from "./foundationdb-stand-in.ts";

const never: AbortSignal = new AbortController().signal;

export const ALL_KEYS: KvRange = { start: Buffer.alloc(0), end: Buffer.alloc(0) };

/** `value` undefined: the key is removed, or must not be there. */
export function pair(key: string, value: string | undefined): KvPair {
  return { key: Buffer.from(key), value: value === undefined ? undefined : Buffer.from(value) };
}

/** One empty cluster of its own with a store, whose time is turned by hand. */
export class FoundationdbBench {
  readonly cluster: StandInCluster;
  readonly store: FoundationdbStore;
  readonly fdb: StandInPackage = new StandInPackage();

  constructor() {
    preparePackage(this.fdb);
    this.cluster = this.fdb.cluster("/c");
    this.store = this.open();
  }

  /** The same keys, as another process sees them. */
  open(): FoundationdbStore {
    return new FoundationdbStore(this.fdb, parseFoundationdbAddress("fdb:///c?prefix=p"), this.cluster.clock);
  }

  async put(...changes: readonly KvPair[]): Promise<void> {
    expect(await this.open().transact({ conditions: [], changes }, never)).toBe(true);
  }

  /** Everything there is, keys as latin1. */
  async pairsNow(): Promise<Record<string, string>> {
    const snapshot = await this.open().openSnapshot({ signal: never, logger: silentLogger });
    const found: Record<string, string> = {};
    for await (const page of snapshot.scan(ALL_KEYS)) {
      for (const [key, value] of pairsOf(page)) found[key.toString("latin1")] = value.toString();
    }
    await snapshot.close();
    return found;
  }
}
