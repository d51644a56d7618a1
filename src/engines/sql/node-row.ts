import type { ByteWriter } from "../../base/bytes.ts";
import { DataError } from "../../base/errors.ts";
import {
  ATTR_ATIME,
  ATTR_BASE_BYTES,
  ATTR_CTIME,
  ATTR_GID,
  ATTR_LENGTH,
  ATTR_MAX_BYTES,
  ATTR_MIN_BYTES,
  ATTR_MTIME,
  ATTR_NLINK,
  ATTR_PARENT,
  ATTR_RDEV,
  ATTR_TAIL,
  ATTR_TYPE_MODE,
  ATTR_UID,
  readAttributeTail,
} from "../../volume/attribute.ts";
import { NODE_COLUMNS } from "./schema.ts";

/**
 * A row of the node table as 32-bit halves: column i of `NODE_COLUMNS` is `[2 × i]` (high) and `[2 × i + 1]` (low). NULL
 * and missing columns are 0 (docs/spec/sql.md §3.3).
 */
export type NodeRow = Int32Array;

export function newNodeRow(): NodeRow {
  return new Int32Array(NODE_COLUMNS.length * 2);
}

const [INODE, TYPE, FLAGS, MODE, UID, GID, ATIME, MTIME, CTIME, ATIMENSEC, MTIMENSEC, CTIMENSEC] = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
] as const;
const [NLINK, LENGTH, RDEV, PARENT, ACCESS_ACL, DEFAULT_ACL, TIER] = [12, 13, 14, 15, 16, 17, 18] as const;

/** The widest type number that the attribute record has room for; larger ones are as unknown as this one. */
const UNKNOWN_TYPE = 15;
/** A high half within these limits makes a number below 2^53. */
const SAFE_HIGH = 0x1f_ffff;

/**
 * Appends the packed `node` record of a row (volume/records.ts). Values wider than their field are cut as the reference
 * cuts them (docs/spec/json-dump.md §6). True when the record could not hold all of the row: mode bits above 07777, which
 * the reference dumps in JSON, or a type above 15.
 */
export function packNodeRow(row: NodeRow, writer: ByteWriter): boolean {
  const start = writer.reserve(10 + ATTR_MAX_BYTES);
  const view = writer.view;
  const wideType = low(row, TYPE) & 0xff;
  const type = Math.min(wideType, UNKNOWN_TYPE);
  const mode = low(row, MODE);
  putU64(view, start, row, INODE);
  const at = start + 10;
  view.setUint8(at, low(row, FLAGS));
  view.setUint16(at + ATTR_TYPE_MODE, (type << 12) | (mode & 0xfff));
  view.setUint32(at + ATTR_UID, low(row, UID));
  view.setUint32(at + ATTR_GID, low(row, GID));
  putTime(view, at + ATTR_ATIME, row, ATIME, ATIMENSEC);
  putTime(view, at + ATTR_MTIME, row, MTIME, MTIMENSEC);
  putTime(view, at + ATTR_CTIME, row, CTIME, CTIMENSEC);
  view.setUint32(at + ATTR_NLINK, low(row, NLINK));
  putU64(view, at + ATTR_LENGTH, row, LENGTH);
  view.setUint32(at + ATTR_RDEV, low(row, RDEV));
  putU64(view, at + ATTR_PARENT, row, PARENT);
  let size = ATTR_BASE_BYTES;
  if (low(row, ACCESS_ACL) !== 0 || low(row, DEFAULT_ACL) !== 0) {
    view.setUint32(at + ATTR_TAIL, low(row, ACCESS_ACL));
    view.setUint32(at + ATTR_TAIL + 4, low(row, DEFAULT_ACL));
    size += 8;
  }
  const tier = low(row, TIER) & 0xff;
  if (tier !== 0) view.setUint8(at + size++ - 1, tier);
  view.setUint8(at + size - 1, 0);
  view.setUint16(start + 8, size);
  writer.length = at + size;
  return (mode & 0xf000) !== 0 || wideType > UNKNOWN_TYPE;
}

function low(row: NodeRow, column: number): number {
  return row[2 * column + 1]!;
}

function putU64(view: DataView, at: number, row: NodeRow, column: number): void {
  view.setUint32(at, row[2 * column]!);
  view.setUint32(at + 4, row[2 * column + 1]!);
}

/**
 * Seconds and nanoseconds of a time: seconds = trunc(us / 10^6), nsec = (us mod 10^6) × 1000 + rest with truncating
 * division, each summand modulo 2^32; the rest is read as signed 16 bits (docs/spec/sql.md §4.1).
 */
function putTime(view: DataView, at: number, row: NodeRow, column: number, restColumn: number): void {
  const rest = (low(row, restColumn) << 16) >> 16;
  const high = row[2 * column]!;
  if (high > SAFE_HIGH || high < -SAFE_HIGH) {
    const micros = (BigInt(high) << 32n) | BigInt(low(row, column) >>> 0);
    view.setBigInt64(at, micros / 1_000_000n);
    view.setUint32(at + 8, Number(micros % 1_000_000n) * 1000 + rest);
    return;
  }
  const micros = high * 0x1_0000_0000 + (low(row, column) >>> 0);
  // The quotient may be rounded to the next whole number; a remainder of doubles would take several times as long.
  let seconds = Math.trunc(micros / 1_000_000);
  let fraction = micros - seconds * 1_000_000;
  if (micros >= 0 ? fraction < 0 : fraction > 0) {
    seconds -= Math.sign(micros);
    fraction += Math.sign(micros) * 1_000_000;
  }
  view.setInt32(at, Math.floor(seconds / 0x1_0000_0000));
  view.setUint32(at + 4, seconds);
  view.setUint32(at + 8, fraction * 1000 + rest);
}

