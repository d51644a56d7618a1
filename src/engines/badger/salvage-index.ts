import { damagedFile } from "./badger-errors.ts";
import { BlockDecoder } from "./block-decoder.ts";
import { type Damage, isDamage } from "./damage.ts";
import { findBlocks } from "./find-blocks.ts";
import { COMPRESSION_NONE, COMPRESSION_SNAPPY, COMPRESSION_ZSTD } from "./manifest.ts";
import { readExactly } from "./read-file.ts";
import { TableIndex } from "./table-index.ts";

/** Of tables that no MANIFEST lists: what it is is tried. */
export const COMPRESSION_UNKNOWN = -1;
const COMPRESSIONS = [COMPRESSION_NONE, COMPRESSION_SNAPPY, COMPRESSION_ZSTD];
/** Blocks that are decoded to find out how a table is compressed. */
const BLOCKS_TRIED = 8;

/** The index of a table, or one of the blocks that can be found. Throws `DataError` where there are none. */
export function salvageIndex(
  descriptor: number,
  path: string,
  fileSize: number,
  compression: number,
  damage: Damage,
): { index: TableIndex; compression: number } {
  let failure: Error;
  try {
    const index = TableIndex.read(descriptor, path, fileSize);
    return { index, compression: compressionOf(descriptor, path, index, compression) };
  } catch (error) {
    if (!isDamage(error)) throw error;
    failure = error;
  }
  const tried = compression === COMPRESSION_UNKNOWN ? COMPRESSIONS : [compression];
  for (const candidate of tried) {
    const found = findBlocks(descriptor, path, fileSize, candidate);
    if (found === undefined || found.blocks.length === 0) continue;
    const gaps = found.gaps === 0 ? "" : `, with ${found.gaps} gaps between them`;
    const blocks = `${found.blocks.length} blocks were found without it${gaps}`;
    damage.lost(`${failure.message}: ${blocks}, and nothing from offset ${found.end} on`);
    return { index: TableIndex.ofBlocks(found.blocks), compression: candidate };
  }
  throw failure;
}

function compressionOf(descriptor: number, path: string, index: TableIndex, compression: number): number {
  if (compression !== COMPRESSION_UNKNOWN) return compression;
  for (let block = 0; block < Math.min(index.blockCount, BLOCKS_TRIED); block++) {
    const found = COMPRESSIONS.find((candidate) => isBlock(descriptor, path, index, block, candidate));
    if (found !== undefined) return found;
  }
  throw damagedFile(path, 0, `none of its first ${BLOCKS_TRIED} blocks can be read`);
}

function isBlock(descriptor: number, path: string, index: TableIndex, block: number, compression: number): boolean {
  const [offset, size] = [index.offset(block), index.size(block)];
  const stored = Buffer.allocUnsafeSlow(size);
  try {
    readExactly(descriptor, path, offset, stored, 0, size);
    new BlockDecoder(path, compression).decode(stored, 0, size, offset);
    return true;
  } catch (error) {
    if (!isDamage(error)) throw error;
    return false;
  }
}
