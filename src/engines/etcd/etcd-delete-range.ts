import type { KvDeleteOptions, KvRange } from "../kv/kv-store.ts";
import type { EtcdClient } from "./etcd-client.ts";
import { type EtcdKeys, keyAfter } from "./etcd-keys.ts";
import { deleteOperation, RANGE, rangeRequest, readTxnResponse, TXN, txnRequest } from "./etcd-messages.ts";
import { guardCompares } from "./etcd-transactions.ts";
import { type RangePart, RangeParts } from "./range-parts.ts";
import { RangeResponseReader } from "./range-response.ts";

/** A server does nothing else while it removes these: some hundredths of a second. */
const KEYS_PER_DELETE = 4096;

const DELETE_TIMEOUT_MS = 120_000;

/** Removes a range, thousands of keys at a time, but for the key of the guard. */
export async function deleteRange(
  client: EtcdClient,
  keys: EtcdKeys,
  range: KvRange,
  { signal, guard }: KvDeleteOptions,
): Promise<void> {
  const { start, end } = keys.range(range);
  const compares = guard === undefined ? [] : guardCompares(keys, guard);
  const kept = guard === undefined ? undefined : keys.key(guard.key);
  const found = new RangeResponseReader(keys.prefix.length);
  const parts = new RangeParts<Promise<Buffer>>(start, end);
  const ask = ({ start: key, end: to }: RangePart<unknown>): Promise<Buffer> => {
    const request = rangeRequest({ key, end: to, limit: KEYS_PER_DELETE, keysOnly: true }).written();
    return client.call({ method: RANGE, request, signal, repeatable: true });
  };
  for (parts.ask(1, ask); parts.first !== undefined; parts.ask(1, ask)) {
    const part = parts.first;
    found.open(await part.asked!);
    if (found.count > 0) {
      const to = found.more ? keyAfter(found.lastKey!) : part.end;
      const request = txnRequest(compares, deletions(part.start, to, kept));
      const call = { method: TXN, request, signal, repeatable: true, timeoutMs: DELETE_TIMEOUT_MS };
      if (!readTxnResponse(await client.call(call)).succeeded) throw guard!.lost();
    }
    parts.received(found, KEYS_PER_DELETE);
  }
}

function deletions(start: Buffer, end: Buffer, kept: Buffer | undefined): ReturnType<typeof deleteOperation>[] {
  if (kept === undefined || kept.compare(start) < 0 || kept.compare(end) >= 0) return [deleteOperation(start, end)];
  const after = keyAfter(kept);
  return [
    ...(start.compare(kept) < 0 ? [deleteOperation(start, kept)] : []),
    ...(after.compare(end) < 0 ? [deleteOperation(after, end)] : []),
  ];
}
