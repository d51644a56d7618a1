import { type Damage, isDamage } from "./damage.ts";
import { META_TRANSACTION, META_TRANSACTION_END, VERSION_BYTES } from "./entry.ts";
import { isZero, LOG_HEADER_BYTES, type LogExtent, LogReader } from "./log-reader.ts";
import { readUvarint, uvarintSize } from "./uvarint.ts";

/** A part of a log that has whole records and nothing else, from `start` to `end`. */
export interface LogPart {
  readonly start: number;
  readonly end: number;
}

export interface SalvagedLog extends LogExtent {
  readonly parts: readonly LogPart[];
}

/** Bits of meta that nobody sets. */
const UNUSED_META = 0x30;
const MAX_KEY_BYTES = 65536;
/** No log has larger values: a client could not open it (docs/spec/kv-stores.md §3.6). */
const MAX_VALUE_BYTES = 32 * 1024 * 1024;
/** meta, userMeta and three numbers of a byte each: no record has less in front of its key. */
const MIN_HEAD_BYTES = 5;

/**
 * Finds what can be read of a memtable log: behind what is no record it goes on with the next one, whose checksum proves it. A
 * transaction that stands before others was committed, so that what is left of it counts; the last one does with its end only, as ever.
 */
export function salvageLog(path: string, damage: Damage): SalvagedLog {
  const parts: LogPart[] = [];
  try {
    const reader = LogReader.open(path);
    try {
      addParts(reader, parts, damage);
    } finally {
      reader.close();
    }
  } catch (error) {
    if (!isDamage(error)) throw error;
    damage.lost(`${error.message}: what stands in this log from there on is lost`);
  }
  return { parts, end: LOG_HEADER_BYTES, maxVersion: 0n, isClean: false };
}

function addParts(reader: LogReader, parts: LogPart[], damage: Damage): void {
  for (;;) {
    const start = reader.offset;
    let complete = start;
    while (reader.next()) {
      const { meta } = reader.record;
      if ((meta & META_TRANSACTION) === 0 || (meta & META_TRANSACTION_END) !== 0) complete = reader.offset;
    }
    const stop = reader.offset;
    const next = findRecord(reader, stop + 1);
    if (next === undefined) {
      parts.push({ start, end: complete });
      if (reader.scanRest(complete, hasOtherThanZero)) damage.lost(unfinished(reader.path, complete));
      return;
    }
    parts.push({ start, end: stop });
    damage.lost(`${reader.path} is damaged at offset ${stop}: what stands there, up to offset ${next}, is lost`);
    reader.offset = next;
  }
}

/** A client that was killed leaves such an end, and damage at the end looks like it. */
function unfinished(path: string, offset: number): string {
  return `${path} ends at offset ${offset} with what is no whole transaction: it was not finished, or it is damaged and lost`;
}

function hasOtherThanZero(bytes: Buffer): true | undefined {
  return isZero(bytes) ? undefined : true;
}

/** Where the next whole record begins, at `from` or behind it; undefined when there is none. */
function findRecord(reader: LogReader, from: number): number | undefined {
  return reader.scanRest(from, (bytes, offset) => {
    for (let at = 0; at < bytes.length; at++) {
      if (!mayBeRecord(bytes, at)) continue;
      reader.offset = offset + at;
      if (reader.next()) return offset + at;
    }
    return undefined;
  });
}

/** Cheap signs that all records have: whoever looks at every byte of a file cannot compute a checksum each time. */
function mayBeRecord(bytes: Buffer, start: number): boolean {
  if ((bytes[start]! & UNUSED_META) !== 0) return false;
  if (start + MIN_HEAD_BYTES + VERSION_BYTES >= bytes.length) return true; // the rest stands in the next piece
  if (bytes[start + 1] !== 0 || bytes[start + 2]! <= VERSION_BYTES) return false;
  let at = start + 2;
  const sizes: number[] = [];
  for (let i = 0; i < 3; i++) {
    const digits = uvarintSize(bytes, at, bytes.length);
    if (digits === 0) return at + 10 > bytes.length;
    sizes.push(readUvarint(bytes, at, digits));
    at += digits;
  }
  const [key, value] = sizes as [number, number, number];
  if (key <= VERSION_BYTES || key > MAX_KEY_BYTES || value > MAX_VALUE_BYTES) return false;
  // versions count down from 2^64: no volume has had 2^48 transactions
  const version = at + key - VERSION_BYTES;
  return version + 1 >= bytes.length || (bytes[version] === 0xff && bytes[version + 1] === 0xff);
}
