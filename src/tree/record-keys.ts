import { createHash } from "node:crypto";
import { printableName } from "../volume/path.ts";
import type { RecordKind } from "../volume/records.ts";
import { RECORD_LAYOUTS, type RecordLayout } from "./record-layout.ts";

/** What tells records of a kind apart, in their packed layout (volume/records.ts): a volume has one for each key. */
export interface RecordKey {
  /** Bytes at the beginning of a record; a multiple of 4. */
  readonly prefix: number;
  readonly name?: { readonly sizeAt: number; readonly at: number };
  /** Of the hash, so that records of different kinds do not meet. */
  readonly seed: number;
  readonly size: RecordLayout["size"];
}

type KeyedKind = Exclude<keyof typeof RECORD_LAYOUTS, "counter" | "changeLog">;

const KEYS: readonly (readonly [kind: KeyedKind, prefix: number, name?: RecordKey["name"]])[] = [
  ["edge", 8, { sizeAt: 17, at: 19 }],
  ["xattr", 8, { sizeAt: 8, at: 14 }],
  ["chunk", 12],
  ["userQuota", 8],
  ["groupQuota", 8],
  ["acl", 4],
  ["node", 8],
  ["symlink", 8],
  ["dirStat", 8],
  ["quota", 8],
  ["sliceRef", 8],
  ["delFile", 8],
  ["parent", 16],
  ["sustained", 16],
];

/** All kinds but the setting and the change log, and counters, of which there are few. */
export const RECORD_KEYS: ReadonlyMap<RecordKind, RecordKey> = new Map(
  KEYS.map(([kind, prefix, name], i) => {
    const { size } = RECORD_LAYOUTS[kind];
    return [kind, { prefix, ...(name === undefined ? {} : { name }), seed: i + 1, size }];
  }),
);

/** 64 bits of a hash of a record's key in two lanes (MurmurHash3's mixing), signed, never 0. */
export class KeyHash {
  high = 0;
  low = 0;

  read(view: DataView, at: number, { prefix, name, seed }: RecordKey): void {
    this.high = Math.imul(seed, 0x9747_b28c);
    this.low = Math.imul(seed, 0x38b3_4ae5);
    this.#mix(view, at, at + prefix);
    if (name !== undefined) this.#mix(view, at + name.at, at + name.at + view.getUint16(at + name.sizeAt));
    this.high = finish(this.high);
    this.low = finish(this.low ^ this.high);
    if (this.high === 0 && this.low === 0) this.low = 1;
  }

  #mix(view: DataView, start: number, end: number): void {
    let { high, low } = this;
    let at = start;
    for (; at + 4 <= end; at += 4) {
      const word = view.getInt32(at);
      high = Math.imul(high ^ word, 0xcc9e_2d51);
      high = (high << 13) | (high >>> 19);
      low = (Math.imul(low ^ word, 0x1b87_3593) + 0xe654_6b64) | 0;
      low = (low << 15) | (low >>> 17);
    }
    for (; at < end; at++) {
      const byte = view.getUint8(at) + 0x100; // a NUL at the end counts too
      high = Math.imul(high ^ byte, 0xcc9e_2d51);
      high = (high << 13) | (high >>> 19);
      low = (Math.imul(low ^ byte, 0x1b87_3593) + 0xe654_6b64) | 0;
      low = (low << 15) | (low >>> 17);
    }
    this.high = high;
    this.low = low;
  }
}

function finish(hash: number): number {
  let mixed = hash ^ (hash >>> 16);
  mixed = Math.imul(mixed, 0x85eb_ca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2_ae35);
  return mixed ^ (mixed >>> 16);
}

/** Characters of a digest, a byte each: enough that equal digests are equal bytes, whoever chose them. */
const DIGEST_CHARACTERS = 16;

/** A digest of a record's key, whatever its length. */
export function keyDigest(bytes: Buffer, at: number, { prefix, name, seed }: RecordKey): string {
  const hash = createHash("sha256")
    .update(Uint8Array.of(seed))
    .update(bytes.subarray(at, at + prefix));
  if (name !== undefined) {
    const start = at + name.at;
    hash.update(bytes.subarray(start, start + bytes.readUInt16BE(at + name.sizeAt)));
  }
  return hash.digest("latin1").slice(0, DIGEST_CHARACTERS);
}

/** A digest of a whole record, `bytes[start..end)`. */
export function recordDigest(bytes: Buffer, start: number, end: number): string {
  return createHash("sha256").update(bytes.subarray(start, end)).digest("latin1").slice(0, DIGEST_CHARACTERS);
}

/** What a record is, for people. */
export function describeRecord(kind: RecordKind, bytes: Buffer, at: number): string {
  const number = kind === "acl" ? BigInt(bytes.readUInt32BE(at)) : bytes.readBigUInt64BE(at);
  const name = RECORD_KEYS.get(kind)?.name;
  const nameAt = at + (name?.at ?? 0);
  const text = (): string => printableName(bytes.subarray(nameAt, nameAt + bytes.readUInt16BE(at + name!.sizeAt)));
  switch (kind) {
    case "edge":
      return `entry ${text()} of directory ${number}`;
    case "xattr":
      return `extended attribute ${text()} of inode ${number}`;
    case "chunk":
      return `chunk ${bytes.readUInt32BE(at + 8)} of inode ${number}`;
    case "node":
      return `attribute record of inode ${number}`;
    case "symlink":
      return `link target of inode ${number}`;
    case "dirStat":
      return `statistics of directory ${number}`;
    case "quota":
      return `quota of directory ${number}`;
    case "userQuota":
      return `quota of user ${number}`;
    case "groupQuota":
      return `quota of group ${number}`;
    case "sliceRef":
      return `references of slice ${number}`;
    case "delFile":
      return `pending deletion of inode ${number}`;
    case "parent":
      return `link count of inode ${number} in directory ${bytes.readBigUInt64BE(at + 8)}`;
    case "sustained":
      return `open inode ${bytes.readBigUInt64BE(at + 8)} of session ${number}`;
    default:
      return `ACL rule ${number}`;
  }
}
