import { setTimeout as sleep } from "node:timers/promises";
import { EngineError } from "../../base/errors.ts";
import type { KvPair, KvStore, KvTransaction } from "./kv-store.ts";

/** As many attempts as the reference makes (docs/spec/kv.md §6). */
const MAX_ATTEMPTS = 50;

/** What was read, as conditions of a transaction that must not come after a change of it. */
export function unchanged(keys: readonly Buffer[], values: readonly (Buffer | undefined)[]): KvPair[] {
  return keys.map((key, i) => ({ key, value: values[i] }));
}

/**
 * Reads, decides and writes, again when what was read has changed meanwhile. `decide` gets the values of the keys and returns
 * the changes, or undefined to leave everything as it is; it may be called again.
 */
export async function readModifyWrite(
  store: KvStore,
  keys: readonly Buffer[],
  signal: AbortSignal,
  decide: (
    values: readonly (Buffer | undefined)[],
  ) => Promise<Omit<KvTransaction, "conditions"> | undefined> | Omit<KvTransaction, "conditions"> | undefined,
): Promise<void> {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    signal.throwIfAborted();
    const values = await store.get(keys, signal);
    const wanted = await decide(values);
    if (wanted === undefined) return;
    if (await store.transact({ conditions: unchanged(keys, values), ...wanted }, signal)) return;
    await sleep(Math.random() * attempt ** 2, undefined, { signal });
  }
  throw new EngineError(
    "DECANT_E_KV_BUSY",
    `Other clients keep changing the volume at ${store.address}: gave up after ${MAX_ATTEMPTS} attempts`,
    { retryable: true },
  );
}
