import type { MetadataStore } from "../engines/engine.ts";
import { OwnerUsage } from "../tree/owner-usage.ts";
import { ATTR_GID, ATTR_LENGTH, ATTR_TYPE_MODE, ATTR_UID } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import { isTrashInode, ROOT_INODE, TRASH_INODE } from "../volume/inode.ts";
import type { RecordBatch } from "../volume/records.ts";
import type { OperationContext } from "./context.ts";

/**
 * What every user and group of a volume uses, as `userQuota` and `groupQuota` batches without limits
 * (docs/spec/redis.md §10.3): one pass over the inode records of a snapshot, memory per user and group only. Open files that
 * were deleted count too.
 */
export async function countUserGroupUsage(
  store: MetadataStore,
  options: { readonly withTrash: boolean },
  context: OperationContext,
): Promise<RecordBatch[]> {
  const { signal, logger, progress } = context;
  const snapshot = await store.openSnapshot({ signal, logger });
  const total = snapshot.estimates.get("node");
  const phase = progress.begin("Counting usage of users and groups", total === undefined ? {} : { records: total });
  try {
    const usage = new OwnerUsage();
    for await (const batch of snapshot.records({ kinds: new Set(["node"]) })) {
      addNodes(batch, usage, options.withTrash);
      phase.records += batch.count;
    }
    return [usage.userQuotas([]), usage.groupQuotas([])];
  } finally {
    progress.end(phase);
    await snapshot.close();
  }
}

/** u64 inode, u16 size, attribute record. */
function addNodes(batch: RecordBatch, usage: OwnerUsage, withTrash: boolean): void {
  const { bytes } = batch;
  for (let at = 0, i = 0; i < batch.count; i++) {
    const inode = bytes.readBigUInt64BE(at);
    const attribute = at + 10;
    at = attribute + bytes.readUInt16BE(at + 8);
    if (inode === ROOT_INODE || inode === TRASH_INODE || (isTrashInode(inode) && !withTrash)) continue;
    const type = bytes.readUInt16BE(attribute + ATTR_TYPE_MODE) >> 12;
    const uid = bytes.readUInt32BE(attribute + ATTR_UID);
    const gid = bytes.readUInt32BE(attribute + ATTR_GID);
    if (type === FileType.regular) usage.add(uid, gid, blocksOf(bytes.readBigUInt64BE(attribute + ATTR_LENGTH)), 1);
    else if (type === FileType.directory) usage.add(uid, gid, 1, 1);
    else usage.add(uid, gid, 0, 0);
  }
}

/** Blocks of 4096 bytes, at least one. */
function blocksOf(length: bigint): number {
  return length === 0n ? 1 : Number((length + 4095n) >> 12n);
}
