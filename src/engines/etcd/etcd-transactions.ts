import { setTimeout as sleep } from "node:timers/promises";
import { EngineError } from "../../base/errors.ts";
import type { ProtobufWriter } from "../../base/protobuf.ts";
import { ProtobufReader } from "../../base/protobuf.ts";
import type { KvDeleteOptions, KvGuard, KvPair, KvRange, KvTransaction } from "../kv/kv-store.ts";
import type { EtcdClient } from "./etcd-client.ts";
import { isNotSent, isUnavailable } from "./etcd-errors.ts";
import { type EtcdKeys, keyAfter } from "./etcd-keys.ts";
import {
  compare,
  deleteOperation,
  putOperation,
  RANGE,
  rangeRequest,
  readTxnResponse,
  TXN,
  txnRequest,
} from "./etcd-messages.ts";

/** Removing many keys at once takes a server its time. */
const DELETE_TIMEOUT_MS = 120_000;

/** A transaction as `KvStore.transact`. */
export async function transact(
  client: EtcdClient,
  keys: EtcdKeys,
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
 * conditions fail then and `isDone` holds. False when they fail otherwise.
 */
export async function commitSurely(
  client: EtcdClient,
  request: Buffer,
  signal: AbortSignal,
  isDone: () => Promise<boolean>,
): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await client.call({ method: TXN, request, signal, repeatable: false });
      return readTxnResponse(response).succeeded || (attempt > 1 && (await isDone()));
    } catch (error) {
      const cause = (error as Error).cause;
      if (!isUnavailable(cause) || isNotSent(cause) || attempt === SURE_ATTEMPTS) throw error;
    }
    await sleep(SURE_PAUSE_MS * attempt, undefined, { signal });
  }
}

function operation(keys: EtcdKeys, { key, value }: KvPair): ProtobufWriter {
  return value === undefined ? deleteOperation(keys.key(key)) : putOperation(keys.key(key), value);
}

/** That the guard holds, as conditions. */
export function guardCompares(keys: EtcdKeys, guard: KvGuard): ProtobufWriter[] {
  return [compare(keys.key(guard.key), guard.value), compare(keys.key(guard.absent), undefined)];
}

/** Removes a range in parts of which none keeps a server busy for long: keys of inodes by the next two bytes. */
export async function deleteRange(
  client: EtcdClient,
  keys: EtcdKeys,
  range: KvRange,
  { signal, guard }: KvDeleteOptions,
): Promise<void> {
  const { start, end } = keys.range(range);
  const kept = guard === undefined ? undefined : keys.key(guard.key);
  const compares = guard === undefined ? [] : guardCompares(keys, guard);
  for (let from = start; ; ) {
    const first = await firstKey(client, from, end, signal);
    if (first === undefined) return;
    if (kept?.equals(first)) {
      from = keyAfter(first);
      continue;
    }
    const to = endOfPart(keys, first, [end, ...(kept !== undefined && kept.compare(first) > 0 ? [kept] : [])]);
    const request = txnRequest(compares, [deleteOperation(first, to)]);
    const call = { method: TXN, request, signal, repeatable: true, timeoutMs: DELETE_TIMEOUT_MS };
    if (!readTxnResponse(await client.call(call)).succeeded) throw guard!.lost();
    from = to;
  }
}

async function firstKey(
  client: EtcdClient,
  key: Buffer,
  end: Buffer,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  if (key.compare(end) >= 0) return undefined;
  const request = rangeRequest({ key, end, limit: 1, keysOnly: true }).written();
  const reader = new ProtobufReader(await client.call({ method: RANGE, request, signal, repeatable: true }));
  while (reader.next()) {
    if (reader.field !== 2) continue;
    const pair = reader.message();
    while (pair.next()) if (pair.field === 1) return Buffer.from(pair.view());
  }
  return undefined;
}

/** Where the part that begins with `first` ends: behind all keys that share its first three bytes, or before. */
function endOfPart(keys: EtcdKeys, first: Buffer, limits: readonly Buffer[]): Buffer {
  const next = Buffer.from(first.subarray(0, keys.prefix.length + 3));
  let last = next.length - 1;
  while (last > keys.prefix.length && next[last] === 0xff) last--;
  next[last]!++;
  return limits.reduce((a, b) => (b.compare(a) < 0 ? b : a), next.subarray(0, last + 1));
}
