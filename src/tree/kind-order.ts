import { viewOf } from "../base/bytes.ts";
import { InternalError } from "../base/errors.ts";
import { BatchBuilder, type FlatKind, type RecordBatch } from "../volume/records.ts";
import type { NodeRepair } from "./link-table.ts";
import { discard, OrderedBatches } from "./ordered-batches.ts";
import { compareRecords, RECORD_LAYOUTS, type RecordLayout } from "./record-layout.ts";
import { RecordPartitions } from "./record-partitions.ts";
import { SlabPool } from "./record-slab.ts";
import { RunMerger, type RunPlace, RunWriter } from "./run-merger.ts";
import { SpillFile } from "./spill-file.ts";

export interface KindOrderOptions {
  /** Kinds in the order in which they shall come. */
  readonly kinds: readonly FlatKind[];
  /** Ceiling of memory in bytes; what does not fit is spilled into `tmpDir`. */
  readonly maxBytes: number;
  readonly tmpDir: string;
}

/**
 * Brings flat records that come in any order into one order: kind after kind, and within each by the numbers that records
 * belong to, then by name (record-layout.ts). The same records always come out in the same order. Batches that come in order
 * are held and handed on as they are, others parted by those numbers and sorted part by part. Memory stays below the ceiling:
 * what it cannot hold is written out as runs that are merged.
 */
export class KindOrder {
  readonly #kinds: readonly FlatKind[];
  readonly #heldLimit: number;
  readonly #spill: SpillFile;
  readonly #pool: SlabPool;
  readonly #sorters: Map<FlatKind, KindSorter> = new Map();
  /** Node records that replace those written before. */
  readonly #replaced: KindSorter;
  readonly #all: readonly KindSorter[];

  constructor(options: KindOrderOptions) {
    this.#kinds = options.kinds;
    // The batches that the records are copied into need the rest.
    this.#heldLimit = Math.floor(options.maxBytes * 0.875);
    this.#spill = new SpillFile(options.tmpDir);
    this.#pool = new SlabPool(options.maxBytes);
    for (const kind of options.kinds) this.#sorters.set(kind, new KindSorter(kind, this.#spill, this.#pool));
    this.#replaced = new KindSorter("node", this.#spill, this.#pool);
    this.#all = [...this.#sorters.values(), this.#replaced];
  }

  /** Takes over a batch. */
  add(batch: RecordBatch): void {
    const sorter = this.#sorters.get(batch.kind as FlatKind);
    if (sorter === undefined) {
      throw new InternalError("DECANT_E_RECORD_KIND", `Records of kind ${batch.kind} have no place in this order`);
    }
    sorter.add(batch);
    this.#limit();
  }

  /** All records, in order. May be called once, when nothing is added any more. */
  *drain(): Generator<RecordBatch> {
    this.#pool.close();
    for (const kind of this.#kinds) {
      const sorter = this.#sorters.get(kind)!;
      if (kind === "node" && this.#replaced.isUsed) yield* withReplaced(sorter, this.#replaced);
      else yield* sorter.drain();
    }
  }

  close(): void {
    this.#spill.close();
  }

  /** For a consolidation whose records come here: inodes must be asked for in ascending order. */
  get repair(): NodeRepair {
    let lookup: NodeLookup | undefined;
    return {
      readNodes: async (inodes) => {
        lookup ??= new NodeLookup(this.#sorters.get("node")!);
        return inodes.map((inode) => lookup!.find(inode));
      },
      replaceNodes: async (batch) => {
        this.#replaced.add(batch);
        this.#limit();
      },
    };
  }

  /** Writes out the largest kinds while too much is held, or one of them could not be sorted beside the others. */
  #limit(): void {
    while (this.#neededBytes > this.#heldLimit) {
      this.#all.reduce((a, b) => (b.heldBytes > a.heldBytes ? b : a)).spillHeld();
    }
  }

  get #neededBytes(): number {
    let held = 0;
    let sorting = 0;
    for (const sorter of this.#all) {
      held += sorter.heldBytes;
      sorting = Math.max(sorting, sorter.sortingBytes);
    }
    return held + sorting;
  }
}

/** Records of one kind: in memory, and in sorted runs in the spill file. */
class KindSorter {
  readonly layout: RecordLayout;
  readonly #kind: FlatKind;
  readonly #spill: SpillFile;
  readonly #pool: SlabPool;
  readonly #runs: RunPlace[] = [];
  /** Batches, as long as they come in order. */
  readonly #ordered: OrderedBatches;
  /** What came since they do not, and before. */
  #parted: RecordPartitions | undefined;

  constructor(kind: FlatKind, spill: SpillFile, pool: SlabPool) {
    this.#kind = kind;
    this.#spill = spill;
    this.#pool = pool;
    this.layout = RECORD_LAYOUTS[kind as keyof typeof RECORD_LAYOUTS];
    this.#ordered = new OrderedBatches(this.layout);
  }

