import { viewOf } from "../../base/bytes.ts";

export const EMPTY: Buffer = Buffer.alloc(0);

/** Bits of an entry's meta byte (docs/spec/kv-stores.md §3.2). */
export const META_DELETED = 0x01;
export const META_VALUE_POINTER = 0x02;
export const META_MERGE = 0x08;
export const META_TRANSACTION = 0x40;
export const META_TRANSACTION_END = 0x80;

/** Bytes of the version behind each stored key: 2^64 - 1 - ts, so that newer ones stand first. */
export const VERSION_BYTES = 8;

/** Keys of BadgerDB itself begin so. */
export const INTERNAL_PREFIX: Buffer = Buffer.from("!badger!");
/** The key of the record that ends a transaction in a log. */
export const TRANSACTION_KEY: Buffer = Buffer.from("!badger!txn");

/** What stands behind each key for a transaction of number `ts`. */
export function versionOf(ts: bigint): bigint {
  return 0xffff_ffff_ffff_ffffn - ts;
}

/** Order of two user keys by their bytes, a shorter one before those that it begins. Negative, 0 or positive. */
export function compareKeys(
  a: Uint8Array,
  aStart: number,
  aSize: number,
  b: Uint8Array,
  bStart: number,
  bSize: number,
): number {
  const common = Math.min(aSize, bSize);
  for (let i = 0; i < common; i++) {
    const difference = a[aStart + i]! - b[bStart + i]!;
    if (difference !== 0) return difference;
  }
  return aSize - bSize;
}

/** `compareKeys` for whole buffers. */
export function compareWholeKeys(a: Uint8Array, b: Uint8Array): number {
  return compareKeys(a, 0, a.length, b, 0, b.length);
}

/** `compareKeys` by words of four bytes, for hot code. */
export function compareKeyViews(
  a: DataView,
  aStart: number,
  aSize: number,
  b: DataView,
  bStart: number,
  bSize: number,
): number {
  const common = Math.min(aSize, bSize);
  let i = 0;
  for (const last = common - 4; i <= last; i += 4) {
    if (a.getInt32(aStart + i) !== b.getInt32(bStart + i)) return a.getUint32(aStart + i) - b.getUint32(bStart + i);
  }
  for (; i < common; i++) {
    const difference = a.getUint8(aStart + i) - b.getUint8(bStart + i);
    if (difference !== 0) return difference;
  }
  return aSize - bSize;
}

/**
 * A walk through entries, ascending by user key, of equal keys the newest version first. What the fields show stays until the
 * next call.
 */
export abstract class EntryCursor {
  /** The user key is `key[keyStart..keyStart + keySize)`; its version stands behind it. */
  key: Buffer = EMPTY;
  /** `key` for numbers. */
  keyView: DataView = viewOf(EMPTY);
  keyStart = 0;
  keySize = 0;
  meta = 0;
  /** Unix seconds; 0 = never. */
  expiresAt = 0;
  /** The value, or the pointer to it, is `source[valueStart..valueEnd)`. */
  source: Buffer = EMPTY;
  /** `source` for numbers. */
  sourceView: DataView = viewOf(EMPTY);
  valueStart = 0;
  valueEnd = 0;

  /** Goes on to the next entry; false at the end. */
  abstract next(): boolean;

  /** Gives files back; the cursor is not used any more. */
  abstract close(): void;

  /** Where the entry stands, for messages. */
  abstract place(): { path: string; offset: number };
}
