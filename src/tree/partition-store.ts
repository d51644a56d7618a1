import { viewOf } from "../base/bytes.ts";
import { type MemoryBudget, PAGE_BYTES } from "./memory-budget.ts";
import type { SpillFile } from "./spill-file.ts";

const EMPTY = Buffer.alloc(0);

/** A piece of a partition: in memory while `page` is there, else in the spill file at `offset`. */
interface Segment {
  page: Buffer | undefined;
  readonly view: DataView;
  /** False for a segment of its own size, made for one large record. */
  readonly isPage: boolean;
  used: number;
  offset: number;
}

/**
 * Bytes in partitions: appended record by record, read back partition by partition, each once. Full pages go to the spill
 * file when the budget is used up. A record never spans two segments.
 */
export class PartitionStore {
  /** Where the record reserved last belongs: write at the offset that `reserve` returned. */
  page: Buffer = EMPTY;
  /** The same for numbers. */
  view: DataView = viewOf(EMPTY);
  readonly #budget: MemoryBudget;
  readonly #spill: SpillFile;
  readonly #segments: Segment[][];
  /** Last segment of each partition. */
  readonly #open: (Segment | undefined)[];
  /** Full segments that are still in memory. */
  #resident: Segment[] = [];
  readonly #bytes: Float64Array;
  #scratch: Buffer = EMPTY;

  constructor(partitions: number, budget: MemoryBudget, spill: SpillFile) {
    this.#budget = budget;
    this.#spill = spill;
    this.#segments = Array.from({ length: partitions }, () => []);
    this.#open = new Array(partitions).fill(undefined);
    this.#bytes = new Float64Array(partitions);
  }

  /** Room for one record of `size` bytes in `page`; returns its offset. */
  reserve(partition: number, size: number): number {
    let segment = this.#open[partition];
    if (segment === undefined || segment.used + size > segment.page!.length) {
      segment = this.#startSegment(partition, size);
    }
    const at = segment.used;
    segment.used = at + size;
    this.#bytes[partition]! += size;
    this.page = segment.page!;
    this.view = segment.view;
    return at;
  }

  /** Bytes in all partitions that were not drained yet. */
  get totalBytes(): number {
    return this.#bytes.reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Bytes in one partition. */
  sizeOf(partition: number): number {
    return this.#bytes[partition]!;
  }

  /**
   * Hands over the content of a partition in pieces of whole records, each no larger than `limit` unless a single segment
   * is, in order of arrival. The pieces are copied into one buffer that is reused: use each before taking the next. What
   * was handed over is gone from the store.
   */
  *drain(partition: number, limit: number): Generator<Buffer> {
    const segments = this.#segments[partition]!;
    this.#segments[partition] = [];
    this.#open[partition] = undefined;
    this.#bytes[partition] = 0;
    let i = 0;
    while (i < segments.length) {
      let size = 0;
      let end = i;
      while (end < segments.length && (end === i || size + segments[end]!.used <= limit)) size += segments[end++]!.used;
      const piece = this.#piece(size);
      let at = 0;
      for (; i < end; i++) at = this.#moveOut(segments[i]!, piece, at);
      yield piece;
    }
  }

  #piece(size: number): Buffer {
    if (this.#scratch.length < size) {
      if (this.#scratch !== EMPTY) this.#budget.free(this.#scratch);
      this.#scratch = this.#budget.takeBuffer(Math.ceil((size * 1.25) / PAGE_BYTES) * PAGE_BYTES);
    }
    return this.#scratch.subarray(0, size);
  }

  #moveOut(segment: Segment, target: Buffer, at: number): number {
    const end = at + segment.used;
    if (segment.page === undefined) {
      this.#spill.read(segment.offset, target, at, end);
      if (segment.isPage) this.#spill.freePage(segment.offset);
    } else {
      segment.page.copy(target, at, 0, segment.used);
      this.#release(segment);
    }
    return end;
  }

  #release(segment: Segment): void {
    const page = segment.page!;
    segment.page = undefined;
    if (segment.isPage) this.#budget.returnPage(page);
    else this.#budget.free(page);
  }

  #startSegment(partition: number, size: number): Segment {
    const full = this.#open[partition];
    if (full !== undefined) this.#resident.push(full);
    const bytes = Math.max(size, PAGE_BYTES);
    if (!this.#budget.hasRoom(bytes)) this.#spillResident();
    const page = bytes === PAGE_BYTES ? this.#budget.takePage() : this.#budget.takeBuffer(bytes);
    const segment: Segment = { page, view: viewOf(page), isPage: bytes === PAGE_BYTES, used: 0, offset: 0 };
    this.#segments[partition]!.push(segment);
    this.#open[partition] = segment;
    return segment;
  }

  /** Writes out every full page. Segments that were drained meanwhile have no page any more. */
  #spillResident(): void {
    for (const segment of this.#resident) {
      if (segment.page === undefined) continue;
      segment.offset = segment.isPage
        ? this.#spill.writePage(segment.page, segment.used)
        : this.#spill.append(segment.page, 0, segment.used);
      this.#release(segment);
    }
    this.#resident = [];
  }
}
