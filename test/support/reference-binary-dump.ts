import { readFileSync } from "node:fs";
import type { FlatKind, RecordTypes } from "../../src/volume/records.ts";

/**
 * Records of a binary dump by the reference (docs/spec/binary-dump.md), as truth for engine tests: written from the
 * specification alone, for small files, with no regard to speed.
 */
export function readReferenceDump(file: string): Map<FlatKind, RecordTypes[FlatKind][]> {
  const bytes = readFileSync(file);
  const records = new Map<FlatKind, RecordTypes[FlatKind][]>();
  for (let at = 0; bytes.readUInt32BE(at) !== 0x747083; ) {
    const size = Number(bytes.readBigUInt64BE(at + 4));
    const body = bytes.subarray(at + 12, at + 12 + size);
    if (bytes.readUInt32BE(at) !== 1) addBatch(body, records);
    at += 12 + size;
  }
  return records;
}

interface Field {
  number: number;
  value: bigint;
  bytes: Buffer;
}

function readFields(message: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
  };
  while (at < message.length) {
    const tag = Number(varint());
    const isBytes = (tag & 7) === 2;
    const value = varint();
    const end = isBytes ? at + Number(value) : at;
    fields.push({ number: tag >> 3, value, bytes: message.subarray(at, end) });
    at = end;
  }
  return fields;
}

class Message {
  readonly #fields: Field[];

  constructor(bytes: Buffer) {
    this.#fields = readFields(bytes);
  }

  u64(number: number): bigint {
    return this.#fields.find((field) => field.number === number)?.value ?? 0n;
  }

  s64(number: number): bigint {
    return BigInt.asIntN(64, this.u64(number));
  }

  int(number: number): number {
    return Number(this.u64(number));
  }

  bytes(number: number): Buffer {
    return this.#fields.find((field) => field.number === number)?.bytes ?? Buffer.alloc(0);
  }

  packed(number: number): bigint[] {
    const values: bigint[] = [];
    let value = 0n;
    let shift = 0n;
    for (const byte of this.bytes(number)) {
      value |= BigInt(byte & 0x7f) << shift;
      shift += 7n;
      if (byte >= 0x80) continue;
      values.push(value);
      value = 0n;
      shift = 0n;
    }
    return values;
  }
}

const quota = (m: Message): RecordTypes["quota"] => ({
  key: m.u64(1),
  maxSpace: m.s64(2),
  maxInodes: m.s64(3),
  usedSpace: m.s64(4),
  usedInodes: m.s64(5),
});

/** By field of Batch (docs/spec/binary-dump.md §1): kind and records of one list item. */
const ITEMS: Record<number, (m: Message) => [FlatKind, RecordTypes[FlatKind][]]> = {
  1: (m) => ["node", [{ inode: m.u64(1), attribute: m.bytes(2) }]],
  2: (m) => ["edge", [{ parent: m.u64(1), inode: m.u64(2), name: m.bytes(3), type: m.int(4) }]],
  3: (m) => ["chunk", [{ inode: m.u64(1), index: m.int(2), slices: m.bytes(3) }]],
  4: (m) => ["sliceRef", [{ id: m.u64(1), size: m.int(2), refs: m.s64(3) }]],
  5: (m) => ["xattr", [{ inode: m.u64(1), name: m.bytes(2), value: m.bytes(3) }]],
  6: (m) => ["parent", [{ inode: m.u64(1), parent: m.u64(2), count: m.s64(3) }]],
  7: (m) => ["symlink", [{ inode: m.u64(1), target: m.bytes(2) }]],
  8: (m) => ["sustained", m.packed(2).map((inode) => ({ sid: m.u64(1), inode }))],
  9: (m) => ["delFile", [{ inode: m.u64(1), length: m.u64(2), expire: m.s64(3) }]],
  10: (m) => ["dirStat", [{ inode: m.u64(1), dataLength: m.s64(2), usedSpace: m.s64(3), usedInodes: m.s64(4) }]],
  11: (m) => ["quota", [quota(m)]],
  12: (m) => ["acl", [{ id: m.int(1), rule: m.bytes(2) }]],
  13: (m) => ["counter", [{ name: m.bytes(1).toString(), value: m.s64(2) }]],
  14: (m) => ["changeLog", [{ version: m.s64(1), entry: m.bytes(2) }]],
  15: (m) => ["userQuota", [quota(m)]],
  16: (m) => ["groupQuota", [quota(m)]],
};

function addBatch(body: Buffer, records: Map<FlatKind, RecordTypes[FlatKind][]>): void {
  for (const field of readFields(body)) {
    const item = ITEMS[field.number];
    if (item === undefined) throw new Error(`unexpected field ${field.number} in a batch`);
    const [kind, found] = item(new Message(field.bytes));
    records.set(kind, [...(records.get(kind) ?? []), ...found]);
  }
}

/** One text per record, sorted: lists in any order compare as sets. */
export function recordTexts(records: Iterable<object>): string[] {
  const texts = [...records].map((record) =>
    Object.entries(record)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => `${name}=${Buffer.isBuffer(value) ? value.toString("hex") : value}`)
      .join(" "),
  );
  return texts.sort();
}
