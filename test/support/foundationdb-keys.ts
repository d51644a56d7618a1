import { silentLogger } from "../../src/base/logger.ts";
import { parseFoundationdbAddress } from "../../src/engines/foundationdb/foundationdb-address.ts";
import { preparePackage } from "../../src/engines/foundationdb/foundationdb-package.ts";
import { FoundationdbStore } from "../../src/engines/foundationdb/foundationdb-store.ts";
import { pairsOf } from "../../src/engines/kv/kv-page.ts";
import type { KvRange } from "../../src/engines/kv/kv-store.ts";
import { readPairs } from "./etcd-gateway.ts";
import { standIn } from "./foundationdb-stand-in.ts";

const never: AbortSignal = new AbortController().signal;
const PAIRS_PER_TRANSACTION = 500;
const ALL: KvRange = { start: Buffer.alloc(0), end: Buffer.alloc(0) };

/** An address below which nothing is stored. */
export function newFoundationdbUrl(): string {
  return `fdb:///stand-in/fdb.cluster?prefix=volume-${count++}`;
}

let count = 0;

/** The keys below an address in the stand-in. */
export function foundationdbStoreAt(url: string): FoundationdbStore {
  return new FoundationdbStore(preparePackage(standIn), parseFoundationdbAddress(url));
}

/** The volume of a .etcd.jsonl file (test/fixtures/golden/README.md), whose keys are those of every such store, at a new address. */
export async function restoreFoundationdb(file: string): Promise<string> {
  const url = newFoundationdbUrl();
  const store = foundationdbStoreAt(url);
  const pairs = readPairs(file);
  for (let first = 0; first < pairs.length; first += PAIRS_PER_TRANSACTION) {
    const changes = pairs.slice(first, first + PAIRS_PER_TRANSACTION);
    await store.transact({ conditions: [], changes }, never);
  }
  return url;
}

/** Keys without the prefix, and values, in hex. */
export async function readFoundationdbLines(url: string, range: KvRange = ALL): Promise<string[]> {
  const snapshot = await foundationdbStoreAt(url).openSnapshot({ signal: never, logger: silentLogger });
  const lines: string[] = [];
  for await (const page of snapshot.scan(range)) {
    for (const [key, value] of pairsOf(page)) lines.push(`${key.toString("hex")} ${value.toString("hex")}`);
  }
  await snapshot.close();
  return lines;
}
