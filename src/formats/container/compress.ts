import { pipeline, Readable } from "node:stream";
import { createGzip, createZstdCompress, type Gzip, type ZstdCompress, constants as zlib } from "node:zlib";
import type { CompressionName } from "./decompress.ts";

const CHUNK_BYTES = 256 * 1024;

/** Level 1 as the reference; zlib works on another thread, so it costs time only where it is slower than the source. */
export function createCompressor(compression: "gzip" | "zstd"): Gzip | ZstdCompress {
  if (compression === "gzip") return createGzip({ level: 1, chunkSize: CHUNK_BYTES });
  return createZstdCompress({
    chunkSize: CHUNK_BYTES,
    params: { [zlib.ZSTD_c_compressionLevel]: 1, [zlib.ZSTD_c_checksumFlag]: 1 },
  });
}

/** Where a gzip file names the system that made it, and what stands for "unknown" (RFC 1952). */
const GZIP_SYSTEM_OFFSET = 9;
const UNKNOWN_SYSTEM = 0xff;

/**
 * The same document compressed, in pieces that belong to whoever takes them; it takes over those of `source`. The header of a gzip
 * file is that of the reference's backups (docs/spec/auto-backup.md §6). An error of `source` comes out as it is, and ending the
 * iteration early ends the source.
 */
export async function* compress(source: AsyncIterable<Buffer>, compression: CompressionName): AsyncGenerator<Buffer> {
  if (compression === "none") {
    yield* source;
    return;
  }
  const compressor = createCompressor(compression);
  const input = Readable.from(source, { objectMode: false });
  // Errors of both sides come out of the loop below.
  const ended = new Promise<void>((resolve) => pipeline(input, compressor, () => resolve()));
  let isFirst = compression === "gzip";
  try {
    for await (const chunk of compressor as AsyncIterable<Buffer>) {
      if (isFirst) chunk[GZIP_SYSTEM_OFFSET] = UNKNOWN_SYSTEM;
      isFirst = false;
      yield chunk;
    }
  } finally {
    compressor.destroy();
    await ended;
  }
}
