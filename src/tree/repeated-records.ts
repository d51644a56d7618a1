import { viewOf } from "../base/bytes.ts";
import { DataError } from "../base/errors.ts";
import type { RecordBatch, RecordKind, RecordStream } from "../volume/records.ts";
import { describeRecord, KeyHash, keyDigest, RECORD_KEYS, type RecordKey, recordDigest } from "./record-keys.ts";
import type { SuspectSet } from "./suspect-set.ts";

const MAX_LISTED = 100;

/**
 * Takes out of records those that were there before, byte for byte, as a scan of a busy Redis may give them (docs/spec/redis.md
 * §12.2), and finds those that are about the same thing as one before and differ. Memory: about 128 bytes per suspect.
 */
export class RepeatedRecords {
  /** Records that were left out. */
  identical = 0;
  /** Records that differ from the first one of their key. */
  #differing = 0;
  readonly #suspects: SuspectSet;
  readonly #onRepeated: (record: () => string) => void;
  /** Digests of the first record of each key whose hash is suspected. */
  readonly #firsts: Map<string, string> = new Map();
  /** The first of those that differ. */
  readonly #names: string[] = [];
  readonly #hash = new KeyHash();

  constructor(suspects: SuspectSet, onRepeated: (record: () => string) => void = () => undefined) {
    this.#suspects = suspects;
    this.#onRepeated = onRepeated;
  }

  /** The records without repeated ones, in the same memory. Throws `DataError` at the end, with the names of those that differ. */
  async *filter(records: RecordStream): RecordStream {
    for await (const batch of records) {
      const kept = this.#keep(batch);
      if (kept.count > 0) yield kept;
    }
    if (this.#differing > 0) throw duplicateError(this.#names, this.#differing);
  }

  #keep(batch: RecordBatch): RecordBatch {
    const key = RECORD_KEYS.get(batch.kind);
    if (key === undefined) return batch;
    const { kind, bytes } = batch;
    const view = viewOf(bytes);
    let count = 0;
    let to = 0;
    for (let i = 0, at = 0; i < batch.count; i++) {
      const end = at + key.size(view, at);
      this.#hash.read(view, at, key);
      const isSuspect = this.#suspects.has(this.#hash.high, this.#hash.low);
      if (!isSuspect || !this.#isRepeated(kind, bytes, at, end, key)) {
        if (to !== at) bytes.copyWithin(to, at, end);
        to += end - at;
        count++;
      }
      at = end;
    }
    return count === batch.count ? batch : { kind, count, bytes: bytes.subarray(0, to) };
  }

  #isRepeated(kind: RecordKind, bytes: Buffer, at: number, end: number, key: RecordKey): boolean {
    const name = keyDigest(bytes, at, key);
    const digest = recordDigest(bytes, at, end);
    const first = this.#firsts.get(name);
    if (first === undefined) {
      this.#firsts.set(name, digest);
    } else if (first === digest) {
      this.identical++;
      this.#onRepeated(() => describeRecord(kind, bytes, at));
    } else if (this.#differing++ < MAX_LISTED) {
      this.#names.push(describeRecord(kind, bytes, at));
    }
    return first === digest;
  }
}

const HINT =
  'Only one of the two would be stored, and they differ. Take another dump of the volume; "decant verify FILE" names all that is wrong ' +
  'in this one, and "decant convert FILE OUT.json" keeps the first of each, for a load of what can be had';

/** `count`: how often something else came for the same; more than are listed when there are many. */
function duplicateError(names: readonly string[], count: number): DataError {
  const [first] = names;
  const more = count === 1 ? "" : `, and ${count - 1} more`;
  const unlisted = count - names.length;
  return new DataError("DECANT_E_DUPLICATE", `The dump has the ${first} twice${more}`, {
    details: count === 1 ? [] : [...names, ...(unlisted > 0 ? [`and ${unlisted} more`] : [])],
    location: { key: first! },
    hint: HINT,
  });
}

/** For a dump that came as a stream, which cannot be read again; `record` is what is there twice, where that is known. */
export function duplicateInStreamError(record: string | undefined): DataError {
  const what =
    record === undefined ? "an entry of a directory, an extended attribute, a chunk or the like" : `the ${record}`;
  return new DataError("DECANT_E_DUPLICATE", `The dump has ${what} twice`, {
    ...(record === undefined ? {} : { location: { key: record } }),
    hint:
      "It came as a stream, which cannot be read again to see what differs: load it from a file, where records that are the same are " +
      `loaded once. ${record === undefined ? "Only there it can be named" : "Or take another dump of the volume"}`,
  });
}

/** More records may be there twice than can be compared within the memory. */
export function tooManyRepeatedError(limit: number): DataError {
  return new DataError("DECANT_E_DUPLICATE", `The dump has more than ${limit} records twice`, {
    hint: "Take another dump of the volume, or give more memory (--max-memory) to see which they are and whether they differ",
  });
}
