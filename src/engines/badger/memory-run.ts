import { ByteWriter, copyBytes, viewOf } from "../../base/bytes.ts";
import { BlockStore } from "../../tree/block-store.ts";
import { MemoryBudget } from "../../tree/memory-budget.ts";
import { SpillFile } from "../../tree/spill-file.ts";
import { compareKeys, EMPTY, EntryCursor, META_TRANSACTION_END, VERSION_BYTES } from "./entry.ts";
import { LogReader } from "./log-reader.ts";
import { PairSorter } from "./pair-sorter.ts";
import type { LogPart } from "./salvage-log.ts";

/** The value of a pair in a run: version (8 bytes), meta (1), expiresAt (8, a double), value. */
const HEAD_BYTES = VERSION_BYTES + 9;

/** Pairs are read in pieces of about this size. */
const PIECE_BYTES = 4096;

/** Memory for all logs of a directory together; what does not fit goes to a nameless temporary file. */
const SORT_BYTES = 32 * 1024 * 1024;
const STORE_BYTES = 16 * 1024 * 1024;

/** A memtable log, and where what counts in it ends. */
export interface MeasuredLog {
  readonly path: string;
  readonly end: number;
  /** Of a damaged one: the parts that count, ascending. */
  readonly parts?: readonly LogPart[];
}

/** What stands in the memtable logs, sorted by key, of each key the newest version. */
export class MemoryRun {
  readonly #spill: SpillFile;
  readonly #budget = new MemoryBudget(STORE_BYTES);
  readonly #store: BlockStore;
  readonly #keys = new ByteWriter(1024);
  /** Per piece: where its first key begins in `#keys`, the size of that key, where the piece stands in the store. */
  readonly #marks: number[] = [];
  readonly #sizes: Buffer = Buffer.alloc(8);

  private constructor(tmpDir: string) {
    this.#spill = new SpillFile(tmpDir);
    this.#store = new BlockStore(this.#budget, this.#spill, STORE_BYTES);
  }

  /** Reads the logs, the oldest first. Throws `DataError`, `FileError`; hears an abort between two logs. */
  static build(logs: readonly MeasuredLog[], tmpDir: string, signal: AbortSignal): MemoryRun {
    const run = new MemoryRun(tmpDir);
    const sorter = new PairSorter({ maxBytes: SORT_BYTES, tmpDir, rankBytes: VERSION_BYTES });
    try {
      for (const log of logs) {
        signal.throwIfAborted();
        addLog(sorter, log);
      }
      while (sorter.next()) run.#add(sorter);
      return run;
    } catch (error) {
      run.close();
      throw error;
    } finally {
      sorter.close();
    }
  }

  get pieceCount(): number {
    return this.#marks.length / 3;
  }

  /** The last piece that begins with a key before `key`, or the first one. */
  pieceFor(key: Uint8Array): number {
    let low = 0;
    let high = this.pieceCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const [at, size] = [this.#marks[middle * 3]!, this.#marks[middle * 3 + 1]!];
      if (compareKeys(this.#keys.buffer, at, size, key, 0, key.length) < 0) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  /** Bytes of a piece. */
  sizeOf(piece: number): number {
    return (this.#marks[piece * 3 + 5] ?? this.#store.length) - this.#marks[piece * 3 + 2]!;
  }

  /** Copies a piece to the beginning of `target`. */
  read(piece: number, target: Buffer): void {
    this.#store.read(this.#marks[piece * 3 + 2]!, target, this.sizeOf(piece));
  }

  close(): void {
    this.#budget.close();
    this.#spill.close();
  }

  #add(sorter: PairSorter): void {
    const { bytes, keyStart, valueStart, valueEnd } = sorter;
    const start = this.#marks.at(-1);
    if (start === undefined || this.#store.length - start >= PIECE_BYTES) {
      this.#marks.push(this.#keys.length, valueStart - keyStart, this.#store.length);
      this.#keys.writeSlice(bytes, keyStart, valueStart);
    }
    this.#sizes.writeUInt32BE(valueStart - keyStart, 0);
    this.#sizes.writeUInt32BE(valueEnd - valueStart, 4);
    this.#store.append(this.#sizes, 0, 8);
    this.#store.append(bytes, keyStart, valueEnd);
  }
}

function addLog(sorter: PairSorter, { path, end, parts }: MeasuredLog): void {
  if (parts?.length === 0) return;
  const reader = LogReader.open(path);
  try {
    for (const part of parts ?? [{ start: reader.offset, end }]) addPart(sorter, reader, part);
  } finally {
    reader.close();
  }
}

function addPart(sorter: PairSorter, reader: LogReader, { start, end }: LogPart): void {
  const { record } = reader;
  reader.offset = start;
  while (reader.offset < end && reader.next()) {
    if (record.meta & META_TRANSACTION_END) continue;
    const { keyStart, keySize, valueStart, valueEnd } = record;
    const key = sorter.reserve(keySize, HEAD_BYTES + valueEnd - valueStart);
    const { view } = reader;
    const target = sorter.view;
    copyBytes(view, keyStart, valueStart, target, key); // the version stands behind the key, here as there
    const meta = key + keySize + VERSION_BYTES;
    target.setUint8(meta, record.meta);
    target.setFloat64(meta + 1, record.expiresAt);
    copyBytes(view, valueStart, valueEnd, target, meta + 9);
  }
}

/** Entries of the logs from `start` on. */
export class MemoryCursor extends EntryCursor {
  readonly #run: MemoryRun;
  readonly #start: Uint8Array;
  #piece: number;
  #at = 0;
  #end = 0;
  #isPlaced = false;

  constructor(run: MemoryRun, start: Uint8Array) {
    super();
    this.#run = run;
    this.#start = start;
    this.#piece = run.pieceFor(start);
  }

  override next(): boolean {
    if (this.#isPlaced) return this.#advance();
    this.#isPlaced = true;
    while (this.#advance()) {
      if (compareKeys(this.key, this.keyStart, this.keySize, this.#start, 0, this.#start.length) >= 0) return true;
    }
    return false;
  }

  override close(): void {
    this.source = EMPTY;
  }

  override place(): { path: string; offset: number } {
    return { path: "a .mem file", offset: 0 };
  }

  #advance(): boolean {
    if (this.#at === this.#end && !this.#readPiece()) return false;
    const view = this.sourceView;
    this.keySize = view.getUint32(this.#at);
    this.keyStart = this.#at + 8;
    const value = this.keyStart + this.keySize;
    const end = value + view.getUint32(this.#at + 4);
    this.meta = view.getUint8(value + VERSION_BYTES);
    this.expiresAt = view.getFloat64(value + VERSION_BYTES + 1);
    this.valueStart = value + HEAD_BYTES;
    this.valueEnd = end;
    this.#at = end;
    return true;
  }

  #readPiece(): boolean {
    if (this.#piece === this.#run.pieceCount) return false;
    const size = this.#run.sizeOf(this.#piece);
    if (this.source.length < size) {
      this.source = Buffer.allocUnsafe(Math.max(size, PIECE_BYTES * 2));
      this.sourceView = viewOf(this.source);
    }
    this.#run.read(this.#piece++, this.source);
    this.key = this.source;
    this.keyView = this.sourceView;
    this.#at = 0;
    this.#end = size;
    return true;
  }
}
