import { errorText, isAbortError } from "../../base/errors.ts";
import { forEachLimited } from "../../base/limited.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import type { Setting } from "../../volume/setting.ts";
import type { OperationContext } from "../context.ts";
import type { SampledSlice, SliceSample } from "./block-sample.ts";

/** How slices are cut into objects. */
export interface BlockLayout {
  readonly blockBytes: number;
  readonly hashPrefix: boolean;
  /** A block is stored as it is: neither compressed nor encrypted. */
  readonly isPlain: boolean;
}

export interface Block {
  /** Below the volume's prefix. */
  readonly key: string;
  /** Bytes before compression and encryption. */
  readonly size: number;
}

export interface MissingBlock extends Block {
  readonly inode: bigint;
  readonly path: string | undefined;
  /** Bytes that are there in its place, undefined when there is no object. */
  readonly found: number | undefined;
}

export interface BlockCheckReport {
  /** Slices in the volume, files with several places counted at each, and how many of them were looked at. */
  readonly slices: number;
  readonly sampledSlices: number;
  readonly checkedBlocks: number;
  readonly missingBlocks: number;
  /** The first of them, at most `MAX_LISTED`. */
  readonly missing: readonly MissingBlock[];
  /** What kept it from looking at the rest. */
  readonly stopped: string | undefined;
}

const REQUESTS_AT_ONCE = 8;
const MAX_LISTED = 100;
/** Of a slice in very many small blocks. */
const MAX_BLOCKS_OF_SLICE = 16;

export function blockLayout(setting: Setting): BlockLayout {
  const { blockSize, hashPrefix, compression, encryptKey } = setting;
  return {
    blockBytes: Number(blockSize) * 1024,
    hashPrefix,
    isPlain: ["", "none"].includes(compression.toLowerCase()) && encryptKey === "",
  };
}

/**
 * The objects that the used part of a slice is in (docs/spec/object-storage.md §2), at most 16 of them, its first and its last
 * among these.
 */
export function blocksOf({ id, size, offset, length }: SampledSlice, layout: BlockLayout): Block[] {
  const { blockBytes, hashPrefix } = layout;
  const end = Math.min(offset + length, size);
  if (blockBytes <= 0 || offset >= end) return [];
  const first = Math.floor(offset / blockBytes);
  const last = Math.floor((end - 1) / blockBytes);
  const count = Math.min(last - first + 1, MAX_BLOCKS_OF_SLICE);
  const folder = hashPrefix
    ? `chunks/${(id % 256n).toString(16).toUpperCase().padStart(2, "0")}/${id / 1_000_000n}`
    : `chunks/${id / 1_000_000n}/${id / 1000n}`;
  return Array.from({ length: count }, (_, i) => {
    const index = count === 1 ? first : first + Math.round((i * (last - first)) / (count - 1));
    const bytes = Math.min(blockBytes, size - index * blockBytes);
    return { key: `${folder}/${id}_${index}_${bytes}`, size: bytes };
  });
}

/**
 * Looks in the object storage for the blocks of slices that were drawn, without reading them; where blocks are stored as they are
 * their sizes are compared too. Never throws: what keeps it from looking is in the report.
 */
export async function checkBlocks(
  storage: ObjectStorage,
  sample: Pick<SliceSample, "slices" | "total">,
  layout: BlockLayout,
  { signal, progress }: OperationContext,
): Promise<BlockCheckReport> {
  const phase = progress.begin("Checking blocks");
  const missing: MissingBlock[] = [];
  let [checkedBlocks, missingBlocks] = [0, 0];
  let stopped: string | undefined;
  try {
    await forEachLimited(distinctBlocks(sample.slices, layout), REQUESTS_AT_ONCE, async ({ slice, block }) => {
      signal.throwIfAborted();
      const found = (await storage.head(block.key, signal))?.size;
      checkedBlocks++;
      phase.records++;
      if (found === block.size || (found !== undefined && !layout.isPlain)) return;
      missingBlocks++;
      if (missing.length < MAX_LISTED) missing.push({ ...block, inode: slice.inode, path: slice.path, found });
    });
  } catch (error) {
    stopped = isAbortError(error) || signal.aborted ? "interrupted" : errorText(error);
  }
  progress.end(phase);
  const { slices, total } = sample;
  missing.sort((a, b) => (a.key < b.key ? -1 : 1));
  return { slices: total, sampledSlices: slices.length, checkedBlocks, missingBlocks, missing, stopped };
}

/** Clones share slices. */
function* distinctBlocks(
  slices: readonly SampledSlice[],
  layout: BlockLayout,
): Generator<{ readonly slice: SampledSlice; readonly block: Block }> {
  const seen = new Set<string>();
  for (const slice of slices) {
    for (const block of blocksOf(slice, layout)) {
      if (seen.has(block.key)) continue;
      seen.add(block.key);
      yield { slice, block };
    }
  }
}
