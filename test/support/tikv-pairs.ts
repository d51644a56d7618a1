import { expect } from "vitest";
import type { DecantError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { PageBuilder, pairsOf } from "../../src/engines/kv/kv-page.ts";
import type { KvBulkOptions, KvPage, KvPair, KvStore } from "../../src/engines/kv/kv-store.ts";
import { errorOf } from "./broken-connection.ts";

const never = new AbortController().signal;
const PAIRS_PER_PAGE = 500;

export function pair(key: string, value: string | Buffer | undefined): KvPair {
  return { key: Buffer.from(key), value: value === undefined ? undefined : Buffer.from(value) };
}

/** Some pages of pairs, and what a scan makes of them. */
export const PAIRS: readonly KvPair[] = Array.from({ length: 3000 }, (_, i) =>
  pair(`key ${10_000 + i}`, `${i} ${"v".repeat(200)}`),
);
export const TEXTS: readonly string[][] = PAIRS.map(({ key, value }) => [key.toString(), value!.toString()]);

export function page(pairs: readonly KvPair[]): KvPage {
  const pages = new PageBuilder(1024);
  for (const { key, value } of pairs) pages.put(key, value!);
  return pages.take()!;
}

/** For a load into an empty store. */
export const BULK_OPTIONS: KvBulkOptions = {
  signal: never,
  logger: silentLogger,
  maxBytes: 1 << 24,
  guard: {
    key: Buffer.from("guard"),
    value: Buffer.from("1"),
    absent: Buffer.from("absent"),
    lost: () => new Error("lost"),
  },
};

/** Loads pairs; `between` is called after each page, whose number it gets. */
export async function fill(
  store: KvStore,
  pairs: readonly KvPair[],
  between?: (page: number) => Promise<void> | undefined,
): Promise<void> {
  const writer = (await store.openBulkWriter(BULK_OPTIONS))!;
  for (let i = 0; i < pairs.length; i += PAIRS_PER_PAGE) {
    await writer.write(page(pairs.slice(i, i + PAIRS_PER_PAGE)));
    await between?.(i / PAIRS_PER_PAGE);
  }
  await writer.finish([]);
}

/** Everything in a store; `between` is called after each page, with their number so far. */
export async function scan(
  store: KvStore,
  between?: (pages: number) => Promise<void> | undefined,
): Promise<string[][]> {
  const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
  const found: string[][] = [];
  let pages = 0;
  for await (const some of snapshot.scan({ start: Buffer.alloc(0), end: Buffer.alloc(0) })) {
    for (const [key, value] of pairsOf(some)) found.push([key.toString(), value.toString()]);
    await between?.(++pages);
  }
  await snapshot.close();
  return found;
}

/** What work fails with. */
export async function failure(work: Promise<unknown>): Promise<DecantError> {
  const error = await errorOf(work);
  expect(error).toBeInstanceOf(Error);
  return error as DecantError;
}
