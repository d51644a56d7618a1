import { viewOf } from "../../base/bytes.ts";
import { damagedFile } from "./badger-errors.ts";
import { BlockDecoder } from "./block-decoder.ts";
import { type Damage, keyRange } from "./damage.ts";
import { compareKeys, compareWholeKeys, EMPTY, EntryCursor, VERSION_BYTES } from "./entry.ts";
import { readExactly } from "./read-file.ts";
import type { OpenTable, TableFiles, TableSummary } from "./table-files.ts";
import { readUvarint, uvarintSize } from "./uvarint.ts";

/** Blocks that stand next to each other are read together, one first and then more and more, up to so many bytes. */
const MAX_READ_BYTES = 256 * 1024;
/** Keys are copied in words of eight bytes, also beyond their ends. */
const KEY_ROOM = 8;

/**
 * Entries of tables that do not overlap, in the order of their keys: all those of one level, or a single one. One of them is open
 * at a time. Begins at the first key that is not before `start`, and need not go on at `end` (empty: no end).
 */
export class TableCursor extends EntryCursor {
  readonly #files: TableFiles;
  readonly #tables: readonly TableSummary[];
  readonly #start: Uint8Array;
  readonly #end: Uint8Array;
  readonly #damage: Damage | undefined;
  /** The next table to open. */
  #next: number;
  #table: TableSummary | undefined;
  #open: OpenTable | undefined;
  #decoder: BlockDecoder | undefined;
  /** Blocks from `#block` on, up to `#lastBlock`, are still to come. */
  #block = 0;
  #lastBlock = -1;
  #blockOffset = 0;
  /** What was read ahead: the blocks below `#readBlock`, from `#stored[#storedAt]` on. */
  #stored: Buffer = EMPTY;
  #storedAt = 0;
  #readBlock = 0;
  #readBytes = 0;
  #entry = 0;
  #entryStart = 0;
  #overlap = 0;
  #baseSize = 0;
  #isPlaced = false;

  /** With `damage`, blocks that cannot be read are skipped. */
  constructor(files: TableFiles, tables: readonly TableSummary[], start: Uint8Array, end: Uint8Array, damage?: Damage) {
    super();
    this.#damage = damage;
    this.#files = files;
    this.#tables = tables;
    this.#start = start;
    this.#end = end;
    this.#takeKey(Buffer.allocUnsafe(256));
    this.#next = Math.max(0, lastBefore(tables, start));
  }

