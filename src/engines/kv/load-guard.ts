import { randomUUID } from "node:crypto";
import { ConflictError } from "../../base/errors.ts";
import { ALL_KEYS, MARKER_KEY, SETTING_KEY } from "./kv-keys.ts";
import type { KvGuard, KvStore } from "./kv-store.ts";

/**
 * The marker of a load, as a guard: it keeps two loads from mixing their keys, and it tells whether the range was emptied or
 * taken over meanwhile, by a load or by the `format` of a client: then what is there is not ours to complete or to remove.
 */
export function loadGuard(address: string, token: Buffer = Buffer.from(randomUUID())): KvGuard {
  return {
    key: MARKER_KEY,
    value: token,
    absent: SETTING_KEY,
    lost: () =>
      new ConflictError("DECANT_E_TARGET_CHANGED", `The database ${address} was emptied or taken by others meanwhile`, {
        hint: "What is there now was left alone",
      }),
  };
}

/** Removes what a load that was cut off has left; false when there is none. Throws `ConflictError` where there is a volume. */
export async function removeRemains(store: KvStore, signal: AbortSignal): Promise<boolean> {
  const [token] = await store.get([MARKER_KEY], signal);
  if (token === undefined) return false;
  await removeGuarded(store, loadGuard(store.address, token), signal);
  return true;
}

/** Removes all keys and at last those of the guard, as long as it holds. */
export async function removeGuarded(store: KvStore, guard: KvGuard, signal: AbortSignal): Promise<void> {
  const conditions = [guard, { key: guard.absent, value: undefined }];
  if (!(await store.transact({ conditions, changes: [] }, signal))) throw guard.lost();
  await store.deleteRange(ALL_KEYS, { signal, guard });
  const removed = await store.transact({ conditions, changes: [{ key: guard.key, value: undefined }] }, signal);
  if (!removed) throw guard.lost();
}
