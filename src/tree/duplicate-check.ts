import { setImmediate as nextTurn } from "node:timers/promises";
import { viewOf } from "../base/bytes.ts";
import type { RecordBatch, RecordKind, RecordStream } from "../volume/records.ts";
import { InodeKeys } from "./inode-key.ts";
import { InodeSet } from "./inode-set.ts";
import { MemoryBudget, PAGE_BYTES } from "./memory-budget.ts";
import { PartitionStore } from "./partition-store.ts";
import { describeRecord, KeyHash, RECORD_KEYS, type RecordKey } from "./record-keys.ts";
import { SpillFile } from "./spill-file.ts";
import { SuspectSet } from "./suspect-set.ts";

export interface DuplicateCheckOptions {
  /** Ceiling of memory in bytes; what does not fit is spilled into `tmpDir`. */
  readonly maxBytes: number;
  readonly tmpDir: string;
}

/** Of what there is one for a number: one bit is enough. */
const ONE_PER_NUMBER: readonly RecordKind[] = ["node", "symlink", "dirStat", "quota", "sliceRef", "delFile"];

const HASH_BYTES = 8;
const MAX_PARTITIONS = 256;
/** What a suspect takes while the records are compared (repeated-records.ts), and what share of the memory that may be. */
const SUSPECT_BYTES = 128;
const SUSPECT_SHARE = 2;

/** Records were found that are, or may be, about the same thing as others before them. */
export class RepeatedRecordsError extends Error {
  /** Hashes of their keys; undefined when not all records were seen. */
  readonly suspects: SuspectSet | undefined;
  /** The record that was found, if there is no doubt. */
  readonly record: string | undefined;

  constructor(suspects: SuspectSet | undefined, record: string | undefined) {
    super("Records may be there twice");
    this.suspects = suspects;
    this.record = record;
  }
}

/**
 * Passes records on in which nothing is there twice of which a volume has only one: an engine would keep the last of two, or stop
 * with an error of its own. Memory stays below the ceiling: one bit per number for what a number has once, eight bytes of
 * hash for every name and every chunk but the first.
 *
 * Throws `RepeatedRecordsError`, before the second record of a number is passed on, else when all have passed: of equal hashes,
 * only a second reading can tell whether the records are about one thing, and whether they are the same.
 */
export async function* watchForDuplicates(records: RecordStream, options: DuplicateCheckOptions): RecordStream {
  const check = new DuplicateCheck(options);
  try {
    for await (const batch of records) {
      check.look(batch);
      if (check.first !== undefined) throw new RepeatedRecordsError(undefined, check.first);
      yield batch;
    }
    const suspects = await check.end();
    if (suspects.size > 0) throw new RepeatedRecordsError(suspects, undefined);
  } finally {
    check.close();
  }
}

/** Reads all records; returns the hashes of the keys that more than one of them may have. */
export async function findSuspects(records: RecordStream, options: DuplicateCheckOptions): Promise<SuspectSet> {
  const check = new DuplicateCheck(options);
  try {
    for await (const batch of records) check.look(batch);
    return await check.end();
  } finally {
    check.close();
  }
}

class DuplicateCheck {
  /** The first record that is certainly there twice. */
  first: string | undefined;
  readonly #suspects: SuspectSet;
  readonly #budget: MemoryBudget;
  readonly #spill: SpillFile;
  readonly #hashes: PartitionStore;
  readonly #partitions: number;
  /** The partition of a hash are its upper bits. */
  readonly #shift: number;
  readonly #keys = new InodeKeys();
  readonly #seen: ReadonlyMap<RecordKind, InodeSet>;
  readonly #firstChunks = new InodeSet(this.#keys);
  readonly #hash = new KeyHash();
  /** Hash table of one partition: places in it + 1. */
  #slots = new Int32Array(0);

