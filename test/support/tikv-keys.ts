import { type Logger, silentLogger } from "../../src/base/logger.ts";
import { pairsOf } from "../../src/engines/kv/kv-page.ts";
import type { KvRange } from "../../src/engines/kv/kv-store.ts";
import { parseTikvAddress } from "../../src/engines/tikv/tikv-address.ts";
import type { TikvTiming } from "../../src/engines/tikv/tikv-errors.ts";
import { TikvStore } from "../../src/engines/tikv/tikv-store.ts";
import { readPairs } from "./etcd-gateway.ts";

const never: AbortSignal = new AbortController().signal;
const PAIRS_PER_TRANSACTION = 500;
const ALL: KvRange = { start: Buffer.alloc(0), end: Buffer.alloc(0) };

/** The keys below a META-URL; who asks closes it. */
export function tikvStoreAt(url: string, timing?: TikvTiming, logger: Logger = silentLogger): Promise<TikvStore> {
  const options = { signal: never, logger, env: {}, ...(timing === undefined ? {} : { timing }) };
  return TikvStore.open(parseTikvAddress(url), options);
}

/** Removes everything below a META-URL. */
export async function removeTikvKeys(url: string): Promise<void> {
  const store = await tikvStoreAt(url);
  await store.deleteRange(ALL, { signal: never });
  await store.close();
}

/** The volume of a .etcd.jsonl file (test/fixtures/golden/README.md), whose keys are those of every such store. */
export async function restoreTikv(url: string, file: string): Promise<void> {
  const store = await tikvStoreAt(url);
  const pairs = readPairs(file);
  for (let first = 0; first < pairs.length; first += PAIRS_PER_TRANSACTION) {
    const changes = pairs.slice(first, first + PAIRS_PER_TRANSACTION);
    await store.transact({ conditions: [], changes }, never);
  }
  await store.close();
}

/** Keys without the prefix, and values, in hex. */
export async function readTikvLines(url: string, range: KvRange = ALL): Promise<string[]> {
  const store = await tikvStoreAt(url);
  const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
  const lines: string[] = [];
  for await (const page of snapshot.scan(range)) {
    for (const [key, value] of pairsOf(page)) lines.push(`${key.toString("hex")} ${value.toString("hex")}`);
  }
  await snapshot.close();
  await store.close();
  return lines;
}
