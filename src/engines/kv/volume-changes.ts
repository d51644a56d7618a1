import { ConflictError } from "../../base/errors.ts";
import { ROOT_INODE, TRASH_INODE } from "../../volume/inode.ts";
import { type QuotaRecord, type RecordBatch, unpackBatch } from "../../volume/records.ts";
import type { NewVolume, SettingChange } from "../engine.ts";
import { counterKey, encodeCounter, inodeKey, MARKER_KEY, prefixRange, SETTING_KEY, TAG_NODE } from "./kv-keys.ts";
import { scanPairs } from "./kv-page.ts";
import type { KvPair, KvSnapshot, KvStore } from "./kv-store.ts";
import { decodeQuota } from "./rare-records.ts";
import { encodeQuota, quotaKey } from "./rare-writer.ts";
import { readModifyWrite } from "./transaction.ts";

const ROOT_KEY = inodeKey(ROOT_INODE, TAG_NODE);
const TRASH_KEY = inodeKey(TRASH_INODE, TAG_NODE);

/** Users or groups whose usage is replaced in one transaction. */
const IDS_PER_TRANSACTION = 100;
const QUOTA_VALUE_BYTES = 32;

/** What the reference's `format` stores (docs/spec/kv.md §7), in one transaction. */
export async function createVolume(store: KvStore, volume: NewVolume, signal: AbortSignal): Promise<void> {
  const trash = volume.trashRoot === undefined ? [] : [{ key: TRASH_KEY, value: volume.trashRoot }];
  const absent = (key: Buffer): KvPair => ({ key, value: undefined });
  const created = await store.transact(
    {
      conditions: [absent(SETTING_KEY), absent(MARKER_KEY)],
      changes: [
        ...trash,
        { key: ROOT_KEY, value: volume.root },
        { key: counterKey("nextInode"), value: encodeCounter(2n) },
        { key: counterKey("nextChunk"), value: encodeCounter(1n) },
        { key: SETTING_KEY, value: volume.setting },
      ],
    },
    signal,
  );
  if (!created) {
    throw new ConflictError(
      "DECANT_E_TARGET_TAKEN",
      `The database ${store.address} holds a volume already, or one is being loaded into it`,
    );
  }
}

/**
 * docs/spec/kv.md §7. Statistics and quotas are dropped before the setting is changed, as the reference does: clients begin to
 * write new ones when they see it.
 */
export function updateSetting(
  store: KvStore,
  change: (stored: Buffer | undefined) => SettingChange,
  signal: AbortSignal,
): Promise<void> {
  return readModifyWrite(store, [SETTING_KEY, TRASH_KEY], signal, async ([stored, storedTrash]) => {
    const wanted = change(stored === undefined || stored.length === 0 ? undefined : stored);
    const { setting, dropDirStats, dropUserGroupQuotas, trashRoot } = wanted;
    if (setting === undefined) return undefined;
    const dropped = [...(dropDirStats ? ["U"] : []), ...(dropUserGroupQuotas ? ["QU", "QG"] : [])];
    for (const prefix of dropped) await store.deleteRange(prefixRange(prefix), { signal });
    const trash = trashRoot === undefined || storedTrash !== undefined ? [] : [{ key: TRASH_KEY, value: trashRoot }];
    return { changes: [...trash, { key: SETTING_KEY, value: setting }] };
  });
}

type Usage = Omit<QuotaRecord, "key">;

/**
 * Every id of `usage` gets its numbers and keeps its limits; every other id with limits gets 0, and one without limits goes. A
 * kind of which no batch comes is left alone. Some ids at a time, each compared with what was read.
 */
export async function replaceUserGroupUsage(
  store: KvStore,
  snapshot: KvSnapshot,
  usage: readonly RecordBatch[],
  signal: AbortSignal,
): Promise<void> {
  for (const kind of ["userQuota", "groupQuota"] as const) {
    const batches = usage.filter((batch) => batch.kind === kind);
    if (batches.length === 0) continue;
    const wanted = new Map<bigint, Usage | undefined>();
    for await (const [key] of scanPairs(snapshot, prefixRange(kind === "userQuota" ? "QU" : "QG"))) {
      if (key.length === 10) wanted.set(key.readBigUInt64BE(2), undefined);
    }
    for (const { key, ...record } of batches.flatMap((batch) => [...unpackBatch(kind, batch)])) wanted.set(key, record);
    const ids = [...wanted];
    for (let first = 0; first < ids.length; first += IDS_PER_TRANSACTION) {
      const some = ids.slice(first, first + IDS_PER_TRANSACTION);
      const keys = some.map(([id]) => quotaKey(kind, id));
      await readModifyWrite(store, keys, signal, (values) => ({
        changes: keys.map((key, i) => ({ key, value: newUsage(values[i], some[i]![1]) })),
      }));
    }
  }
}

function newUsage(stored: Buffer | undefined, usage: Usage | undefined): Buffer | undefined {
  const limits = stored?.length === QUOTA_VALUE_BYTES ? decodeQuota(stored) : { maxSpace: -1n, maxInodes: -1n };
  const { maxSpace, maxInodes } = limits;
  if (usage === undefined && maxSpace < 0n && maxInodes < 0n) return undefined;
  const { usedSpace, usedInodes } = usage ?? { usedSpace: 0n, usedInodes: 0n };
  return encodeQuota({ maxSpace, maxInodes, usedSpace, usedInodes });
}
