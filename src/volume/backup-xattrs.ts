import type { RecordBatch, RecordStream } from "./records.ts";

/**
 * Extended attributes of the root inode by which those who make automatic backups share the work. They are not in a name
 * space of their own: for a database they are attributes like those of users.
 */

/** When a backup was begun last: RFC 3339, whole seconds, any zone (docs/spec/auto-backup.md §4). Clients write it too. */
export const LAST_BACKUP_XATTR = "lastBackup";

/** Who of several agents makes backups now (docs/operations/coordination.md). Only decant knows it. */
export const BACKUP_LEASE_XATTR = "decant.backupLease";

const LEASE_NAME: Buffer = Buffer.from(BACKUP_LEASE_XATTR);

/** Bytes of a packed xattr before its name: u64 inode, u16 nameSize, u32 valueSize (records.ts). */
const NAME_OFFSET = 14;
/** The same in a list of a tree item: u16 nameSize, u32 valueSize. */
const LIST_NAME_OFFSET = 6;

/**
 * The same records, without the lease: it says who was at work on this database at this moment, and means nothing in a
 * copy of the volume.
 */
export async function* withoutBackupLease(records: RecordStream): RecordStream {
  for await (const batch of records) {
    const kept = batch.kind === "xattr" ? withoutLeaseIn(batch) : batch;
    if (kept !== undefined) yield kept;
  }
}

/** The batch, one without the lease (in the same memory), or undefined when nothing is left of it. */
function withoutLeaseIn(batch: RecordBatch): RecordBatch | undefined {
  const { kind, count, bytes } = batch;
  for (let at = 0; at < bytes.length; ) {
    const nameSize = bytes.readUInt16BE(at + 8);
    const end = at + NAME_OFFSET + nameSize + bytes.readUInt32BE(at + 10);
    if (isLease(bytes, at, nameSize)) {
      if (count === 1) return undefined;
      bytes.copyWithin(at, end);
      return { kind, count: count - 1, bytes: bytes.subarray(0, bytes.length - (end - at)) };
    }
    at = end;
  }
  return batch;
}

/** A packed list of the root's attributes (volume/tree-item.ts) without the lease. */
export function withoutLeaseInList(list: Buffer): Buffer {
  for (let at = 0; at < list.length; ) {
    const name = at + LIST_NAME_OFFSET;
    const value = name + list.readUInt16BE(at);
    const end = value + list.readUInt32BE(at + 2);
    if (LEASE_NAME.equals(list.subarray(name, value))) {
      return Buffer.concat([list.subarray(0, at), list.subarray(end)]);
    }
    at = end;
  }
  return list;
}

function isLease(bytes: Buffer, at: number, nameSize: number): boolean {
  if (bytes.readUInt32BE(at + 4) !== 1 || bytes.readUInt32BE(at) !== 0 || nameSize !== LEASE_NAME.length) return false;
  const name = at + NAME_OFFSET;
  return LEASE_NAME.equals(bytes.subarray(name, name + nameSize));
}
