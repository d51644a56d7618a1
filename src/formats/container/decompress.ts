import { pipeline, Readable } from "node:stream";
import { createGunzip, createZstdDecompress, type Gunzip, type ZstdDecompress, constants as zlib } from "node:zlib";
import { DataError } from "../../base/errors.ts";

export type CompressionName = "none" | "gzip" | "zstd";

/** Enough bytes to tell a compression. */
export const MAGIC_BYTES = 4;

const CHUNK_BYTES = 256 * 1024;
/** Where a document is damaged, what was decompressed into the last chunk is lost. */
const SMALL_CHUNK_BYTES = 4 * 1024;

/** First bytes of a zstd frame, and of a skippable one whatever its lowest digit (RFC 8878). */
const ZSTD_MAGIC = 0xfd2fb528;
const ZSTD_SKIPPABLE = 0x184d2a50;

/** How an input is compressed, by its first bytes: names say nothing (a gzip named .json, a plain text named .gz). */
export function compressionOf(head: Buffer): CompressionName {
  if (head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b) return "gzip";
  if (head.length < MAGIC_BYTES) return "none";
  const magic = head.readUInt32LE(0);
  return magic === ZSTD_MAGIC || (magic & 0xfffffff0) >>> 0 === ZSTD_SKIPPABLE ? "zstd" : "none";
}

/**
 * Decompresses, on another thread. Several members or frames in a row are one document. Throws `DataError` naming the
 * compression and the input when it is cut off, damaged or followed by something else; with `accept`, one that is cut off gives
 * what there is, and its reader must see by itself that it is not whole.
 */
export async function* decompress(
  source: AsyncIterable<Buffer>,
  compression: "gzip" | "zstd",
  inputName: string,
  cutOff: "refuse" | "accept" = "refuse",
): AsyncGenerator<Buffer> {
  const counter = { fed: 0 };
  const decompressor = createDecompressor(compression, cutOff);
  // Errors of both sides come out of the loop below.
  pipeline(Readable.from(counted(source, counter), { objectMode: false }), decompressor, () => undefined);
  try {
    for await (const chunk of decompressor as AsyncIterable<Buffer>) yield chunk;
  } catch (error) {
    throw decompressionError(error, compression, inputName);
  } finally {
    decompressor.destroy();
  }
  // The gzip decoder refuses what is no further member, the zstd decoder stops there.
  if (compression === "zstd" && decompressor.bytesWritten < counter.fed) {
    const surplus = counter.fed - decompressor.bytesWritten;
    throw damaged(compression, inputName, `${surplus} bytes behind its end are not compressed data`, undefined);
  }
}

function createDecompressor(compression: "gzip" | "zstd", cutOff: "refuse" | "accept"): Gunzip | ZstdDecompress {
  const chunkSize = cutOff === "accept" ? SMALL_CHUNK_BYTES : CHUNK_BYTES;
  // At the end, a flush hands out what has been decompressed, where a finish would miss the rest and fail.
  if (compression === "gzip") {
    return createGunzip({
      chunkSize,
      ...(cutOff === "accept" ? { finishFlush: zlib.Z_SYNC_FLUSH } : {}),
    });
  }
  return createZstdDecompress({
    chunkSize,
    ...(cutOff === "accept" ? { finishFlush: zlib.ZSTD_e_flush } : {}),
  });
}

async function* counted(source: AsyncIterable<Buffer>, counter: { fed: number }): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    counter.fed += chunk.length;
    // The decompressor works on pieces while it fetches the next.
    yield Buffer.from(chunk);
  }
}

function decompressionError(error: unknown, compression: "gzip" | "zstd", inputName: string): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (code === "Z_BUF_ERROR") return damaged(compression, inputName, "it is cut off", error);
  if (code.startsWith("Z_") || code.startsWith("ZSTD_"))
    return damaged(compression, inputName, (error as Error).message, error);
  return error;
}

function damaged(compression: string, inputName: string, problem: string, cause: unknown): DataError {
  return new DataError("DECANT_E_COMPRESSION", `Cannot decompress ${inputName} (${compression}): ${problem}`, {
    cause,
    hint: "The file is damaged or incomplete; copy it again or take an earlier backup",
  });
}
