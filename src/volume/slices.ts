import { DataError } from "../base/errors.ts";

/**
 * Slices of one chunk, in write order (later ones overlay earlier ones). Each record is 24 bytes, big-endian
 * (docs/spec/redis.md §7.1):
 *
 *   0  u32 pos    offset inside the chunk, in bytes
 *   4  u64 id     slice id, 0 = hole
 *   12 u32 size   size of the whole slice in object storage
 *   16 u32 off    offset inside the slice      20 u32 len   bytes used
 */
export const SLICE_BYTES = 24;

/** One slice record. */
export interface Slice {
  pos: number;
  id: bigint;
  size: number;
  off: number;
  len: number;
}

/** Decodes all slices of a chunk. Not for hot paths. Throws `DataError` when the length is no multiple of 24. */
export function decodeSlices(bytes: Buffer): Slice[] {
  if (bytes.length % SLICE_BYTES !== 0) {
    throw new DataError(
      "DECANT_E_SLICE_LENGTH",
      `Cannot decode slices: ${bytes.length} bytes is not a multiple of ${SLICE_BYTES}`,
    );
  }
  return Array.from({ length: bytes.length / SLICE_BYTES }, (_, i) => {
    const at = i * SLICE_BYTES;
    return {
      pos: bytes.readUInt32BE(at),
      id: bytes.readBigUInt64BE(at + 4),
      size: bytes.readUInt32BE(at + 12),
      off: bytes.readUInt32BE(at + 16),
      len: bytes.readUInt32BE(at + 20),
    };
  });
}

/** Encodes slices into n × 24 bytes. */
export function encodeSlices(slices: readonly Slice[]): Buffer {
  const bytes = Buffer.allocUnsafe(slices.length * SLICE_BYTES);
  slices.forEach((slice, i) => {
    const at = i * SLICE_BYTES;
    bytes.writeUInt32BE(slice.pos, at);
    bytes.writeBigUInt64BE(slice.id, at + 4);
    bytes.writeUInt32BE(slice.size, at + 12);
    bytes.writeUInt32BE(slice.off, at + 16);
    bytes.writeUInt32BE(slice.len, at + 20);
  });
  return bytes;
}
