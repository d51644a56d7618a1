import type { CompareRecords } from "./piece-sorter.ts";

/** Bytes of a run that are read at a time. */
const WINDOW_BYTES = 256 * 1024;

/** A file for runs, which are appended to it. Offsets are in bytes from its beginning. Both throw `FileError`. */
export interface RunStore {
  readonly length: number;
  append(bytes: Buffer, start: number, end: number): number;
  read(offset: number, target: Buffer, start: number, end: number): void;
}

/** A sorted run in a file and the part of it that is in memory. */
interface RunCursor {
  readonly store: RunStore;
  next: number;
  readonly end: number;
  window: Buffer;
  at: number;
  filled: number;
}

/** Where a run stands in its file. */
export interface RunPlace {
  readonly begin: number;
  readonly end: number;
}

/** Writes one run, whose records are given in order. Nothing else may be written to the file meanwhile. */
export class RunWriter {
  readonly #store: RunStore;
  readonly #begin: number;
  readonly #buffer: Buffer = Buffer.allocUnsafe(WINDOW_BYTES);
  #used = 0;

  constructor(store: RunStore) {
    this.#store = store;
    this.#begin = store.length;
  }

  /** Adds the record `bytes[start..end)`; its size is written before it. */
  add(bytes: Buffer, start: number, end: number): void {
    const size = 4 + end - start;
    if (this.#used + size > WINDOW_BYTES) this.#flush();
    this.#buffer.writeUInt32BE(size, this.#used);
    this.#used += 4;
    if (size > WINDOW_BYTES) {
      this.#flush();
      this.#store.append(bytes, start, end);
    } else {
      bytes.copy(this.#buffer, this.#used, start, end);
      this.#used += end - start;
    }
  }

  end(): RunPlace {
    this.#flush();
    return { begin: this.#begin, end: this.#store.length };
  }

  #flush(): void {
    this.#store.append(this.#buffer, 0, this.#used);
    this.#used = 0;
  }
}

/**
 * Merges sorted runs of records (u32 size, big-endian, first) that are too large to be sorted at once. Memory: one window
 * per run.
 */
export class RunMerger {
  readonly #spill: RunStore;
  readonly #compare: CompareRecords;
  readonly #runs: RunCursor[] = [];

  constructor(spill: RunStore, compare: CompareRecords) {
    this.#spill = spill;
    this.#compare = compare;
  }

  /** Writes a piece as one run, in the given order of its records. */
  addRun(piece: Buffer, order: Uint32Array): void {
    const writer = new RunWriter(this.#spill);
    for (const start of order) writer.add(piece, start + 4, start + piece.readUInt32BE(start));
    this.addPlace(writer.end());
  }

  /** Adds a run that was written before, also to another file; it can be read by any number of mergers. */
  addPlace({ begin, end }: RunPlace, store: RunStore = this.#spill): void {
    this.#runs.push({ store, next: begin, end, window: Buffer.alloc(0), at: 0, filled: 0 });
  }

  /**
   * Goes on to the next record of all runs in order, which then stands at `bytes[start..)` until the next call; false at the
   * end.
   */
  next(): boolean {
    const heap = this.#heap ?? this.#open();
    const run = heap[0];
    if (run === undefined) return false;
    if (this.#taken) {
      run.at += run.window.readUInt32BE(run.at);
      if (!this.#fill(run)) {
        const last = heap.pop()!;
        if (heap.length === 0) return false;
        if (last !== run) heap[0] = last;
      }
      this.#sink(heap, 0);
    }
    this.#taken = true;
    this.bytes = heap[0]!.window;
    this.start = heap[0]!.at;
    return true;
  }

  /** The record at hand. */
  bytes: Buffer = Buffer.alloc(0);
  start = 0;
  #heap: RunCursor[] | undefined;
  #taken = false;

  #open(): RunCursor[] {
    const heap = this.#runs.filter((run) => this.#fill(run));
    this.#heap = heap;
    for (let i = (heap.length >> 1) - 1; i >= 0; i--) this.#sink(heap, i);
    return heap;
  }

  /** Makes the record at `run.at` complete in memory; false at the end of the run. */
  #fill(run: RunCursor): boolean {
    const held = run.filled - run.at;
    if (held >= 4 && held >= run.window.readUInt32BE(run.at)) return true;
    if (held === 0 && run.next === run.end) return false;
    const needed = held >= 4 ? run.window.readUInt32BE(run.at) : 0;
    const size = Math.max(WINDOW_BYTES, needed);
    const window =
      run.window.length >= size && run.window.length <= WINDOW_BYTES ? run.window : Buffer.allocUnsafe(size);
    run.window.copy(window, 0, run.at, run.filled);
    const count = Math.min(size - held, run.end - run.next);
    run.store.read(run.next, window, held, held + count);
    run.next += count;
    run.window = window;
    run.at = 0;
    run.filled = held + count;
    return this.#fill(run);
  }

  #sink(heap: RunCursor[], from: number): void {
    let i = from;
    const run = heap[i]!;
    for (;;) {
      let child = i * 2 + 1;
      if (child >= heap.length) break;
      const right = heap[child + 1];
      if (right !== undefined && this.#less(right, heap[child]!)) child++;
      if (!this.#less(heap[child]!, run)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = run;
  }

  #less(a: RunCursor, b: RunCursor): boolean {
    return this.#compare(a.window, a.at, b.window, b.at) < 0;
  }
}