/** A value for a statement parameter: a number while it is exact, else BigInt. */
export type SqlInteger = number | bigint;

/** The signed 64-bit integer with that pattern, as SQL databases store unsigned ones. */
export function toSqlInteger(bytes: Buffer, at: number): SqlInteger {
  const high = bytes.readInt32BE(at);
  if (high > SAFE_HIGH || high < -SAFE_HIGH) return bytes.readBigInt64BE(at);
  return high * 0x1_0000_0000 + bytes.readUInt32BE(at + 4);
}

/**
 * Writes the columns of a packed `node` record, which begins at `bytes[at]`, to `values[to..]` in the order of
 * `NODE_COLUMNS`. Returns the offset of the next record. Throws `DataError` for a record that is too short.
 */
export function unpackNodeRow(bytes: Buffer, at: number, values: unknown[], to: number): number {
  const start = at + 10;
  const size = bytes.readUInt16BE(at + 8);
  const end = start + size;
  if (size < ATTR_MIN_BYTES) {
    const inode = bytes.readBigUInt64BE(at);
    throw new DataError(
      "DECANT_E_ATTRIBUTE",
      `Cannot store inode ${inode}: its attribute record has only ${size} bytes`,
    );
  }
  const typeMode = bytes.readUInt16BE(start + ATTR_TYPE_MODE);
  values[to + INODE] = toSqlInteger(bytes, at);
  values[to + TYPE] = typeMode >> 12;
  values[to + FLAGS] = bytes[start];
  values[to + MODE] = typeMode & 0xfff;
  values[to + UID] = bytes.readUInt32BE(start + ATTR_UID);
  values[to + GID] = bytes.readUInt32BE(start + ATTR_GID);
  splitTime(bytes, start + ATTR_ATIME, values, to + ATIME, to + ATIMENSEC);
  splitTime(bytes, start + ATTR_MTIME, values, to + MTIME, to + MTIMENSEC);
  splitTime(bytes, start + ATTR_CTIME, values, to + CTIME, to + CTIMENSEC);
  values[to + NLINK] = bytes.readUInt32BE(start + ATTR_NLINK);
  values[to + LENGTH] = toSqlInteger(bytes, start + ATTR_LENGTH);
  values[to + RDEV] = bytes.readUInt32BE(start + ATTR_RDEV);
  values[to + PARENT] = size >= ATTR_TAIL ? toSqlInteger(bytes, start + ATTR_PARENT) : 0;
  if (size > ATTR_BASE_BYTES) {
    const tail = readAttributeTail(bytes, start, end);
    values[to + ACCESS_ACL] = tail.accessAclId;
    values[to + DEFAULT_ACL] = tail.defaultAclId;
    values[to + TIER] = tail.tier;
  } else {
    values[to + ACCESS_ACL] = 0;
    values[to + DEFAULT_ACL] = 0;
    values[to + TIER] = size === ATTR_BASE_BYTES ? bytes[end - 1] : 0;
  }
  return end;
}

/** Seconds up to here make microseconds below 2^53. */
const SAFE_SECONDS = 9_000_000_000;
const MAX_MICROS = 0x7fff_ffff_ffff_ffffn;

/**
 * Microseconds and the rest in nanoseconds, both with the sign of the instant. Nanoseconds of 10^9 and more are what the
 * reference makes of a negative instant, 2^32 too much (docs/spec/sql.md §12.4). Unlike the reference's, the product does
 * not wrap outside 1677 to 2262 (§4.1); what no 64-bit integer can hold becomes the nearest one.
 */
function splitTime(bytes: Buffer, at: number, values: unknown[], to: number, restTo: number): void {
  const stored = bytes.readUInt32BE(at + 8);
  const nanos = stored >= 1_000_000_000 ? stored - 0x1_0000_0000 : stored;
  const wholeMicros = Math.floor(nanos / 1000);
  let rest = nanos - wholeMicros * 1000;
  const high = bytes.readInt32BE(at);
  const seconds = high * 0x1_0000_0000 + bytes.readUInt32BE(at + 4);
  if (seconds > SAFE_SECONDS || seconds < -SAFE_SECONDS) {
    let micros = bytes.readBigInt64BE(at) * 1_000_000n + BigInt(wholeMicros);
    if (micros < 0n && rest > 0) {
      micros += 1n;
      rest -= 1000;
    }
    values[to] = micros > MAX_MICROS ? MAX_MICROS : micros < -MAX_MICROS ? -MAX_MICROS : micros;
  } else {
    let micros = seconds * 1_000_000 + wholeMicros;
    if (micros < 0 && rest > 0) {
      micros += 1;
      rest -= 1000;
    }
    values[to] = micros;
  }
  values[restTo] = rest;
}
