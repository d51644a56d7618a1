import { randomUUID } from "node:crypto";
import { targetChanged } from "../target-changed.ts";
import { ALL_KEYS, LOADED_RANGES, MARKER_KEY, SETTING_KEY } from "./kv-keys.ts";
import type { KvGuard, KvPair, KvRange, KvStore } from "./kv-store.ts";

/**
 * The marker of a load, as a guard: it keeps two loads from mixing their keys, and it tells whether the range was emptied or
 * taken over meanwhile, by a load or by the `format` of a client: then what is there is not ours to complete or to remove.
 */
export function loadGuard(address: string, token: Buffer = Buffer.from(randomUUID())): KvGuard {
  return {
    key: MARKER_KEY,
    value: token,
    absent: SETTING_KEY,
    lost: () => targetChanged(address),
  };
}

/** That the guard holds, as conditions of a transaction. `value` undefined: that there is no guard and nothing that it guards against. */
export function guardConditions({
  key,
  value,
  absent,
}: Pick<KvGuard, "key" | "absent"> & { readonly value: Uint8Array | undefined }): KvPair[] {
  return [
    { key, value },
    { key: absent, value: undefined },
  ];
}

/** Removes what a load that was cut off has left; false when there is none. Throws `ConflictError` where there is a volume. */
export async function removeRemains(store: KvStore, signal: AbortSignal): Promise<boolean> {
  const [token] = await store.get([MARKER_KEY], signal);
  if (token === undefined) return false;
  await removeGuarded(store, loadGuard(store.address, token), signal, LOADED_RANGES);
  return true;
}

/**
 * Removes the ranges and at last the key of the guard, as long as it holds. The marker gets another value first: what the load itself
 * has on its way fails from then on, so that nothing comes after what was removed.
 */
export async function removeGuarded(
  store: KvStore,
  guard: KvGuard,
  signal: AbortSignal,
  ranges: readonly KvRange[] = [ALL_KEYS],
): Promise<void> {
  const own: KvGuard = { ...guard, value: Buffer.from(randomUUID()), lost: () => guard.lost() };
  const change = async (conditions: KvPair[], value: Uint8Array | undefined): Promise<void> => {
    const changed = await store.transact({ conditions, changes: [{ key: guard.key, value }] }, signal);
    if (!changed) throw guard.lost();
  };
  await change(guardConditions(guard), own.value);
  for (const range of ranges) await store.deleteRange(range, { signal, guard: own });
  await change(guardConditions(own), undefined);
}