  constructor({ maxBytes, tmpDir }: DuplicateCheckOptions) {
    this.#suspects = new SuspectSet(Math.max(1000, Math.floor(maxBytes / SUSPECT_SHARE / SUSPECT_BYTES)));
    this.#budget = new MemoryBudget(maxBytes);
    this.#spill = new SpillFile(tmpDir);
    const pages = Math.max(2, Math.floor(maxBytes / PAGE_BYTES / 4));
    this.#partitions = Math.min(MAX_PARTITIONS, 2 ** Math.floor(Math.log2(pages)));
    this.#shift = 32 - Math.log2(this.#partitions);
    this.#hashes = new PartitionStore(this.#partitions, this.#budget, this.#spill);
    this.#seen = new Map(ONE_PER_NUMBER.map((kind) => [kind, new InodeSet(this.#keys)]));
  }

  look(batch: RecordBatch): void {
    const key = RECORD_KEYS.get(batch.kind);
    if (key === undefined) return;
    const set = this.#seen.get(batch.kind);
    if (set !== undefined) this.#lookAtNumbers(batch, key, set);
    else if (batch.kind === "chunk") this.#lookAtChunks(batch, key);
    else this.#lookAtKeys(batch, key);
  }

  /** To be called once, when all records have passed. */
  async end(): Promise<SuspectSet> {
    for (let partition = 0; partition < this.#partitions; partition++) {
      for (const piece of this.#hashes.drain(partition, Number.POSITIVE_INFINITY)) this.#addEqual(piece);
      await nextTurn();
    }
    return this.#suspects;
  }

  close(): void {
    this.#spill.close();
    this.#budget.close();
  }

  #lookAtNumbers({ kind, bytes, count }: RecordBatch, key: RecordKey, set: InodeSet): void {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++, at += key.size(view, at)) {
      if (set.addNumber(view.getUint32(at), view.getUint32(at + 4))) this.#suspect(kind, bytes, at, key);
    }
  }

  #lookAtKeys({ bytes, count }: RecordBatch, key: RecordKey): void {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++, at += key.size(view, at)) this.#putHash(view, at, key);
  }

  #lookAtChunks({ kind, bytes, count }: RecordBatch, key: RecordKey): void {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++, at += 16 + view.getUint32(at + 12)) {
      if (view.getUint32(at + 8) > 0) this.#putHash(view, at, key);
      else if (this.#firstChunks.addNumber(view.getUint32(at), view.getUint32(at + 4))) {
        this.#suspect(kind, bytes, at, key);
      }
    }
  }

  #putHash(view: DataView, at: number, key: RecordKey): void {
    const hash = this.#hash;
    const hashes = this.#hashes;
    hash.read(view, at, key);
    const to = hashes.reserve(hash.high >>> this.#shift, HASH_BYTES);
    hashes.view.setInt32(to, hash.high);
    hashes.view.setInt32(to + 4, hash.low);
  }

  #suspect(kind: RecordKind, bytes: Buffer, at: number, key: RecordKey): void {
    this.#hash.read(viewOf(bytes), at, key);
    this.#suspects.add(this.#hash.high, this.#hash.low);
    this.first ??= describeRecord(kind, bytes, at);
  }

  /** Puts the hashes of a partition into a table, where equal ones meet. */
  #addEqual(piece: Buffer): void {
    const words = new Int32Array(piece.buffer, piece.byteOffset, piece.length / 4);
    let size = 1024;
    while (size < words.length) size *= 2;
    if (this.#slots.length < size) this.#slots = new Int32Array(size);
    else this.#slots.fill(0, 0, size);
    const slots = this.#slots;
    for (let i = 0; i < words.length; i += 2) {
      let slot = words[i + 1]! & (size - 1);
      while (slots[slot] !== 0) {
        const other = slots[slot]! - 1;
        if (words[other] === words[i] && words[other + 1] === words[i + 1]) {
          this.#suspects.add(piece.readInt32BE(i * 4), piece.readInt32BE(i * 4 + 4));
          break;
        }
        slot = (slot + 1) & (size - 1);
      }
      if (slots[slot] === 0) slots[slot] = i + 1;
    }
  }
}
