import { viewOf } from "../../base/bytes.ts";
import { type QuotaRecord, type RecordBatch, unpackBatch } from "../../volume/records.ts";
import { counterKey, encodeCounter, numberKey } from "./kv-keys.ts";
import { type RecordWriter, swapUint64 } from "./record-writer.ts";

const SLICE_KEY_BYTES = 13;
const STAT_KEY_BYTES = 9;
const STAT_VALUE_BYTES = 24;
const FAMILY_SLICE = 0x4b;
const FAMILY_STAT = 0x55;

/** In SQL engines the number of the last line of the change log; nothing reads such a key (docs/spec/kv.md §9). */
const LAST_CHANGELOG = "lastChangelog";

/** Encodes the kinds outside the inodes' family as pairs (docs/spec/kv.md §3 to §5). */
export class RareWriter {
  readonly #records: RecordWriter;
  #maxAclId = 0;

  constructor(records: RecordWriter) {
    this.#records = records;
  }

  async dirStats({ bytes, count }: RecordBatch): Promise<void> {
    const { pages } = this.#records;
    const source = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++, at += 8 + STAT_VALUE_BYTES) {
      const key = pages.add(STAT_KEY_BYTES, STAT_VALUE_BYTES);
      pages.writer.view.setUint8(key, FAMILY_STAT);
      swapUint64(source, at, pages.writer.view, key + 1);
      bytes.copy(pages.writer.buffer, key + STAT_KEY_BYTES, at + 8, at + 8 + STAT_VALUE_BYTES);
      if (pages.isFull) await this.#records.end();
    }
  }

  /** References minus 1; a slice with one reference has no key (docs/spec/kv.md §5.6). */
  async sliceRefs({ bytes, count }: RecordBatch): Promise<void> {
    const { pages } = this.#records;
    const source = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++, at += 20) {
      if (source.getUint32(at + 16) === 1 && source.getUint32(at + 12) === 0) continue;
      const key = pages.add(SLICE_KEY_BYTES, 8);
      pages.writer.view.setUint8(key, FAMILY_SLICE);
      bytes.copy(pages.writer.buffer, key + 1, at, at + 12);
      pages.writer.view.setBigInt64(key + SLICE_KEY_BYTES, source.getBigInt64(at + 12) - 1n, true);
      if (pages.isFull) await this.#records.end();
    }
  }

  async aclRules(batch: RecordBatch): Promise<void> {
    for (const { id, rule } of unpackBatch("acl", batch)) {
      this.#maxAclId = Math.max(this.#maxAclId, id);
      const key = Buffer.alloc(5, "R");
      key.writeUInt32BE(id, 1);
      await this.#put(key, rule);
    }
  }

  async sustained(batch: RecordBatch): Promise<void> {
    for (const { sid, inode } of unpackBatch("sustained", batch)) {
      const key = Buffer.alloc(18, "SS");
      key.writeBigUInt64BE(sid, 2);
      key.writeBigUInt64LE(inode, 10);
      await this.#put(key, Buffer.of(1));
    }
  }

  async delFiles(batch: RecordBatch): Promise<void> {
    for (const { inode, length, expire } of unpackBatch("delFile", batch)) {
      const key = Buffer.alloc(17, "D");
      key.writeBigUInt64LE(inode, 1);
      key.writeBigUInt64BE(length, 9);
      const value = Buffer.alloc(8);
      value.writeBigInt64BE(expire);
      await this.#put(key, value);
    }
  }

  async quotas(batch: RecordBatch): Promise<void> {
    const kind = batch.kind as "quota" | "userQuota" | "groupQuota";
    for (const quota of unpackBatch(kind, batch)) await this.#put(quotaKey(kind, quota.key), encodeQuota(quota));
  }

  async counters(batch: RecordBatch): Promise<void> {
    for (const { name, value } of unpackBatch("counter", batch)) {
      if (name !== LAST_CHANGELOG) await this.#put(counterKey(name), encodeCounter(value));
    }
  }

  /** What follows from the records as a whole. */
  async finish(): Promise<void> {
    if (this.#maxAclId > 0) await this.#put(counterKey("aclMaxId"), encodeCounter(BigInt(this.#maxAclId)));
  }

  #put(key: Buffer, value: Buffer): Promise<void> {
    this.#records.pages.put(key, value);
    return this.#records.flow();
  }
}

/** Directories by inode, little-endian; users and groups by number, big-endian (docs/spec/kv.md §3). */
export function quotaKey(kind: "quota" | "userQuota" | "groupQuota", id: bigint): Buffer {
  if (kind !== "quota") return numberKey(kind === "userQuota" ? "QU" : "QG", id);
  const key = Buffer.alloc(10, "QD");
  key.writeBigUInt64LE(id, 2);
  return key;
}

export function encodeQuota(quota: Omit<QuotaRecord, "key">): Buffer {
  const value = Buffer.alloc(32);
  value.writeBigInt64BE(quota.maxSpace, 0);
  value.writeBigInt64BE(quota.maxInodes, 8);
  value.writeBigInt64BE(quota.usedSpace, 16);
  value.writeBigInt64BE(quota.usedInodes, 24);
  return value;
}
