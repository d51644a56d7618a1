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
  /** The block, decompressed: entries from 0 to `entriesEnd`, then their offsets. Bytes behind the block are undefined. */
  bytes: Buffer = EMPTY;
  /** The same for numbers. */
  view: DataView = viewOf(EMPTY);
  entriesEnd = 0;
  entryCount = 0;
  readonly #path: string;
  readonly #compression: number;
  #size = 0;
  #scratch: Buffer = EMPTY;
  #scratchView: DataView = viewOf(EMPTY);

  constructor(path: string, compression: number) {
    this.#path = path;
    this.#compression = compression;
  }

  /** Decodes `stored[start..end)`, which stands at `offset` in the file. Throws `DataError`. */
  decode(stored: Buffer, start: number, end: number, offset: number): void {
    this.#decompress(stored, start, end, offset);
    const view = this.view;
    const size = this.#size;
    const fail = (problem: string): never => {
      throw damagedFile(this.#path, offset, `in the block there, ${problem}`);
    };
    if (size < 8) fail(`there are only ${size} bytes`);
    const checksumStart = size - 4 - view.getUint32(size - 4);
    if (checksumStart < 4) fail("the checksum cannot be that long");
    const checked = checkSum(this.bytes, view, checksumStart, checksumStart, size - 4);
    if (checked === undefined) fail("the checksum has an unknown form");
    if (checked === false) fail("the checksum is wrong");
    this.entryCount = view.getUint32(checksumStart - 4);
    this.entriesEnd = checksumStart - 4 - this.entryCount * 4;
    if (this.entryCount === 0 || this.entriesEnd < 0) fail(`there cannot be ${this.entryCount} entries`);
  }

  #decompress(stored: Buffer, start: number, end: number, offset: number): void {
    switch (this.#compression) {
      case COMPRESSION_NONE:
        this.#take(stored.subarray(start, end));
        return;
      case COMPRESSION_SNAPPY:
        if (!this.#decompressSnappy(stored, start, end)) {
          throw damagedFile(this.#path, offset, "the block there is no Snappy block");
        }
        return;
      case COMPRESSION_ZSTD:
        try {
          this.#take(zstdDecompressSync(stored.subarray(start, end), { maxOutputLength: MAX_ZSTD_BYTES }));
        } catch (error) {
          throw damagedFile(this.#path, offset, `the block there is no ZSTD frame (${(error as Error).message})`);
        }
        return;
      default:
        throw unsupportedFile(this.#path, `its compression has the unknown number ${this.#compression}`);
    }
  }

  #decompressSnappy(stored: Buffer, start: number, end: number): boolean {
    const size = snappySize(stored, start, end);
    if (size < 0) return false;
    const needed = size + SNAPPY_ROOM;
    if (this.#scratch.length < needed) {
      this.#scratch = Buffer.allocUnsafeSlow(Math.max(needed, 8192));
      this.#scratchView = viewOf(this.#scratch);
    }
    this.bytes = this.#scratch;
    this.view = this.#scratchView;
    this.#size = size;
    return decodeSnappy(stored, start, end, this.#scratch, size);
  }

  #take(bytes: Buffer): void {
    this.bytes = bytes;
    this.view = viewOf(bytes);
    this.#size = bytes.length;
  }
}
