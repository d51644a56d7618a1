import { tryRecycle, viewOf } from "../base/bytes.ts";
import { BATCH_BYTES, type RecordBatch } from "../volume/records.ts";
import { compareRecords, type RecordLayout } from "./record-layout.ts";

/** Holds batches of one kind as long as their records, one batch after the other, come in order. */
export class OrderedBatches {
  /** Bytes of their records: what a buffer has beyond that was never touched. */
  heldBytes = 0;
  list: RecordBatch[] = [];
  readonly #layout: RecordLayout;
  /** The last record so far, and the number that decides first in it. */
  #key = -1;
  #bytes: Buffer = EMPTY;
  #start = 0;
  #end = 0;

  constructor(layout: RecordLayout) {
    this.#layout = layout;
  }

  /** Takes the batch over, unless a record in it belongs before another one; false then. */
  add(batch: RecordBatch): boolean {
    if (!this.#follows(batch)) return false;
    // A few records in a large buffer are not worth holding it.
    const { bytes } = batch;
    const isSparse = bytes.length * 2 < bytes.buffer.byteLength;
    const kept = isSparse ? { ...batch, bytes: copyOf(bytes) } : batch;
    if (isSparse) discard(bytes);
    this.list.push(kept);
    this.heldBytes += kept.bytes.length;
    this.#bytes = kept.bytes;
    return true;
  }

  /** All batches, each being let go of when it is taken. */
  *take(): Generator<RecordBatch> {
    const taken = this.list;
    this.list = [];
    this.heldBytes = 0;
    this.#key = -1;
    this.#bytes = EMPTY;
    this.#start = 0;
    this.#end = 0;
    taken.reverse();
    while (taken.length > 0) yield taken.pop()!;
  }

  #follows({ bytes, count }: RecordBatch): boolean {
    const layout = this.#layout;
    const view = viewOf(bytes);
    let [key, before, start, end] = [this.#key, this.#bytes, this.#start, this.#end];
    for (let i = 0, at = 0; i < count; i++) {
      const nextKey = firstKey(layout, view, at);
      const next = at + layout.size(view, at);
      if (nextKey < key) return false;
      if (nextKey === key && compareRecords(layout, before, start, end, bytes, at, next) > 0) return false;
      [key, before, start, end] = [nextKey, bytes, at, next];
      at = next;
    }
    [this.#key, this.#start, this.#end] = [key, start, end];
    return true;
  }
}

const EMPTY = Buffer.alloc(0);

/** A number in the order of the first numbers of records; equal ones may stand for different numbers. */
function firstKey({ first }: RecordLayout, view: DataView, at: number): number {
  if (first === undefined) return 0;
  const high = view.getUint32(at);
  return first.isNarrow ? high : high * 0x1_0000_0000 + view.getUint32(at + 4);
}

function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}

/** What batches are made in, by whoever makes many. */
const BATCH_CAPACITY = BATCH_BYTES + 65536;

/** Gives memory back at once: the collector, which does not see how much hangs on a buffer, would take its time. */
export function discard(bytes: Buffer): void {
  const { buffer } = bytes;
  if (buffer.byteLength === BATCH_CAPACITY && tryRecycle(bytes)) return;
  const isOwn = bytes.byteOffset === 0 && buffer.byteLength >= BATCH_BYTES; // a small one may be of a shared pool
  if (isOwn) (buffer as unknown as { transfer(bytes: number): unknown }).transfer(0);
}
