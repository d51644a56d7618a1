import { ByteWriter, viewOf } from "../base/bytes.ts";
import { RECORD_LAYOUTS } from "../tree/record-layout.ts";
import { packBatch, type RecordBatch, type RecordKind, unpackBatch } from "../volume/records.ts";

/** What an engine makes of the records that its loader is given: with it, what a snapshot returns can be compared with them. */
export interface RecordForm {
  /**
   * The records of a batch that a snapshot gives back, byte for byte as it gives them back; the batch itself where that is the same.
   * The batch stays as it is.
   */
  stored(batch: RecordBatch): RecordBatch;

  /** Which records are not given back, and why, as half a sentence for people. */
  readonly missing: ReadonlyMap<RecordKind, string>;

  /** Kinds that a snapshot computes from others. */
  readonly computed: ReadonlySet<RecordKind>;
}

/** The counters that every snapshot gives; where one is not stored it counts as 0. */
const STANDARD_COUNTERS: ReadonlySet<string> = new Set([
  "usedSpace",
  "totalInodes",
  "nextInode",
  "nextChunk",
  "nextSession",
  "nextTrash",
]);

/** The number of the last line of a change log, which is not loaded. */
const LAST_CHANGELOG = "lastChangelog";

/** Why a slice reference is not given back. */
export const SINGLE_REFERENCES = "slices with one reference, which no database gives back";

/** The records that meet a condition, of any kind but the setting and `tree`; the batch itself where all do. */
export function onlyRecords(batch: RecordBatch, isKept: (view: DataView, at: number) => boolean): RecordBatch {
  const { kind, bytes } = batch;
  const { size } = RECORD_LAYOUTS[kind as keyof typeof RECORD_LAYOUTS];
  const view = viewOf(bytes);
  let kept: ByteWriter | undefined;
  let count = 0;
  let from = 0; // of the records that are kept and not copied yet
  let at = 0;
  for (let i = 0; i < batch.count; i++) {
    const next = at + size(view, at);
    if (isKept(view, at)) {
      count++;
    } else {
      kept ??= new ByteWriter(4096);
      if (at > from) kept.writeSlice(bytes, from, at);
      from = next;
    }
    at = next;
  }
  if (kept === undefined) return batch;
  kept.writeSlice(bytes, from, at);
  return { kind, count, bytes: kept.written() };
}

/** Without references that say 1, and only those of the others that meet a condition. */
export function sharedSlices(batch: RecordBatch, isKept: (id: bigint, refs: bigint) => boolean): RecordBatch {
  return onlyRecords(batch, (view, at) => {
    // Nearly all have one reference.
    if (view.getUint32(at + 16) === 1 && view.getUint32(at + 12) === 0) return false;
    return isKept(view.getBigUint64(at), view.getBigInt64(at + 12));
  });
}

/** Without chunks that have no slices: a file reads there as if it had no chunk. */
export function filledChunks(batch: RecordBatch): RecordBatch {
  return onlyRecords(batch, (view, at) => view.getUint32(at + 12) > 0);
}

/** Without the number of the change log, and only the standard ones where the others are not read. */
export function readCounters(batch: RecordBatch, readsOthers: boolean): RecordBatch {
  const counters = [...unpackBatch("counter", batch)];
  const read = counters.filter(({ name }) => (readsOthers ? name !== LAST_CHANGELOG : STANDARD_COUNTERS.has(name)));
  return read.length === counters.length ? batch : packBatch("counter", read);
}
