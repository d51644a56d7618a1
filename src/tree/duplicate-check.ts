import { setImmediate as nextTurn } from "node:timers/promises";
import { viewOf } from "../base/bytes.ts";
import { DataError } from "../base/errors.ts";
import { printableName } from "../volume/path.ts";
import type { RecordBatch, RecordKind, RecordStream } from "../volume/records.ts";
import { InodeKeys } from "./inode-key.ts";
import { InodeSet } from "./inode-set.ts";
import { MemoryBudget, PAGE_BYTES } from "./memory-budget.ts";
import { PartitionStore } from "./partition-store.ts";
import { RECORD_LAYOUTS, type RecordLayout } from "./record-layout.ts";
import { SpillFile } from "./spill-file.ts";

export interface DuplicateCheckOptions {
  /** Ceiling of memory in bytes; what does not fit is spilled into `tmpDir`. */
  readonly maxBytes: number;
  readonly tmpDir: string;
}

/** Of what there is one for an inode: the inode alone is the key. */
const ONE_PER_INODE = ["node", "symlink", "dirStat", "quota"] as const;
/** The rest, whose keys are hashed: the first bytes of the record, and for some kinds the name in it. */
const HASHED: readonly HashedKind[] = [
  { kind: "edge", prefix: 8, name: { sizeAt: 17, at: 19 } },
  { kind: "xattr", prefix: 8, name: { sizeAt: 8, at: 14 } },
  { kind: "chunk", prefix: 12 },
  { kind: "userQuota", prefix: 8 },
  { kind: "groupQuota", prefix: 8 },
  { kind: "acl", prefix: 4 },
];

interface HashedKind {
  readonly kind: "edge" | "xattr" | "chunk" | "userQuota" | "groupQuota" | "acl";
  /** Bytes at the beginning of a record; a multiple of 4. */
  readonly prefix: number;
  readonly name?: { readonly sizeAt: number; readonly at: number };
}

const HASH_BYTES = 8;
const MAX_PARTITIONS = 256;
/** Equal hashes that are looked at: chance gives none or one in any volume, so where there are more, these say enough. */
const MAX_SUSPECTS = 1000;
const MAX_LISTED = 100;

/**
 * Passes records on in which nothing is there twice of which a volume has only one: an engine would keep the last of two, or stop
 * with an error of its own. Memory stays below the ceiling: one bit per inode for what an inode has once, eight bytes of
 * hash for every name and every chunk but the first. Records of equal hashes are compared in a second reading.
 *
 * Throws `DataError` at the second record of an inode, else when all have passed, and names what is there twice. Of a stream, which
 * is gone (`readAgain` is undefined), equal hashes are taken for that, and cannot be named.
 */
export async function* refuseDuplicates(
  records: RecordStream,
  options: DuplicateCheckOptions,
  readAgain: (() => RecordStream) | undefined,
): RecordStream {
  const check = new DuplicateCheck(options);
  try {
    for await (const batch of records) {
      check.look(batch);
      yield batch;
    }
    await check.end(readAgain);
  } finally {
    check.close();
  }
}

class DuplicateCheck {
  readonly #budget: MemoryBudget;
  readonly #spill: SpillFile;
  readonly #hashes: PartitionStore;
  readonly #partitions: number;
  readonly #keys = new InodeKeys();
  readonly #seen: ReadonlyMap<RecordKind, InodeSet>;
  readonly #firstChunks = new InodeSet(this.#keys);
  readonly #hash = new KeyHash();

  constructor({ maxBytes, tmpDir }: DuplicateCheckOptions) {
    this.#budget = new MemoryBudget(maxBytes);
    this.#spill = new SpillFile(tmpDir);
    const pages = Math.max(1, Math.floor(maxBytes / PAGE_BYTES / 4));
    this.#partitions = Math.min(MAX_PARTITIONS, 2 ** Math.floor(Math.log2(pages)));
    this.#hashes = new PartitionStore(this.#partitions, this.#budget, this.#spill);
    this.#seen = new Map(ONE_PER_INODE.map((kind) => [kind, new InodeSet(this.#keys)]));
  }

  look(batch: RecordBatch): void {
    const set = this.#seen.get(batch.kind);
    if (set !== undefined) return this.#lookAtInodes(batch, set);
    const hashed = HASHED_KINDS.get(batch.kind);
    if (hashed !== undefined) this.#lookAtKeys(batch, hashed);
  }

  async end(readAgain: (() => RecordStream) | undefined): Promise<void> {
    const suspects = await this.#suspects();
    if (suspects.size === 0) return;
    if (readAgain === undefined) {
      throw new DataError(
        "DECANT_E_DUPLICATE",
        "The dump has an entry of a directory, an extended attribute or a chunk twice",
        { hint: `It came as a stream, which cannot be read again to tell which: load it from a file. ${HINT}` },
      );
    }
    const found = await new DuplicateSearch(suspects).run(readAgain());
    if (found.count > 0) throw duplicateError(found.names, found.count, suspects.size >= MAX_SUSPECTS);
  }

  close(): void {
    this.#spill.close();
    this.#budget.close();
  }

