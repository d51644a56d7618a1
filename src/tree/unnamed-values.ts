import { deserialize, serialize } from "node:v8";
import { recycle } from "../base/bytes.ts";
import { FileType } from "../volume/file-type.ts";
import { ROOT_INODE, TRASH_INODE } from "../volume/inode.ts";
import type { RecordBatch, RecordStream } from "../volume/records.ts";
import { ENTRY_INODE, ENTRY_TYPE, ITEM_TAG, TREE_CHUNKS, TREE_ENTRY } from "../volume/tree-item.ts";
import type { UnsupportedValue } from "../volume/value-limits.ts";
import { InodeSet } from "./inode-set.ts";
import { MemoryBudget } from "./memory-budget.ts";
import { RecordSorter } from "./record-sorter.ts";
import { SpillFile } from "./spill-file.ts";
import { TreeFindings } from "./tree-findings.ts";
import { treeOrder } from "./tree-order.ts";
import { type Place, pathOf, placeOf } from "./unsupported-values.ts";

export interface UnnamedValuesOptions {
  /** Ceiling of memory in bytes; what does not fit is spilled into `tmpDir`. */
  readonly maxBytes: number;
  readonly tmpDir: string;
  readonly signal: AbortSignal;
}

/** u32 record size, u64 inode, u8 rank, u32 number, then a path in UTF-8 or a value: the path of an inode stands before its values. */
const INODE = 4;
const RANK = 12;
const NUMBER = 13;
const REST = 17;
/** Smaller pieces would make more runs than can be merged at once. */
const MIN_PIECE_BYTES = 1024 * 1024;
const PATH = 0;
const VALUE = 1;

/** What is known of an inode. It is kept as `v8.serialize` gives it. */
export interface ValueOfInode {
  readonly inode: bigint;
  readonly path?: string;
}

/** Values found in flat records, which have no paths: kept, in any number, until their names are looked up. */
export class UnnamedValues<T extends ValueOfInode = UnsupportedValue> {
  readonly #options: UnnamedValuesOptions;
  readonly #budget: MemoryBudget;
  readonly #spill: SpillFile;
  readonly #records: RecordSorter;
  readonly #wanted = new InodeSet();
  readonly #named = new InodeSet();
  /** Directories that are open where the tree is seen. */
  readonly #open: Place[] = [];
  #count = 0;

  constructor(options: UnnamedValuesOptions) {
    this.#options = options;
    const maxBytes = Math.floor(options.maxBytes / 4);
    this.#budget = new MemoryBudget(maxBytes);
    this.#spill = new SpillFile(options.tmpDir);
    const pieceBytes = Math.max(MIN_PIECE_BYTES, Math.floor(maxBytes / 2));
    this.#records = new RecordSorter({ budget: this.#budget, spill: this.#spill, pieceBytes });
  }

  get count(): number {
    return this.#count;
  }

  add(value: T): void {
    this.#put(value.inode, VALUE, serialize(value));
    const inode = Buffer.alloc(8);
    inode.writeBigUInt64BE(value.inode);
    this.#wanted.add(inode, 0);
    this.#count++;
  }

  /**
   * All values, by inode, with the path of the first place of each; `records` is what they were found in, once more. What no path
   * leads to, or everything without `records`, is named by its inode. Call it once.
   */
  async *named(records: RecordStream | undefined): AsyncGenerator<T> {
    if (records !== undefined) await this.#lookUp(records);
    yield* this.seen();
  }

  /** The same of a tree that `see` was shown, the roots included. Call it once. */
  *seen(): Generator<T> {
    let path: { readonly inode: bigint; readonly text: string } | undefined;
    while (this.#records.next()) {
      const { bytes, start } = this.#records;
      const inode = bytes.readBigUInt64BE(start + INODE);
      const rest = bytes.subarray(start + REST, start + bytes.readUInt32BE(start));
      if (bytes[start + RANK] === PATH) {
        path = { inode, text: rest.toString() };
      } else {
        const value = deserialize(Buffer.from(rest)) as T; // its buffers are views of what is given
        yield path?.inode === inode ? { ...value, path: path.text } : value;
      }
    }
  }

  close(): void {
    this.#spill.close();
    this.#budget.close();
  }

  /** Entries alone make the tree: they say what is a directory. */
  async #lookUp(records: RecordStream): Promise<void> {
    const { maxBytes, tmpDir, signal } = this.#options;
    const tree = treeOrder(onlyEdges(records), {
      roots: [ROOT_INODE, TRASH_INODE].map((inode) => ({ inode, type: FileType.directory })),
      maxBytes: Math.floor(maxBytes / 2),
      tmpDir,
      signal,
      findings: new TreeFindings(),
    });
    for await (const { bytes } of tree) {
      this.see(bytes);
      recycle(bytes);
    }
  }

  /** Takes note of the paths in a batch of tree items, which come in order, when all values were added. */
  see(bytes: Buffer): void {
    const open = this.#open;
    for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
      const tag = bytes[at + ITEM_TAG];
      if (tag === TREE_CHUNKS) continue;
      if (tag !== TREE_ENTRY) {
        open.pop();
        continue;
      }
      const isDirectory = bytes[at + ENTRY_TYPE] === FileType.directory;
      const isWanted = this.#wanted.has(bytes, at + ENTRY_INODE) && !this.#named.add(bytes, at + ENTRY_INODE);
      if (!isDirectory && !isWanted) continue;
      const place = placeOf(bytes, at);
      if (isWanted) this.#put(place.inode, PATH, Buffer.from(pathOf([...open, place])));
      if (isDirectory) open.push(place);
    }
  }

  #put(inode: bigint, rank: number, rest: Buffer): void {
    const number = this.#records.count;
    const at = this.#records.reserve(REST + rest.length);
    const { page } = this.#records;
    page.writeBigUInt64BE(inode, at + INODE);
    page[at + RANK] = rank;
    page.writeUInt32BE(number, at + NUMBER);
    rest.copy(page, at + REST);
  }
}

async function* onlyEdges(records: RecordStream): AsyncGenerator<RecordBatch> {
  for await (const batch of records) if (batch.kind === "edge") yield batch;
}
