import { viewOf } from "../../base/bytes.ts";
import { RunMerger, type RunStore, RunWriter } from "../../tree/run-merger.ts";
import { SpillFile } from "../../tree/spill-file.ts";
import { compareKeys, EMPTY } from "./entry.ts";
import { PairOrder, readUint32 } from "./pair-order.ts";
import { RunIndex } from "./run-index.ts";

export interface PairSorterOptions {
  /** Ceiling of memory, about. */
  readonly maxBytes: number;
  /** Directory of the nameless temporary file for what does not fit below it. */
  readonly tmpDir: string;
  /** Gives files for that instead. */
  readonly keeper?: RunKeeper | undefined;
  /** Bytes at the beginning of each value by which pairs of one key are ordered, the smallest first: 0 or 8. */
  readonly rankBytes: number;
}

/** Where runs stay. */
export interface RunKeeper {
  /** A file for one run, which is appended to it. */
  begin(): RunStore;
  /** The pairs of a run stand in another one now. */
  drop(run: RunStore): void;
  /** Gives what is open back. */
  close(): void;
}

/** A run that another sorter can go on with. */
export interface KeptRun {
  readonly store: RunStore;
  /** How often its pairs were merged: runs of a higher tier come before those of a lower one. */
  readonly tier: number;
}

interface Run extends KeptRun {
  readonly begin: number;
  readonly end: number;
  /** Made when a key is looked for, where the run was not written by this sorter. */
  index: RunIndex | undefined;
}

const MIN_PIECE_BYTES = 1024 * 1024;
/** Ordinals of the pairs in a piece have 26 bits. */
const MAX_PIECE_BYTES = 512 * 1024 * 1024;
/** So many runs of one tier become one of the next: there are never many, and no pair is merged often, however small runs are. */
const TIER_RUNS = 64;

/**
 * Sorts pairs (u32 size of the key, u32 size of the value, both big-endian, key, value) by key, and keeps one pair of each key:
 * that with the smallest rank, of those the one that came last. In memory, or through runs in files, whose records are
 *
 *   u32 size   u32 keySize   u32 2^32 - 1 - number of the piece   key   value
 */
export class PairSorter {
  /** The pair at hand: the key is `bytes[keyStart..valueStart)`, the value `bytes[valueStart..valueEnd)`. */
  bytes: Buffer = EMPTY;
  keyStart = 0;
  valueStart = 0;
  valueEnd = 0;
  /** `buffer` for numbers. */
  view: DataView = viewOf(EMPTY);
  readonly #options: PairSorterOptions;
  readonly #pieceBytes: number;
  readonly #keeper: RunKeeper;
  readonly #order: PairOrder;
  #piece: Buffer = EMPTY;
  #used = 0;
  #pieces = 0;
  /** The oldest first. */
  readonly #runs: Run[] = [];
  #merger: RunMerger | undefined;
  #position = 0;
  #isReading = false;
  #last: Buffer = Buffer.allocUnsafe(256);
  #lastSize = -1;

  constructor(options: PairSorterOptions) {
    this.#options = options;
    // beside the piece there are 16 bytes for each pair while it is sorted, and the windows of the runs
    this.#pieceBytes = Math.min(MAX_PIECE_BYTES, Math.max(MIN_PIECE_BYTES, Math.floor(options.maxBytes * 0.7)));
    this.#keeper = options.keeper ?? new SpillKeeper(options.tmpDir);
    this.#order = new PairOrder(options.rankBytes);
  }

