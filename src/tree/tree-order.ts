import { setImmediate as nextTurn } from "node:timers/promises";
import { recycle } from "../base/bytes.ts";
import type { PhaseProgress } from "../base/progress.ts";
import { FileType } from "../volume/file-type.ts";
import { packBatch, type RecordBatch, type RecordStream } from "../volume/records.ts";
import {
  attributeOffset,
  chunksOffset,
  ENTRY_INODE,
  ENTRY_NAME,
  ENTRY_TYPE,
  symlinkOffset,
  xattrsOffset,
} from "../volume/tree-item.ts";
import { BlockStore } from "./block-store.ts";
import { type DirectoryBlock, DirectoryIndex } from "./directory-index.ts";
import { DirectorySort, type DirectorySortOptions } from "./directory-sort.ts";
import { InodeJoin } from "./inode-join.ts";
import { InodeKeys } from "./inode-key.ts";
import type { InodeObserver } from "./inode-observer.ts";
import { JoinSalvage } from "./join-salvage.ts";
import type { JoinedSink } from "./joined-sink.ts";
import { LostFound } from "./lost-found.ts";
import { MemoryBudget, PAGE_BYTES } from "./memory-budget.ts";
import { MAX_PIECE_BYTES } from "./piece-sorter.ts";
import { SalvageNotes, type SalvageOptions } from "./salvage-notes.ts";
import { SpillFile } from "./spill-file.ts";
import type { TreeFindings } from "./tree-findings.ts";
import { TreeWalk } from "./tree-walk.ts";

/** The parent of the roots: no inode of that number can have entries. */
export const ROOTS_PARENT = 0xffff_ffff_ffff_ffffn;

export interface TreeOrderOptions {
  /** Roots of the trees to give, in order: 1 and the trash root, or the top of a part of the volume. */
  readonly roots: readonly { readonly inode: bigint; readonly type: number }[];
  /** Ceiling of memory in bytes; what does not fit is spilled into `tmpDir`. */
  readonly maxBytes: number;
  readonly tmpDir: string;
  readonly signal: AbortSignal;
  /** Filled while the stream is read. */
  readonly findings: TreeFindings;
  /** Called when all has been read and sorting begins, whose bytes are counted in what it returns. */
  readonly beginSorting?: () => PhaseProgress;
  /** For checks that need to see more than the trees. */
  readonly observer?: InodeObserver;
  /** Makes the best of a damaged volume: what comes out is a sound tree, and what was done is in the findings. */
  readonly salvage?: SalvageOptions | undefined;
}

/**
 * Turns flat records into tree order within a memory ceiling: batches of node, edge, chunk, symlink and xattr come out as
 * `tree` batches after everything else, which is passed on as it comes.
 *
 * Works in three passes over partitioned, spillable stores: by inode (inode-join.ts), by parent (directory-sort.ts), then
 * depth first through the blocks of the directories. A directory met twice is given once (ENTRY_REPEATED at the second
 * place), so damaged volumes with cycles end.
 */
export async function* treeOrder(records: RecordStream, options: TreeOrderOptions): AsyncGenerator<RecordBatch> {
  const index = new RecordIndex(options);
  try {
    for await (const batch of records) {
      if (RecordIndex.takes(batch)) {
        index.add(batch);
        recycle(batch.bytes);
      } else {
        index.noteOther(batch);
        yield batch;
      }
    }
    options.signal.throwIfAborted();
    await index.build();
    yield* index.walk();
    if (options.observer !== undefined) {
      index.showRest(options.observer);
      if (options.observer.wantsAnotherWalk()) yield* index.walkAgain();
    }
  } finally {
    index.close();
  }
}

/** The stores of one tree on its way into order: fill, `build`, `walk`, and `close` in any case. */
export class RecordIndex {
  static takes(batch: RecordBatch): boolean {
    return INDEXED.has(batch.kind);
  }

  readonly #options: TreeOrderOptions;
  readonly #budget: MemoryBudget;
  readonly #spill: SpillFile;
  readonly keys: InodeKeys = new InodeKeys();
  readonly #blocks: BlockStore;
  readonly #index: DirectoryIndex;
  readonly #join: InodeJoin;
  readonly #sort: DirectorySort;
  readonly #partitions: number;
  readonly #notes: SalvageNotes | undefined;
  readonly #lost: LostFound | undefined;
  readonly #salvage: JoinSalvage | undefined;

