import { type ByteWriter, copyBytes, viewOf } from "../../base/bytes.ts";
import { damagedFile, unsupportedFile } from "./badger-errors.ts";
import { type Damage, isDamage } from "./damage.ts";
import {
  compareKeys,
  compareKeyViews,
  type EntryCursor,
  INTERNAL_PREFIX,
  META_DELETED,
  META_MERGE,
  META_VALUE_POINTER,
  VERSION_BYTES,
} from "./entry.ts";
import type { ValueLog } from "./value-log.ts";

/**
 * What is alive in several walks at once: of each key its newest version, unless that is a deletion or has expired. A binary
 * heap by key and version.
 */
export class MergedEntries {
  readonly #heap: EntryCursor[];
  readonly #all: readonly EntryCursor[];
  readonly #valueLog: ValueLog;
  readonly #end: DataView;
  readonly #now: number;
  readonly #damage: Damage | undefined;
  #last: DataView = viewOf(Buffer.allocUnsafe(256));
  #lastSize = -1;

  /** Keys from `end` on do not count (empty: all do); `now` in Unix seconds. Takes the cursors over. With `damage`, what is lost goes there. */
  constructor(cursors: readonly EntryCursor[], valueLog: ValueLog, end: Uint8Array, now: number, damage?: Damage) {
    this.#damage = damage;
    this.#all = cursors;
    this.#valueLog = valueLog;
    this.#end = viewOf(end);
    this.#now = now;
    this.#heap = cursors.filter((cursor) => cursor.next());
    for (let i = (this.#heap.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  /**
   * Appends pairs (u32 size of the key, u32 size of the value, key, value) until about `bytes` are written; returns their number,
   * 0 at the end.
   */
  fill(writer: ByteWriter, bytes: number): number {
    let count = 0;
    while (writer.length < bytes) {
      const entry = this.#heap[0];
      if (entry === undefined || this.#isBehind(entry)) break;
      if (this.#isNewKey(entry) && this.#isAlive(entry) && this.#write(writer, entry)) count++;
      this.#advance(entry);
    }
    return count;
  }

  close(): void {
    this.#heap.length = 0;
    for (const cursor of this.#all) cursor.close();
  }

  #isBehind({ keyView, keyStart, keySize }: EntryCursor): boolean {
    const end = this.#end;
    return end.byteLength > 0 && compareKeyViews(keyView, keyStart, keySize, end, 0, end.byteLength) >= 0;
  }

  /** False for an older version of the key before. */
  #isNewKey(entry: EntryCursor): boolean {
    const { keyView, keyStart, keySize } = entry;
    if (this.#lastSize >= 0) {
      const order = compareKeyViews(keyView, keyStart, keySize, this.#last, 0, this.#lastSize);
      if (order === 0) return false;
      if (order < 0) {
        const { path, offset } = entry.place();
        const failure = damagedFile(path, offset, "its keys are not in order");
        if (this.#damage === undefined) throw failure;
        this.#damage.lost(`${failure.message}: some of them were left out`);
        return false;
      }
    }
    if (keySize > this.#last.byteLength) this.#last = viewOf(Buffer.allocUnsafe(keySize * 2));
    copyBytes(keyView, keyStart, keyStart + keySize, this.#last, 0);
    this.#lastSize = keySize;
    return true;
  }

  #isAlive({ meta, expiresAt, key, keyStart, keySize }: EntryCursor): boolean {
    if ((meta & META_DELETED) !== 0) return false;
    if (expiresAt !== 0 && expiresAt <= this.#now) return false;
    if (key[keyStart] !== INTERNAL_PREFIX[0]) return true;
    const size = INTERNAL_PREFIX.length;
    return compareKeys(key, keyStart, Math.min(size, keySize), INTERNAL_PREFIX, 0, size) !== 0;
  }

  /** False when the value is lost. */
  #write(writer: ByteWriter, entry: EntryCursor): boolean {
    const { keyView, keyStart, keySize, meta } = entry;
    let { sourceView: source, valueStart, valueEnd } = entry;
    if ((meta & (META_VALUE_POINTER | META_MERGE)) !== 0) {
      const value = this.#readValue(entry);
      if (value === undefined) return false;
      source = viewOf(value);
      valueStart = 0;
      valueEnd = source.byteLength;
    }
    const valueSize = valueEnd - valueStart;
    const at = writer.reserve(8 + keySize + valueSize);
    const { view } = writer;
    view.setUint32(at, keySize);
    view.setUint32(at + 4, valueSize);
    const keyAt = at + 8;
    copyBytes(keyView, keyStart, keyStart + keySize, view, keyAt);
    const valueAt = keyAt + keySize;
    copyBytes(source, valueStart, valueEnd, view, valueAt);
    writer.length = valueAt + valueSize;
    return true;
  }

  #readValue(entry: EntryCursor): Buffer | undefined {
    try {
      if ((entry.meta & META_MERGE) !== 0) throw unsupportedFile(entry.place().path, "it has merge entries");
      return this.#valueLog.read(entry);
    } catch (error) {
      if (this.#damage === undefined || !isDamage(error)) throw error;
      const { key, keyStart, keySize } = entry;
      this.#damage.lostValue(Buffer.from(key.subarray(keyStart, keyStart + keySize)), error.message);
      return undefined;
    }
  }

  #advance(entry: EntryCursor): void {
    if (!entry.next()) {
      const last = this.#heap.pop()!;
      if (this.#heap.length === 0) return;
      if (last !== entry) this.#heap[0] = last;
    }
    if (this.#heap.length > 1) this.#sink(0);
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const cursor = heap[from]!;
    let i = from;
    for (;;) {
      let child = i * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, cursor)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = cursor;
  }
}

/** Order of the heap: by key, the newest version first. */
function isBefore(a: EntryCursor, b: EntryCursor): boolean {
  const order = compareKeyViews(a.keyView, a.keyStart, a.keySize, b.keyView, b.keyStart, b.keySize);
  if (order !== 0) return order < 0;
  const [aVersion, bVersion] = [a.keyStart + a.keySize, b.keyStart + b.keySize];
  return compareKeyViews(a.keyView, aVersion, VERSION_BYTES, b.keyView, bVersion, VERSION_BYTES) < 0;
}