  /** Copies whole pairs. */
  add(pairs: Buffer): void {
    if (pairs.length > this.#pieceBytes) {
      this.#addOneByOne(pairs);
      return;
    }
    const at = this.#reserve(pairs.length);
    pairs.copy(this.#piece, at);
  }

  /** Room for one pair in `buffer`, whose sizes are written there; returns where its key begins. */
  reserve(keySize: number, valueSize: number): number {
    const at = this.#reserve(8 + keySize + valueSize);
    this.view.setUint32(at, keySize);
    this.view.setUint32(at + 4, valueSize);
    return at + 8;
  }

  get buffer(): Buffer {
    return this.#piece;
  }

  /** The values of keys as they are now, undefined for those that are not there. Without ranks only. */
  find(keys: readonly Uint8Array[]): (Buffer | undefined)[] {
    return keys.map((key) => {
      const value = this.#order.find(this.#piece.subarray(0, this.#used), key);
      if (value !== undefined) return value;
      for (let i = this.#runs.length - 1; i >= 0; i--) {
        const run = this.#runs[i]!;
        run.index ??= this.#indexOf(run);
        const found = run.index.find(run.store, key);
        if (found !== undefined) return found;
      }
      return undefined;
    });
  }

  /** Goes on with the runs of another sorter, which has written so many pieces of memory. */
  restore(runs: readonly KeptRun[], pieces: number): void {
    this.#runs.push(...runs.map((run): Run => ({ ...run, begin: 0, end: run.store.length, index: undefined })));
    this.#pieces = pieces;
  }

  /** Writes all that is in memory to runs, and says what another sorter needs to go on. */
  flush(): { readonly runs: readonly KeptRun[]; readonly pieces: number } {
    if (this.#used > 0) this.#writeRun();
    return { runs: this.#runs.map(({ store, tier }) => ({ store, tier })), pieces: this.#pieces };
  }

  /** Goes on to the next pair; false at the end. After the first call nothing may be added. */
  next(): boolean {
    if (!this.#isReading) this.#startReading();
    while (this.#advance()) {
      const size = this.valueStart - this.keyStart;
      const { bytes, keyStart } = this;
      if (compareKeys(bytes, keyStart, size, this.#last, 0, Math.max(0, this.#lastSize)) === 0 && this.#lastSize >= 0) {
        continue;
      }
      if (size > this.#last.length) this.#last = Buffer.allocUnsafe(size * 2);
      for (let i = 0; i < size; i++) this.#last[i] = bytes[keyStart + i]!;
      this.#lastSize = size;
      return true;
    }
    return false;
  }

  /** Gives memory and files back. */
  close(): void {
    this.#dropPiece();
    this.#used = 0;
    this.#keeper.close();
  }

  #dropPiece(): void {
    this.#piece = EMPTY;
    this.view = viewOf(EMPTY);
  }

  #addOneByOne(pairs: Buffer): void {
    for (let at = 0; at < pairs.length; ) {
      const size = 8 + pairs.readUInt32BE(at) + pairs.readUInt32BE(at + 4);
      const to = this.#reserve(size); // before the piece is named: this may bring another one
      pairs.copy(this.#piece, to, at, at + size);
      at += size;
    }
  }

  #reserve(size: number): number {
    if (this.#used + size > this.#piece.length) this.#makeRoom(size);
    const at = this.#used;
    this.#used += size;
    return at;
  }

  #makeRoom(size: number): void {
    if (this.#piece.length === 0) {
      // memory that is never written to costs nothing, so there is no need to grow
      this.#takePiece(Math.max(this.#pieceBytes, size));
      return;
    }
    this.#writeRun();
    if (size > this.#piece.length) this.#takePiece(size);
  }

  #takePiece(size: number): void {
    this.#piece = Buffer.allocUnsafeSlow(size);
    this.view = viewOf(this.#piece);
  }

  #writeRun(): void {
    const piece = this.#piece.subarray(0, this.#used);
    const number = 0xffff_ffff - this.#pieces++;
    const store = this.#keeper.begin();
    const writer = new RunWriter(store);
    const index = new RunIndex(store.length);
    for (const at of this.#order.sort(piece)) {
      const keySize = readUint32(piece, at);
      const end = at + 8 + keySize + readUint32(piece, at + 4);
      piece.writeUInt32BE(number, at + 4);
      index.add(piece, at + 8, keySize, 4 + end - at);
      writer.add(piece, at, end);
    }
    const { begin, end } = writer.end();
    index.end = end;
    this.#runs.push({ store, tier: 0, begin, end, index });
    this.#used = 0;
    this.#order.reset();
    for (let tier = 0; this.#countOf(tier) >= TIER_RUNS; tier++) this.#mergeRuns(tier);
  }

  #countOf(tier: number): number {
    return this.#runs.reduce((count, run) => (run.tier === tier ? count + 1 : count), 0);
  }

  /** Makes one run of all of a tier, which are the last ones. */
  #mergeRuns(tier: number): void {
    const merged = this.#runs.splice(this.#runs.length - this.#countOf(tier));
    const merger = this.#openMerger(merged);
    const store = this.#keeper.begin();
    const writer = new RunWriter(store);
    const index = new RunIndex(store.length);
    while (merger.next()) {
      const { bytes, start } = merger;
      const size = bytes.readUInt32BE(start);
      index.add(bytes, start + 12, bytes.readUInt32BE(start + 4), size);
      writer.add(bytes, start + 4, start + size);
    }
    const { begin, end } = writer.end();
    index.end = end;
    this.#runs.push({ store, tier: tier + 1, begin, end, index });
    for (const run of merged) this.#keeper.drop(run.store);
  }

  #indexOf(run: Run): RunIndex {
    const merger = this.#openMerger([run]);
    const index = new RunIndex(run.begin);
    while (merger.next()) {
      const { bytes, start } = merger;
      index.add(bytes, start + 12, readUint32(bytes, start + 4), readUint32(bytes, start));
    }
    index.end = run.end;
    return index;
  }

  #openMerger(runs: readonly Run[]): RunMerger {
    const { rankBytes } = this.#options;
    const merger = new RunMerger(runs[0]!.store, (a, aStart, b, bStart) => {
      const [aSize, bSize] = [readUint32(a, aStart + 4), readUint32(b, bStart + 4)];
      const order = compareKeys(a, aStart + 12, aSize, b, bStart + 12, bSize);
      if (order !== 0) return order;
      if (rankBytes > 0) {
        const [aRank, bRank] = [aStart + 12 + aSize, bStart + 12 + bSize];
        const ranks = compareKeys(a, aRank, rankBytes, b, bRank, rankBytes);
        if (ranks !== 0) return ranks;
      }
      return readUint32(a, aStart + 8) - readUint32(b, bStart + 8);
    });
    for (const { begin, end, store } of runs) merger.addPlace({ begin, end }, store);
    return merger;
  }

  #startReading(): void {
    this.#isReading = true;
    if (this.#runs.length === 0) return;
    if (this.#used > 0) this.#writeRun();
    this.#dropPiece();
    this.#merger = this.#openMerger(this.#runs);
  }

  #advance(): boolean {
    const merger = this.#merger;
    if (merger !== undefined) {
      if (!merger.next()) return false;
      this.bytes = merger.bytes;
      this.keyStart = merger.start + 12;
      this.valueStart = this.keyStart + readUint32(merger.bytes, merger.start + 4);
      this.valueEnd = merger.start + readUint32(merger.bytes, merger.start);
      return true;
    }
    const order = this.#order.sort(this.#piece.subarray(0, this.#used));
    if (this.#position === order.length) return false;
    const at = order[this.#position++]!;
    this.bytes = this.#piece;
    this.keyStart = at + 8;
    this.valueStart = this.keyStart + readUint32(this.#piece, at);
    this.valueEnd = this.valueStart + readUint32(this.#piece, at + 4);
    return true;
  }
}

/** All runs in one nameless file. */
class SpillKeeper implements RunKeeper {
  readonly #spill: SpillFile;

  constructor(directory: string) {
    this.#spill = new SpillFile(directory);
  }

  begin(): RunStore {
    return this.#spill;
  }

  drop(): void {
    // Its place is lost until the file goes.
  }

  close(): void {
    this.#spill.close();
  }
}
