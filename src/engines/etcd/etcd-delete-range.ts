import type { KvDeleteOptions, KvRange } from "../kv/kv-store.ts";
import { type PrefixedKeys, spansWithout } from "../kv/prefixed-keys.ts";
import { type RangePart, RangeParts } from "../kv/range-parts.ts";
import type { EtcdClient } from "./etcd-client.ts";
import { deleteOperation, RANGE, rangeRequest, readTxnResponse, TXN, txnRequest } from "./etcd-messages.ts";
import { guardCompares } from "./etcd-transactions.ts";
import { RangeResponseReader } from "./range-response.ts";

/** A server does nothing else while it removes these: some hundredths of a second. */
const KEYS_PER_DELETE = 4096;

const DELETE_TIMEOUT_MS = 120_000;

/** Removes a range, thousands of keys at a time, but for the key of the guard. */
export async function deleteRange(
  client: EtcdClient,
  keys: PrefixedKeys,
  range: KvRange,
  { signal, guard }: KvDeleteOptions,
): Promise<void> {
  const compares = guard === undefined ? [] : guardCompares(keys, guard);
  const kept = guard === undefined ? undefined : keys.key(guard.key);
  const found = new RangeResponseReader(keys.prefix.length);
  const parts = new RangeParts<Promise<Buffer>>(keys.range(range));
  const ask = ({ start: key, end: to }: RangePart<unknown>): Promise<Buffer> => {
    const request = rangeRequest({ key, end: to, limit: KEYS_PER_DELETE, keysOnly: true }).written();
    return client.call({ method: RANGE, request, signal, repeatable: true });
  };
  for (parts.ask({ window: 1 }, ask); parts.first !== undefined; parts.ask({ window: 1 }, ask)) {
    const part = parts.first;
    found.open(await part.answer!);
    if (found.count > 0) {
      const to = found.resumeAt ?? part.end;
      const spans = spansWithout({ start: part.start, end: to }, kept);
      const request = txnRequest(
        compares,
        spans.map(({ start, end }) => deleteOperation(start, end)),
      );
      const call = { method: TXN, request, signal, repeatable: true, timeoutMs: DELETE_TIMEOUT_MS };
      if (!readTxnResponse(await client.call(call)).succeeded) throw guard!.lost();
    }
    parts.received(found, KEYS_PER_DELETE);
  }
}