  #lookAtInodes({ kind, bytes, count }: RecordBatch, set: InodeSet): void {
    const size = sizeOf(kind);
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++, at += size(view, at)) {
      if (set.add(bytes, at)) throw duplicateError([describe(kind, bytes, at)], 1);
    }
  }

  #lookAtKeys({ kind, bytes, count }: RecordBatch, hashed: Hashed): void {
    const size = sizeOf(kind);
    const view = viewOf(bytes);
    const hash = this.#hash;
    const shift = 32 - Math.log2(this.#partitions);
    for (let i = 0, at = 0; i < count; i++, at += size(view, at)) {
      if (kind === "chunk" && view.getUint32(at + 8) === 0) {
        if (this.#firstChunks.add(bytes, at)) throw duplicateError([describe(kind, bytes, at)], 1);
        continue;
      }
      hash.read(view, at, hashed);
      const to = this.#hashes.reserve(shift === 32 ? 0 : hash.high >>> shift, HASH_BYTES);
      this.#hashes.view.setInt32(to, hash.high);
      this.#hashes.view.setInt32(to + 4, hash.low);
    }
  }

  /** Hashes that more than one record has. */
  async #suspects(): Promise<Set<string>> {
    const suspects = new Set<string>();
    for (let partition = 0; partition < this.#partitions; partition++) {
      for (const piece of this.#hashes.drain(partition, Number.POSITIVE_INFINITY)) addEqual(piece, suspects);
      await nextTurn();
    }
    return suspects;
  }
}

const HINT =
  'Only one of the two would be stored. Take another dump of the volume; "decant verify FILE" names all that is wrong in this one, ' +
  'and "decant convert FILE OUT.json" keeps the first of each, for a load of what can be had';

interface Hashed extends HashedKind {
  readonly seed: number;
}

const HASHED_KINDS: ReadonlyMap<RecordKind, Hashed> = new Map(
  HASHED.map((hashed, i) => [hashed.kind, { ...hashed, seed: i + 1 }]),
);

function sizeOf(kind: RecordKind): RecordLayout["size"] {
  return RECORD_LAYOUTS[kind as keyof typeof RECORD_LAYOUTS].size;
}

/** Sorts the hashes in a piece as they stand: in which order does not matter, equal ones only have to meet. */
function addEqual(piece: Buffer, suspects: Set<string>): void {
  const hashes = new BigUint64Array(piece.buffer, piece.byteOffset, piece.length / HASH_BYTES).sort();
  const words = new Uint32Array(hashes.buffer, hashes.byteOffset, hashes.length * 2);
  for (let i = 2; i < words.length; i += 2) {
    if (words[i] !== words[i - 2] || words[i + 1] !== words[i - 1] || suspects.size >= MAX_SUSPECTS) continue;
    suspects.add(piece.toString("hex", i * 4, i * 4 + HASH_BYTES));
  }
}

/** 64 bits of a hash in two lanes (MurmurHash3's mixing). */
class KeyHash {
  high = 0;
  low = 0;

  read(view: DataView, at: number, { prefix, name, seed }: Hashed): void {
    this.high = Math.imul(seed, 0x9747_b28c);
    this.low = Math.imul(seed, 0x38b3_4ae5);
    this.#mix(view, at, at + prefix);
    if (name !== undefined) this.#mix(view, at + name.at, at + name.at + view.getUint16(at + name.sizeAt));
    this.high = finish(this.high);
    this.low = finish(this.low ^ this.high);
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

/** Reads all records again and compares the keys of those whose hashes are equal. */
class DuplicateSearch {
  count = 0;
  readonly names: string[] = [];
  readonly #suspects: ReadonlySet<string>;
  /** Kind and key of every record with such a hash. */
  readonly #keys = new Set<string>();

  constructor(suspects: ReadonlySet<string>) {
    this.#suspects = suspects;
  }

  async run(records: RecordStream): Promise<this> {
    for await (const batch of records) {
      const hashed = HASHED_KINDS.get(batch.kind);
      if (hashed !== undefined) this.#search(batch, hashed);
    }
    return this;
  }

  #search({ kind, bytes, count }: RecordBatch, hashed: Hashed): void {
    const size = sizeOf(kind);
    const view = viewOf(bytes);
    const hash = new KeyHash();
    const text = Buffer.alloc(HASH_BYTES);
    for (let i = 0, at = 0; i < count; i++, at += size(view, at)) {
      hash.read(view, at, hashed);
      text.writeInt32BE(hash.high, 0);
      text.writeInt32BE(hash.low, 4);
      if (!this.#suspects.has(text.toString("hex"))) continue;
      const key = `${kind} ${keyOf(bytes, at, hashed)}`;
      if (!this.#keys.has(key)) this.#keys.add(key);
      else if (this.count++ < MAX_LISTED) this.names.push(describe(kind, bytes, at));
    }
  }
}

function keyOf(bytes: Buffer, at: number, { prefix, name }: HashedKind): string {
  const head = bytes.toString("latin1", at, at + prefix);
  if (name === undefined) return head;
  const start = at + name.at;
  return head + bytes.toString("latin1", start, start + bytes.readUInt16BE(at + name.sizeAt));
}

/** What a record is, for people. */
function describe(kind: RecordKind, bytes: Buffer, at: number): string {
  const number = kind === "acl" ? BigInt(bytes.readUInt32BE(at)) : bytes.readBigUInt64BE(at);
  const name = HASHED_KINDS.get(kind)?.name;
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
    default:
      return `ACL rule ${number}`;
  }
}

/** `count`: how often something came again, or a part of it; more than are listed when there are many. */
function duplicateError(names: readonly string[], count: number, isPart: boolean = false): DataError {
  const [first] = names;
  const more = count === 1 ? "" : `, and ${isPart ? "at least " : ""}${count - 1} more`;
  const unlisted = count - names.length;
  return new DataError("DECANT_E_DUPLICATE", `The dump has the ${first} twice${more}`, {
    details: count === 1 ? [] : [...names, ...(unlisted > 0 ? [`and ${unlisted} more`] : [])],
    location: { key: first! },
    hint: HINT,
  });
}
