import {
  packRecord,
  type QuotaRecord,
  type RecordBatch,
  type RecordKind,
  type RecordTypes,
} from "../../volume/records.ts";
import { aclDamage } from "../acl-damage.ts";
import { type Notes, printableKey } from "../notes.ts";
import { COUNTERS, counterKey, decodeCounter, prefixRange } from "./kv-keys.ts";
import { scanPairs } from "./kv-page.ts";
import type { KvSnapshot } from "./kv-store.ts";
import { lostKey } from "./lost-key.ts";
import type { RecordMapper } from "./record-mapper.ts";

const DAMAGED_NOTE = "Keys that are damaged were left out";
const COUNTER_NOTE = "Counters that are damaged were taken as 0";

type RareKind = "sustained" | "delFile" | "sliceRef" | "acl" | "dirStat" | "quota" | "userQuota" | "groupQuota";

interface RareFamily<K extends RareKind = RareKind> {
  readonly kind: K;
  readonly prefix: string;
  /** Sizes of key and value; undefined: any (docs/spec/kv.md §3). */
  readonly keyBytes: number;
  readonly valueBytes: number | undefined;
  decode(key: Buffer, value: Buffer): RecordTypes[K];
}

const family = <K extends RareKind>(parts: RareFamily<K>): RareFamily => parts as unknown as RareFamily;

/** In the order in which the reference dumps them. */
const FAMILIES: readonly RareFamily[] = [
  family({
    kind: "sustained",
    prefix: "SS",
    keyBytes: 18,
    valueBytes: undefined,
    decode: (key) => ({ sid: key.readBigUInt64BE(2), inode: key.readBigUInt64LE(10) }),
  }),
  family({
    kind: "delFile",
    prefix: "D",
    keyBytes: 17,
    valueBytes: 8,
    decode: (key, value) => ({
      inode: key.readBigUInt64LE(1),
      length: key.readBigUInt64BE(9),
      expire: value.readBigInt64BE(),
    }),
  }),
  family({
    kind: "sliceRef",
    prefix: "K",
    keyBytes: 13,
    valueBytes: 8,
    // references minus 1
    decode: (key, value) => ({
      id: key.readBigUInt64BE(1),
      size: key.readUInt32BE(9),
      refs: value.readBigInt64LE() + 1n,
    }),
  }),
  family({
    kind: "acl",
    prefix: "R",
    keyBytes: 5,
    valueBytes: undefined,
    decode: (key, value) => ({ id: key.readUInt32BE(1), rule: value }),
  }),
  family({
    kind: "dirStat",
    prefix: "U",
    keyBytes: 9,
    valueBytes: 24,
    decode: (key, value) => ({
      inode: key.readBigUInt64LE(1),
      dataLength: value.readBigInt64BE(0),
      usedSpace: value.readBigInt64BE(8),
      usedInodes: value.readBigInt64BE(16),
    }),
  }),
  family({
    kind: "quota",
    prefix: "QD",
    keyBytes: 10,
    valueBytes: 32,
    decode: (key, value) => ({ key: key.readBigUInt64LE(2), ...decodeQuota(value) }),
  }),
  family({
    kind: "userQuota",
    prefix: "QU",
    keyBytes: 10,
    valueBytes: 32,
    decode: (key, value) => ({ key: key.readBigUInt64BE(2), ...decodeQuota(value) }),
  }),
  family({
    kind: "groupQuota",
    prefix: "QG",
    keyBytes: 10,
    valueBytes: 32,
    decode: (key, value) => ({ key: key.readBigUInt64BE(2), ...decodeQuota(value) }),
  }),
];

export function decodeQuota(value: Buffer): Omit<QuotaRecord, "key"> {
  return {
    maxSpace: value.readBigInt64BE(0),
    maxInodes: value.readBigInt64BE(8),
    usedSpace: value.readBigInt64BE(16),
    usedInodes: value.readBigInt64BE(24),
  };
}

/** The kinds outside the inodes' family, without counters. */
export async function* rareRecords(
  snapshot: KvSnapshot,
  kinds: ReadonlySet<RecordKind>,
  mapper: RecordMapper,
  notes: Notes,
): AsyncGenerator<RecordBatch> {
  for (const { kind, prefix, keyBytes, valueBytes, decode } of FAMILIES) {
    if (!kinds.has(kind)) continue;
    const builder = mapper.builder(kind);
    for await (const [key, value] of scanPairs(snapshot, prefixRange(prefix))) {
      if (key.length !== keyBytes || (valueBytes !== undefined && value.length !== valueBytes)) {
        const what =
          key.length === keyBytes
            ? `the value has ${value.length} bytes, not ${valueBytes}`
            : `the key has ${key.length} bytes, not ${keyBytes}`;
        notes.loss(DAMAGED_NOTE, `${printableKey(key)} has ${value.length} bytes`, lostKey(key, what));
        continue;
      }
      const damage = kind === "acl" && notes.isSalvage ? aclDamage(value) : undefined;
      if (damage !== undefined) {
        notes.loss(DAMAGED_NOTE, printableKey(key), lostKey(key, `rule ${key.readUInt32BE(1)} is damaged: ${damage}`));
        continue;
      }
      packRecord(kind, builder.writer, decode(key, value));
      mapper.commit(builder);
      yield* mapper.takeFull();
    }
  }
}

/** The counters of the volume, those that do not exist yet as 0, and the last number of the change log, 0 where there is none. */
export async function writeCounters(
  snapshot: KvSnapshot,
  mapper: RecordMapper,
  notes: Notes,
  lastChange: bigint,
): Promise<void> {
  const builder = mapper.builder("counter");
  const write = (name: string, value: bigint): void => {
    packRecord("counter", builder.writer, { name, value });
    mapper.commit(builder);
  };
  const values = await snapshot.get(COUNTERS.map(counterKey));
  COUNTERS.forEach((name, i) => {
    const value = values[i];
    if (value !== undefined && value.length !== 8) {
      const what = `has ${value.length} bytes`;
      notes.loss(COUNTER_NOTE, `${name} ${what}`, lostKey(counterKey(name), `the counter ${what}, not 8`));
      if (notes.isSalvage) return;
    }
    write(name, decodeCounter(value));
  });
  if (lastChange !== 0n) write("lastChangelog", lastChange);
}
