import { ByteWriter } from "../base/bytes.ts";
import { DataError } from "../base/errors.ts";

/**
 * The one currency of decant: batches of records of one kind, packed back to back in a buffer. Engines and formats map
 * their own bytes to these and know nothing of each other. Attribute, slice and ACL bytes travel in the encoding that
 * Redis, the key-value engines and the binary format share, so they are copied, not decoded (docs/spec/binary-dump.md §2).
 *
 * Packed layouts, all numbers big-endian; inodes, slice ids and lengths are unsigned 64-bit:
 *
 *   setting     u32 size, JSON text
 *   counter     u16 nameSize, s64 value, name                       SQL sense: nextInode and nextChunk are the next free
 *   node        u64 inode, u16 size, attribute record               volume/attribute.ts; at least 63 bytes
 *   edge        u64 parent, u64 inode, u8 type, u16 nameSize, name
 *   chunk       u64 inode, u32 index, u32 size, slices              n × 24 bytes, volume/slices.ts
 *   symlink     u64 inode, u32 size, target
 *   xattr       u64 inode, u16 nameSize, u32 valueSize, name, value
 *   parent      u64 inode, u64 parent, s64 count
 *   sliceRef    u64 id, u32 size, s64 refs                          true number of references
 *   acl         u32 id, u32 size, rule                              volume/acl.ts
 *   sustained   u64 sid, u64 inode
 *   delFile     u64 inode, u64 length, s64 expire                   Unix seconds of the deletion
 *   dirStat     u64 inode, s64 dataLength, s64 usedSpace, s64 usedInodes
 *   quota, userQuota, groupQuota
 *               u64 key, s64 maxSpace, s64 maxInodes, s64 usedSpace, s64 usedInodes     -1 = unlimited
 *   changeLog   s64 version, u32 size, entry
 *   tree        items of volume/tree-item.ts: entries of the name space in tree order
 *
 * A source says which of the two shapes it gives: `flat` (node, edge, chunk, symlink, xattr, parent in any order) or
 * `tree`. tree/tree-order.ts turns flat into tree, tree/consolidate.ts turns tree into flat.
 */
export type RecordKind =
  | "setting"
  | "counter"
  | "node"
  | "edge"
  | "chunk"
  | "symlink"
  | "xattr"
  | "parent"
  | "sliceRef"
  | "acl"
  | "sustained"
  | "delFile"
  | "dirStat"
  | "quota"
  | "userQuota"
  | "groupQuota"
  | "changeLog"
  | "tree";

/** `count` records of one kind. Whoever receives a batch owns `bytes`; it is never written again by its maker. */
export interface RecordBatch {
  readonly kind: RecordKind;
  readonly count: number;
  readonly bytes: Buffer;
}

/** A stream of batches. */
export type RecordStream = AsyncIterable<RecordBatch>;

/** A batch is handed on when it holds this many bytes or more. */
export const BATCH_BYTES: number = 256 * 1024;

/** Fills batches of one kind. Write one record with the methods of `writer`, then call `commit`. */
export class BatchBuilder {
  readonly kind: RecordKind;
  readonly writer: ByteWriter;
  count = 0;

  constructor(kind: RecordKind, capacity: number = BATCH_BYTES + 65536) {
    this.kind = kind;
    this.writer = new ByteWriter(capacity);
  }

  /** Counts the record just written; true when the batch is full and should be taken. */
  commit(): boolean {
    this.count++;
    return this.isFull;
  }

  get isFull(): boolean {
    return this.writer.length >= BATCH_BYTES;
  }

  /** The batch so far, undefined when there is nothing in it. Starts a new one. */
  take(): RecordBatch | undefined {
    if (this.count === 0) return undefined;
    const batch = { kind: this.kind, count: this.count, bytes: this.writer.take() };
    this.count = 0;
    return batch;
  }
}