  constructor(options: TreeOrderOptions) {
    this.#options = options;
    const budget = new MemoryBudget(options.maxBytes);
    this.#budget = budget;
    // Each partition keeps one page open in two stores: a quarter of the ceiling at the most.
    this.#partitions = Math.min(256, 2 ** Math.max(2, Math.floor(Math.log2(options.maxBytes / (PAGE_BYTES * 8)))));
    const pieceBytes = Math.min(MAX_PIECE_BYTES, Math.max(PAGE_BYTES * 4, Math.floor(options.maxBytes / 8)));
    const spill = new SpillFile(options.tmpDir);
    this.#spill = spill;
    this.#blocks = new BlockStore(budget, spill, Math.floor(options.maxBytes / 2));
    this.#index = new DirectoryIndex(budget);
    const { findings, observer, salvage } = options;
    const shared = { partitions: this.#partitions, budget, spill, pieceBytes, findings };
    const sorting = { ...shared, keys: this.keys, blocks: this.#blocks, index: this.#index };
    if (salvage !== undefined) {
      this.#notes = new SalvageNotes();
      if (salvage.lostFound) this.#lost = this.#lostFound(sorting, salvage, this.#notes);
      this.#salvage = new JoinSalvage({
        seconds: salvage.seconds,
        notes: this.#notes,
        findings,
        rootsParent: ROOTS_PARENT,
        lostSink: this.#lost?.sink,
      });
    }
    const lost = this.#lost;
    const onDropped = lost === undefined ? undefined : lost.takeDropped.bind(lost);
    this.#sort = new DirectorySort({ ...sorting, observer, onDropped });
    this.#join = new InodeJoin({
      ...shared,
      overflow: this.#blocks,
      sink: this.#sort,
      observer,
      salvage: this.#salvage,
    });
    this.#join.add(
      packBatch(
        "edge",
        options.roots.map((root, i) => ({
          parent: ROOTS_PARENT,
          inode: root.inode,
          type: root.type,
          name: Buffer.of(i),
        })),
      ),
    );
  }

  #lostFound(
    sorting: Omit<DirectorySortOptions, "observer" | "onDropped">,
    { seconds }: SalvageOptions,
    notes: SalvageNotes,
  ): LostFound {
    const root = this.#options.roots[0]!.inode;
    const locate = (bytes: Buffer, at: number) =>
      this.#index.locate(this.keys.read(bytes, at), this.#partitionOf(bytes, at));
    return new LostFound({ ...sorting, notes, seconds, root, rootsParent: ROOTS_PARENT, locate });
  }

  add(batch: RecordBatch): void {
    this.#notes?.note(batch);
    this.#join.add(batch);
  }

  /** Looks at a batch that is passed on. */
  noteOther(batch: RecordBatch): void {
    this.#notes?.noteOther(batch);
  }

  /** For entries that come with all that belongs to their inodes: they need no join. */
  get entries(): JoinedSink {
    return this.#sort;
  }

  /** Where long lists of chunks stand; to be filled before `build`. */
  get overflow(): BlockStore {
    return this.#blocks;
  }

  close(): void {
    this.#spill.close();
    this.#budget.close();
  }

  async build(): Promise<void> {
    if (this.#lost !== undefined) this.#salvage?.begin(this.#lost.begin());
    const phase = this.#options.beginSorting?.();
    const joining = this.#join.totalBytes;
    if (phase !== undefined) phase.totalBytes = joining * 2;
    for (let partition = 0; partition < this.#partitions; partition++) {
      this.#join.joinPartition(partition);
      await this.#pause();
      if (phase !== undefined) phase.bytes = joining - this.#join.totalBytes;
    }
    const sorting = this.#sort.totalBytes;
    if (phase !== undefined) phase.totalBytes = joining + sorting;
    for (let partition = 0; partition < this.#partitions; partition++) {
      this.#sort.sortPartition(partition);
      await this.#pause();
      if (phase !== undefined) phase.bytes = joining + sorting - this.#sort.totalBytes;
    }
    if (this.#lost === undefined || this.#salvage === undefined) return;
    for (const _ of this.#lost.placeAll(this.#salvage)) await this.#pause();
  }

  async #pause(): Promise<void> {
    await nextTurn();
    this.#options.signal.throwIfAborted();
  }

  /** Depth first through the directories. */
  async *walk(): AsyncGenerator<RecordBatch> {
    const { signal, findings, salvage } = this.#options;
    const walk = new TreeWalk({
      blocks: this.#blocks,
      index: this.#index,
      keys: this.keys,
      partitions: this.#partitions,
      signal,
      salvage: salvage === undefined ? undefined : { findings, lost: this.#lost?.place },
    });
    yield* walk.from(this.#find(ROOTS_PARENT));
    if (this.#lost === undefined) this.#reportUnreachable();
  }

  walkAgain(): AsyncGenerator<RecordBatch> {
    this.#index.forgetVisits();
    return this.walk();
  }

  /** Shows what the walk has not met. Where an inode is no directory, all below hangs on that: it is not shown. */
  showRest(observer: InodeObserver): void {
    for (const inode of observer.detachedDirectories()) this.#visitBelow(this.#find(inode));
    const inode = Buffer.alloc(8);
    for (const needsDirectory of [false, true]) {
      for (const block of this.#index.unvisited()) {
        inode.writeBigUInt64BE(this.keys.inodeOf(block.key));
        if (observer.isDirectory(inode) !== needsDirectory) continue;
        observer.notMet(inode, this.#countEntries(block));
        if (!needsDirectory) this.#visitBelow(this.#findBytes(inode, 0));
      }
    }
  }

  #visitBelow(top: DirectoryBlock | undefined): void {
    const waiting = [top];
    const entry = Buffer.alloc(ENTRY_NAME);
    while (waiting.length > 0) {
      const block = waiting.pop();
      if (block === undefined || !this.#index.markVisited(block.position)) continue;
      for (let address = block.address; address < block.end; address += entry.readUInt32BE(0)) {
        this.#blocks.read(address, entry, ENTRY_NAME);
        if (entry[ENTRY_TYPE] === FileType.directory) waiting.push(this.#findBytes(entry, ENTRY_INODE));
      }
    }
  }

  #find(inode: bigint): DirectoryBlock | undefined {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(inode);
    return this.#findBytes(bytes, 0);
  }

  #findBytes(bytes: Buffer, at: number): DirectoryBlock | undefined {
    return this.#index.find(this.keys.read(bytes, at), this.#partitionOf(bytes, at));
  }

  #partitionOf(bytes: Buffer, at: number): number {
    return bytes[at + 7]! & (this.#partitions - 1);
  }

  #reportUnreachable(): void {
    for (const block of this.#index.unvisited()) {
      this.#options.findings.unreachable(this.keys.inodeOf(block.key), this.#countEntries(block));
    }
  }

  #countEntries(block: { readonly address: number; readonly end: number }): number {
    let entries = 0;
    const head = Buffer.alloc(4);
    for (let address = block.address; address < block.end; address += head.readUInt32BE(0)) {
      this.#blocks.read(address, head, 4);
      entries++;
    }
    return entries;
  }
}

const INDEXED: ReadonlySet<string> = new Set(["node", "edge", "chunk", "symlink", "xattr"]);

/** The parts of an entry. For code that is not hot. */
export interface EntryParts {
  readonly name: Buffer;
  readonly attribute: Buffer;
  readonly symlink: Buffer;
  readonly xattrs: Buffer;
  readonly chunks: Buffer;
}

/** Cuts an entry into its parts: views of `bytes`. */
export function entryParts(bytes: Buffer, at: number): EntryParts {
  return {
    name: bytes.subarray(at + ENTRY_NAME, attributeOffset(bytes, at)),
    attribute: bytes.subarray(attributeOffset(bytes, at), symlinkOffset(bytes, at)),
    symlink: bytes.subarray(symlinkOffset(bytes, at), xattrsOffset(bytes, at)),
    xattrs: bytes.subarray(xattrsOffset(bytes, at), chunksOffset(bytes, at)),
    chunks: bytes.subarray(chunksOffset(bytes, at), at + bytes.readUInt32BE(at)),
  };
}
