import { setTimeout as sleep } from "node:timers/promises";
import { EngineError } from "../../base/errors.ts";
import type { ProtobufWriter } from "../../base/protobuf.ts";
import type { KvGuard, KvPair, KvTransaction } from "../kv/kv-store.ts";
import type { PrefixedKeys } from "../kv/prefixed-keys.ts";
import type { EtcdClient } from "./etcd-client.ts";
import { isNotSent, isUnavailable } from "./etcd-errors.ts";
import { compare, deleteOperation, putOperation, readTxnResponse, TXN, txnRequest } from "./etcd-messages.ts";

/** A transaction as `KvStore.transact`. */
export async function transact(
  client: EtcdClient,
  keys: PrefixedKeys,
  { conditions, changes }: KvTransaction,
  signal: AbortSignal,
): Promise<boolean> {
  const request = txnRequest(
    conditions.map(({ key, value }) => compare(keys.key(key), value)),
    changes.map((change) => operation(keys, change)),
  );
  try {
    const response = await client.call({ method: TXN, request, signal, repeatable: changes.length === 0 });
    return readTxnResponse(response).succeeded;
  } catch (error) {
    const cause = (error as Error).cause;
    if (signal.aborted || changes.length === 0 || !isUnavailable(cause) || isNotSent(cause)) throw error;
    throw new EngineError(
      "DECANT_E_OUTCOME_UNKNOWN",
      `Cannot tell whether a change of ${client.address.printable} is stored: ${(error as Error).message}`,
      { cause: error, retryable: true, hint: "What is stored now can be read when the servers answer again" },
    );
  }
}

/** Attempts at a transaction whose answers are lost; an election takes a second or two. */
const SURE_ATTEMPTS = 6;
const SURE_PAUSE_MS = 300;

/**
 * A transaction after which can be read whether it was done: when its answer is lost, it is tried again, and counts as done when its
 * conditions fail then and `isDone` holds. False when they fail otherwise. `onRepeat`: the first attempt may still be done later.
 */
export async function commitSurely(
  client: EtcdClient,
  request: Buffer,
  signal: AbortSignal,
  isDone: () => Promise<boolean>,
  onRepeat?: () => void,
): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await client.call({ method: TXN, request, signal, repeatable: false });
      return readTxnResponse(response).succeeded || (attempt > 1 && (await isDone()));
    } catch (error) {
      const cause = (error as Error).cause;
      if (!isUnavailable(cause) || isNotSent(cause) || attempt === SURE_ATTEMPTS) throw error;
    }
    onRepeat?.();
    await sleep(SURE_PAUSE_MS * attempt, undefined, { signal });
  }
}

function operation(keys: PrefixedKeys, { key, value }: KvPair): ProtobufWriter {
  return value === undefined ? deleteOperation(keys.key(key)) : putOperation(keys.key(key), value);
}

/** That the guard holds, as conditions. */
export function guardCompares(keys: PrefixedKeys, guard: KvGuard): ProtobufWriter[] {
  return [compare(keys.key(guard.key), guard.value), compare(keys.key(guard.absent), undefined)];
}
