import { createHash, type Hash } from "node:crypto";
import { CHUNK_BYTES } from "../volume/inode.ts";
import { SLICE_BYTES } from "../volume/slices.ts";

/** A list no longer than this, one chunk with one slice, is its own digest; others have their SHA-256. */
const INLINE_BYTES = 32;
const EMPTY: Buffer = Buffer.alloc(0);

/**
 * The chunks of a file, however many, as a few bytes that are equal exactly when the chunks are. Only what every source can
 * hold counts: chunks that begin within the file's length (JSON dumps have no others), and of those the ones with slices
 * (docs/spec/json-dump.md §6).
 */
export class ChunkDigest {
  /** Slices so far. */
  slices = 0;
  /** Chunk indexes from here on do not count. */
  readonly #limit: number;
  #inline: Buffer = EMPTY;
  #hash: Hash | undefined;

  /** `length`: of the file, in bytes. */
  constructor(length: bigint) {
    this.#limit = Number((length + BigInt(CHUNK_BYTES) - 1n) / BigInt(CHUNK_BYTES));
  }

  /** Adds the list `bytes[start..end)`: n × (u32 index, u32 size, slices), ascending. */
  add(bytes: Buffer, start: number, end: number): void {
    let from = start;
    for (let at = start; at < end; ) {
      const size = bytes.readUInt32BE(at + 4);
      const next = at + 8 + size;
      if (size === 0 || bytes.readUInt32BE(at) >= this.#limit) {
        this.#take(bytes, from, at);
        from = next;
      } else {
        this.slices += Math.floor(size / SLICE_BYTES);
      }
      at = next;
    }
    this.#take(bytes, from, end);
  }

  #take(bytes: Buffer, start: number, end: number): void {
    if (start >= end) return;
    const piece = bytes.subarray(start, end);
    if (this.#hash === undefined && this.#inline === EMPTY && piece.length <= INLINE_BYTES) {
      this.#inline = Buffer.from(piece);
      return;
    }
    this.#hash ??= createHash("sha256").update(this.#inline);
    this.#hash.update(piece);
  }

  /** The digest, empty for no chunks. A byte tells a hash from a list. */
  finish(): Buffer {
    if (this.#hash === undefined) return this.#inline;
    return Buffer.concat([Buffer.of(1), this.#hash.digest()]);
  }
}