/** Decoded forms, for kinds that are rare or for code that is not hot. */
export interface CounterRecord {
  name: string;
  value: bigint;
}
export interface NodeRecord {
  inode: bigint;
  attribute: Buffer;
}
export interface EdgeRecord {
  parent: bigint;
  inode: bigint;
  type: number;
  name: Buffer;
}
export interface ChunkRecord {
  inode: bigint;
  index: number;
  slices: Buffer;
}
export interface SymlinkRecord {
  inode: bigint;
  target: Buffer;
}
export interface XattrRecord {
  inode: bigint;
  name: Buffer;
  value: Buffer;
}
export interface ParentRecord {
  inode: bigint;
  parent: bigint;
  count: bigint;
}
export interface SliceRefRecord {
  id: bigint;
  size: number;
  refs: bigint;
}
export interface AclRecord {
  id: number;
  rule: Buffer;
}
export interface SustainedRecord {
  sid: bigint;
  inode: bigint;
}
export interface DelFileRecord {
  inode: bigint;
  length: bigint;
  expire: bigint;
}
export interface DirStatRecord {
  inode: bigint;
  dataLength: bigint;
  usedSpace: bigint;
  usedInodes: bigint;
}
export interface QuotaRecord {
  /** Inode, uid or gid. */
  key: bigint;
  /** Bytes; -1 = unlimited. */
  maxSpace: bigint;
  /** -1 = unlimited. */
  maxInodes: bigint;
  usedSpace: bigint;
  usedInodes: bigint;
}
export interface ChangeLogRecord {
  version: bigint;
  entry: Buffer;
}

export interface RecordTypes {
  setting: { json: Buffer };
  counter: CounterRecord;
  node: NodeRecord;
  edge: EdgeRecord;
  chunk: ChunkRecord;
  symlink: SymlinkRecord;
  xattr: XattrRecord;
  parent: ParentRecord;
  sliceRef: SliceRefRecord;
  acl: AclRecord;
  sustained: SustainedRecord;
  delFile: DelFileRecord;
  dirStat: DirStatRecord;
  quota: QuotaRecord;
  userQuota: QuotaRecord;
  groupQuota: QuotaRecord;
  changeLog: ChangeLogRecord;
}

/** The kinds that have a decoded form: all but `tree`. */
export type FlatKind = keyof RecordTypes;

/** Appends one record in its packed layout; follow it with `builder.commit()`. */
export function packRecord<K extends FlatKind>(kind: K, writer: ByteWriter, record: RecordTypes[K]): void {
  (PACKERS[kind] as (writer: ByteWriter, record: RecordTypes[K]) => void)(writer, record);
}

/** Packs records into one batch. Not for hot paths. */
export function packBatch<K extends FlatKind>(kind: K, records: Iterable<RecordTypes[K]>): RecordBatch {
  const writer = new ByteWriter(4096);
  let count = 0;
  for (const record of records) {
    packRecord(kind, writer, record);
    count++;
  }
  return { kind, count, bytes: writer.take() };
}

/** Decodes the records of a batch one by one; buffers in them are views of the batch. Not for hot paths. */
export function* unpackBatch<K extends FlatKind>(kind: K, batch: RecordBatch): Generator<RecordTypes[K]> {
  if (batch.kind !== kind) {
    throw new DataError("DECANT_E_RECORD_KIND", `Expected a batch of ${kind} records, got ${batch.kind}`);
  }
  const cursor: Cursor = { bytes: batch.bytes, at: 0 };
  const unpack = UNPACKERS[kind] as (cursor: Cursor) => RecordTypes[K];
  for (let i = 0; i < batch.count; i++) yield unpack(cursor);
}

interface Cursor {
  bytes: Buffer;
  at: number;
}

function u16(cursor: Cursor): number {
  cursor.at += 2;
  return cursor.bytes.readUInt16BE(cursor.at - 2);
}
function u32(cursor: Cursor): number {
  cursor.at += 4;
  return cursor.bytes.readUInt32BE(cursor.at - 4);
}
function u64(cursor: Cursor): bigint {
  cursor.at += 8;
  return cursor.bytes.readBigUInt64BE(cursor.at - 8);
}
function s64(cursor: Cursor): bigint {
  cursor.at += 8;
  return cursor.bytes.readBigInt64BE(cursor.at - 8);
}
function take(cursor: Cursor, size: number): Buffer {
  cursor.at += size;
  return cursor.bytes.subarray(cursor.at - size, cursor.at);
}

function packQuota(writer: ByteWriter, record: QuotaRecord): void {
  writer.writeU64(record.key);
  writer.writeU64(record.maxSpace);
  writer.writeU64(record.maxInodes);
  writer.writeU64(record.usedSpace);
  writer.writeU64(record.usedInodes);
}

function unpackQuota(cursor: Cursor): QuotaRecord {
  return {
    key: u64(cursor),
    maxSpace: s64(cursor),
    maxInodes: s64(cursor),
    usedSpace: s64(cursor),
    usedInodes: s64(cursor),
  };
}