  override next(): boolean {
    if (this.#isPlaced) return this.#advance();
    this.#isPlaced = true;
    while (this.#advance()) {
      if (compareKeys(this.key, 0, this.keySize, this.#start, 0, this.#start.length) >= 0) return true;
    }
    return false;
  }

  override close(): void {
    if (this.#table !== undefined) this.#files.release(this.#table);
    this.#table = undefined;
    this.#lastBlock = -1;
    this.#next = this.#tables.length;
  }

  override place(): { path: string; offset: number } {
    return { path: this.#open?.path ?? "", offset: this.#blockOffset };
  }

  #advance(): boolean {
    for (;;) {
      while (this.#decoder === undefined || this.#entry === this.#decoder.entryCount) {
        if (!this.#nextBlock()) return false;
      }
      if (this.#damage === undefined) {
        this.#readEntry(this.#decoder);
        return true;
      }
      const decoder = this.#decoder;
      const isGood = this.#damage.during(
        () => this.#readEntry(decoder),
        () => "the rest of the block is lost",
      );
      if (isGood) return true;
      this.#entry = decoder.entryCount;
    }
  }

  #nextBlock(): boolean {
    for (;;) {
      while (this.#block > this.#lastBlock) if (!this.#nextTable()) return false;
      if (this.#damage === undefined) {
        this.#loadBlock();
        return true;
      }
      const block = this.#block;
      const { index } = this.#open!;
      const isGood = this.#damage.during(
        () => this.#loadBlock(),
        () => keyRange(index.firstKey(block), block + 1 < index.blockCount ? index.firstKey(block + 1) : undefined),
      );
      if (isGood) return true;
      this.#entry = this.#decoder!.entryCount; // nothing of it
      if (this.#block > block) continue;
      // not even read: the next one begins with itself
      this.#block = block + 1;
      this.#readBlock = this.#block;
    }
  }

  #loadBlock(): void {
    const { index } = this.#open!;
    if (this.#block >= this.#readBlock) this.#readAhead();
    const size = index.size(this.#block);
    this.#blockOffset = index.offset(this.#block);
    const start = this.#storedAt;
    this.#storedAt += size;
    this.#block++;
    this.#decoder!.decode(this.#stored, start, start + size, this.#blockOffset);
    this.#entry = 0;
    this.#entryStart = 0;
    this.#overlap = 0;
    this.source = this.#decoder!.bytes;
    this.sourceView = this.#decoder!.view;
  }

  #nextTable(): boolean {
    if (this.#table !== undefined) this.#files.release(this.#table);
    this.#table = undefined;
    const table = this.#tables[this.#next];
    if (table === undefined || this.#isBehind(table.firstKey)) return false;
    this.#open = this.#files.acquire(table);
    this.#table = table;
    this.#decoder = new BlockDecoder(table.path, table.compression);
    const { index } = this.#open;
    this.#next++;
    this.#block = Math.max(0, index.lastBefore(this.#start));
    this.#lastBlock = this.#end.length === 0 ? index.blockCount - 1 : index.lastBefore(this.#end);
    this.#readBlock = this.#block;
    this.#readBytes = 0;
    return true;
  }

  #isBehind(key: Uint8Array): boolean {
    return this.#end.length > 0 && compareWholeKeys(key, this.#end) >= 0;
  }

  #readAhead(): void {
    const { index, descriptor, path } = this.#open!;
    const offset = index.offset(this.#block);
    let size = 0;
    let block = this.#block;
    while (block <= this.#lastBlock && index.offset(block) === offset + size) {
      if (block > this.#block && size + index.size(block) > this.#readBytes) break;
      size += index.size(block++);
    }
    if (this.#stored.length < size) this.#stored = Buffer.allocUnsafeSlow(size);
    readExactly(descriptor, path, offset, this.#stored, 0, size);
    this.#storedAt = 0;
    this.#readBlock = block;
    this.#readBytes = Math.min(MAX_READ_BYTES, Math.max(size, 4096) * 2);
  }

  /** Entry: overlap u16 LE, size u16 LE, rest of the key, meta, userMeta, expiresAt, value (docs/spec/kv-stores.md §3.5). */
  #readEntry(decoder: BlockDecoder): void {
    const { bytes, view, entriesEnd } = decoder;
    const start = this.#entryStart;
    const index = ++this.#entry;
    const end = index === decoder.entryCount ? entriesEnd : view.getUint32(entriesEnd + index * 4, true);
    if (end > entriesEnd || end < start + 4) throw this.#damaged("an entry has no room for its head");
    const overlap = view.getUint16(start, true);
    const rest = view.getUint16(start + 2, true);
    const size = overlap + rest;
    let at = start + 4 + rest;
    if (index === 1) this.#baseSize = size;
    if (at + 3 > end || size <= VERSION_BYTES || overlap > (index === 1 ? 0 : this.#baseSize)) {
      throw this.#damaged("the sizes of a key do not fit its entry");
    }
    if (size + KEY_ROOM > this.key.length) this.#growKey(size + KEY_ROOM);
    const { key, keyView } = this;
    // keys are cut against the first one of the block, which begins behind the first head
    for (let i = this.#overlap; i < overlap; i++) key[i] = bytes[4 + i]!;
    // whole words, also beyond the end of the key: there are at least eleven more bytes in the block, and room in the target
    const from = start + 4 - overlap;
    for (let i = overlap; i < size; i += 8) keyView.setBigInt64(i, view.getBigInt64(from + i));
    this.#overlap = overlap;
    this.keySize = size - VERSION_BYTES;
    this.meta = bytes[at]!;
    if (bytes[at + 2] === 0) {
      this.expiresAt = 0;
      at += 3;
    } else {
      const digits = uvarintSize(bytes, at + 2, end);
      if (digits === 0) throw this.#damaged("the time at which a key expires does not end");
      this.expiresAt = readUvarint(bytes, at + 2, digits);
      at += 2 + digits;
    }
    this.valueStart = at;
    this.valueEnd = end;
    this.#entryStart = end;
  }

  #growKey(size: number): void {
    const key = Buffer.allocUnsafe(size * 2);
    this.key.copy(key);
    this.#takeKey(key);
  }

  #takeKey(key: Buffer): void {
    this.key = key;
    this.keyView = viewOf(key);
  }

  #damaged(problem: string): Error {
    return damagedFile(this.#open!.path, this.#blockOffset, `in the block there, ${problem}`);
  }
}

/** The last table that begins before `key`; -1 when there is none. */
function lastBefore(tables: readonly TableSummary[], key: Uint8Array): number {
  let low = 0;
  let high = tables.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareWholeKeys(tables[middle]!.firstKey, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