  get heldBytes(): number {
    return this.#parted?.heldBytes ?? this.#ordered.heldBytes;
  }

  /** What sorting takes beside the records held. */
  get sortingBytes(): number {
    return this.#parted?.sortingBytes ?? 0;
  }

  get isUsed(): boolean {
    return this.#runs.length > 0 || this.#parted !== undefined || this.#ordered.list.length > 0;
  }

  add(batch: RecordBatch): void {
    if (this.#parted === undefined) {
      if (this.#ordered.add(batch)) return;
      this.#parted = new RecordPartitions(this.layout, this.#pool);
      for (const held of this.#ordered.take()) this.#part(held);
    }
    this.#part(batch);
  }

  #part(batch: RecordBatch): void {
    this.#parted!.add(batch);
    discard(batch.bytes);
  }

  /** Writes out what is held as a run. */
  spillHeld(): void {
    if (this.heldBytes === 0) return;
    const writer = new RunWriter(this.#spill);
    const write = (bytes: Buffer, start: number, end: number): void => writer.add(bytes, start, end);
    if (this.#parted === undefined) {
      for (const batch of this.#ordered.take()) {
        visitRecords(this.layout, batch, write);
        discard(batch.bytes);
      }
    } else {
      this.#parted.visit(write);
      this.#pool.give(this.#parted.slabs);
      this.#parted = undefined;
    }
    this.#runs.push(writer.end());
  }

  *drain(): Generator<RecordBatch> {
    if (this.#runs.length > 0) {
      yield* this.#drainRuns();
    } else if (this.#parted !== undefined) {
      yield* this.#parted.batches(this.#kind);
      this.#parted = undefined;
    } else {
      yield* this.#ordered.take();
    }
  }

  /** A merger of all records so far, which are written out for it; it takes nothing away. */
  merger(): RunMerger {
    this.spillHeld();
    const { layout } = this;
    const merger = new RunMerger(this.#spill, (a, aStart, b, bStart) =>
      compareRecords(
        layout,
        a,
        aStart + 4,
        aStart + a.readUInt32BE(aStart),
        b,
        bStart + 4,
        bStart + b.readUInt32BE(bStart),
      ),
    );
    for (const run of this.#runs) merger.addPlace(run);
    return merger;
  }

  *#drainRuns(): Generator<RecordBatch> {
    const merger = this.merger();
    const builder = new BatchBuilder(this.#kind);
    while (merger.next()) {
      const { bytes, start } = merger;
      builder.writer.writeSlice(bytes, start + 4, start + bytes.readUInt32BE(start));
      if (builder.commit()) yield builder.take()!;
    }
    const rest = builder.take();
    if (rest !== undefined) yield rest;
  }
}

/** Finds node records by inode, going forward only. */
class NodeLookup {
  readonly #merger: RunMerger;
  #more: boolean;

  constructor(nodes: KindSorter) {
    this.#merger = nodes.merger();
    this.#more = this.#merger.next();
  }

  find(inode: bigint): Buffer | undefined {
    while (this.#more && this.#inode < inode) this.#more = this.#merger.next();
    if (!this.#more || this.#inode !== inode) return undefined;
    const { bytes, start } = this.#merger;
    return Buffer.from(bytes.subarray(start + 14, start + bytes.readUInt32BE(start)));
  }

  get #inode(): bigint {
    return this.#merger.bytes.readBigUInt64BE(this.#merger.start + 4);
  }
}

/** Node records, each replaced by that of the same inode in `replaced` where there is one. */
function* withReplaced(nodes: KindSorter, replaced: KindSorter): Generator<RecordBatch> {
  const [all, better] = [nodes.merger(), replaced.merger()];
  const builder = new BatchBuilder("node");
  let more = better.next();
  while (all.next()) {
    const inode = inodeAt(all);
    while (more && inodeAt(better) < inode) more = better.next();
    const { bytes, start } = more && inodeAt(better) === inode ? better : all;
    builder.writer.writeSlice(bytes, start + 4, start + bytes.readUInt32BE(start));
    if (builder.commit()) yield builder.take()!;
  }
  const rest = builder.take();
  if (rest !== undefined) yield rest;
}

function inodeAt({ bytes, start }: RunMerger): bigint {
  return bytes.readBigUInt64BE(start + 4);
}

function visitRecords(
  { size }: RecordLayout,
  { bytes, count }: RecordBatch,
  onRecord: (bytes: Buffer, start: number, end: number) => void,
): void {
  const view = viewOf(bytes);
  for (let i = 0, at = 0; i < count; i++) {
    const next = at + size(view, at);
    onRecord(bytes, at, next);
    at = next;
  }
}