const PACKERS: { [K in FlatKind]: (writer: ByteWriter, record: RecordTypes[K]) => void } = {
  setting(writer, record) {
    writer.writeU32(record.json.length);
    writer.writeBytes(record.json);
  },
  counter(writer, record) {
    const name = Buffer.from(record.name);
    writer.writeU16(name.length);
    writer.writeU64(record.value);
    writer.writeBytes(name);
  },
  node(writer, record) {
    writer.writeU64(record.inode);
    writer.writeU16(record.attribute.length);
    writer.writeBytes(record.attribute);
  },
  edge(writer, record) {
    writer.writeU64(record.parent);
    writer.writeU64(record.inode);
    writer.writeU8(record.type);
    writer.writeU16(record.name.length);
    writer.writeBytes(record.name);
  },
  chunk(writer, record) {
    writer.writeU64(record.inode);
    writer.writeU32(record.index);
    writer.writeU32(record.slices.length);
    writer.writeBytes(record.slices);
  },
  symlink(writer, record) {
    writer.writeU64(record.inode);
    writer.writeU32(record.target.length);
    writer.writeBytes(record.target);
  },
  xattr(writer, record) {
    writer.writeU64(record.inode);
    writer.writeU16(record.name.length);
    writer.writeU32(record.value.length);
    writer.writeBytes(record.name);
    writer.writeBytes(record.value);
  },
  parent(writer, record) {
    writer.writeU64(record.inode);
    writer.writeU64(record.parent);
    writer.writeU64(record.count);
  },
  sliceRef(writer, record) {
    writer.writeU64(record.id);
    writer.writeU32(record.size);
    writer.writeU64(record.refs);
  },
  acl(writer, record) {
    writer.writeU32(record.id);
    writer.writeU32(record.rule.length);
    writer.writeBytes(record.rule);
  },
  sustained(writer, record) {
    writer.writeU64(record.sid);
    writer.writeU64(record.inode);
  },
  delFile(writer, record) {
    writer.writeU64(record.inode);
    writer.writeU64(record.length);
    writer.writeU64(record.expire);
  },
  dirStat(writer, record) {
    writer.writeU64(record.inode);
    writer.writeU64(record.dataLength);
    writer.writeU64(record.usedSpace);
    writer.writeU64(record.usedInodes);
  },
  quota: packQuota,
  userQuota: packQuota,
  groupQuota: packQuota,
  changeLog(writer, record) {
    writer.writeU64(record.version);
    writer.writeU32(record.entry.length);
    writer.writeBytes(record.entry);
  },
};

const UNPACKERS: { [K in FlatKind]: (cursor: Cursor) => RecordTypes[K] } = {
  setting: (c) => ({ json: take(c, u32(c)) }),
  counter(c) {
    const nameSize = u16(c);
    const value = s64(c);
    return { name: take(c, nameSize).toString(), value };
  },
  node(c) {
    const inode = u64(c);
    return { inode, attribute: take(c, u16(c)) };
  },
  edge(c) {
    const parent = u64(c);
    const inode = u64(c);
    const type = take(c, 1)[0]!;
    return { parent, inode, type, name: take(c, u16(c)) };
  },
  chunk(c) {
    const inode = u64(c);
    const index = u32(c);
    return { inode, index, slices: take(c, u32(c)) };
  },
  symlink(c) {
    const inode = u64(c);
    return { inode, target: take(c, u32(c)) };
  },
  xattr(c) {
    const inode = u64(c);
    const nameSize = u16(c);
    const valueSize = u32(c);
    return { inode, name: take(c, nameSize), value: take(c, valueSize) };
  },
  parent: (c) => ({ inode: u64(c), parent: u64(c), count: s64(c) }),
  sliceRef: (c) => ({ id: u64(c), size: u32(c), refs: s64(c) }),
  acl(c) {
    const id = u32(c);
    return { id, rule: take(c, u32(c)) };
  },
  sustained: (c) => ({ sid: u64(c), inode: u64(c) }),
  delFile: (c) => ({ inode: u64(c), length: u64(c), expire: s64(c) }),
  dirStat: (c) => ({ inode: u64(c), dataLength: s64(c), usedSpace: s64(c), usedInodes: s64(c) }),
  quota: unpackQuota,
  userQuota: unpackQuota,
  groupQuota: unpackQuota,
  changeLog(c) {
    const version = s64(c);
    return { version, entry: take(c, u32(c)) };
  },
};
