import { zstdDecompressSync } from "node:zlib";
import { viewOf } from "../../base/bytes.ts";
import { damagedFile, unsupportedFile } from "./badger-errors.ts";
import { checkSum } from "./checksum.ts";
import { EMPTY } from "./entry.ts";
import { COMPRESSION_NONE, COMPRESSION_SNAPPY, COMPRESSION_ZSTD } from "./manifest.ts";
import { decodeSnappy, SNAPPY_ROOM, snappySize } from "./snappy.ts";

/** What a block that is said to be compressed by ZSTD may grow to: the reference's have 4 KiB, or one value below 1 MiB. */
const MAX_ZSTD_BYTES = 64 * 1024 * 1024;

/** Decodes the blocks of one table and checks them; the result of the one before is lost each time. */
export class BlockDecoder {
  /** The block, decompressed: entries from 0 to `entriesEnd`, then their offsets. */
  bytes: Buffer = EMPTY;
  /** The same for numbers. */
  view: DataView = viewOf(EMPTY);
  entriesEnd = 0;
  entryCount = 0;
  readonly #path: string;
  readonly #compression: number;
  #scratch: Buffer = EMPTY;

  constructor(path: string, compression: number) {
    this.#path = path;
    this.#compression = compression;
  }

  /** Decodes `stored[start..end)`, which stands at `offset` in the file. Throws `DataError`. */
  decode(stored: Buffer, start: number, end: number, offset: number): void {
    this.bytes = this.#decompress(stored, start, end, offset);
    this.view = viewOf(this.bytes);
    const { bytes } = this;
    const fail = (problem: string): never => {
      throw damagedFile(this.#path, offset, `in the block there, ${problem}`);
    };
    if (bytes.length < 8) fail(`there are only ${bytes.length} bytes`);
    const checksumStart = bytes.length - 4 - bytes.readUInt32BE(bytes.length - 4);
    if (checksumStart < 4) fail("the checksum cannot be that long");
    const checked = checkSum(bytes.subarray(0, checksumStart), bytes, checksumStart, bytes.length - 4);
    if (checked === undefined) fail("the checksum has an unknown form");
    if (checked === false) fail("the checksum is wrong");
    this.entryCount = bytes.readUInt32BE(checksumStart - 4);
    this.entriesEnd = checksumStart - 4 - this.entryCount * 4;
    if (this.entryCount === 0 || this.entriesEnd < 0) fail(`there cannot be ${this.entryCount} entries`);
  }

  #decompress(stored: Buffer, start: number, end: number, offset: number): Buffer {
    switch (this.#compression) {
      case COMPRESSION_NONE:
        return stored.subarray(start, end);
      case COMPRESSION_SNAPPY: {
        const size = snappySize(stored, start, end);
        if (size >= 0) {
          const needed = size + SNAPPY_ROOM;
          if (this.#scratch.length < needed) this.#scratch = Buffer.allocUnsafeSlow(Math.max(needed, 8192));
          if (decodeSnappy(stored, start, end, this.#scratch, size)) return this.#scratch.subarray(0, size);
        }
        throw damagedFile(this.#path, offset, "the block there is no Snappy block");
      }
      case COMPRESSION_ZSTD:
        try {
          return zstdDecompressSync(stored.subarray(start, end), { maxOutputLength: MAX_ZSTD_BYTES });
        } catch (error) {
          throw damagedFile(this.#path, offset, `the block there is no ZSTD frame (${(error as Error).message})`);
        }
      default:
        throw unsupportedFile(this.#path, `its compression has the unknown number ${this.#compression}`);
    }
  }
}
