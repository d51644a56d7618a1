import { viewOf } from "./bytes.ts";

/** CRC-32C (Castagnoli), reflected. */
const POLYNOMIAL = 0x82f63b78;

/** Sixteen tables of 256: the k-th moves a byte over k more bytes, so that sixteen bytes are taken in one step. */
const TABLES: Int32Array = makeTables();

function makeTables(): Int32Array {
  const tables = new Int32Array(16 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? POLYNOMIAL : 0);
    tables[byte] = value;
  }
  for (let i = 256; i < tables.length; i++) {
    const before = tables[i - 256]!;
    tables[i] = (before >>> 8) ^ tables[before & 0xff]!;
  }
  return tables;
}

/** The checksum of `bytes`, unsigned; to go on, give that of the bytes before them. */
export function crc32c(bytes: Uint8Array, before: number = 0): number {
  return crc32cOf(viewOf(bytes), 0, bytes.length, before);
}

/** The checksum of `view[start..end)`. */
export function crc32cOf(view: DataView, start: number, end: number, before: number = 0): number {
  const t = TABLES;
  let crc = ~before;
  let i = start;
  for (const last = end - 16; i <= last; i += 16) {
    const a = crc ^ view.getInt32(i, true);
    const b = view.getInt32(i + 4, true);
    const c = view.getInt32(i + 8, true);
    const d = view.getInt32(i + 12, true);
    crc =
      t[3840 + (a & 0xff)]! ^
      t[3584 + ((a >>> 8) & 0xff)]! ^
      t[3328 + ((a >>> 16) & 0xff)]! ^
      t[3072 + (a >>> 24)]! ^
      t[2816 + (b & 0xff)]! ^
      t[2560 + ((b >>> 8) & 0xff)]! ^
      t[2304 + ((b >>> 16) & 0xff)]! ^
      t[2048 + (b >>> 24)]! ^
      t[1792 + (c & 0xff)]! ^
      t[1536 + ((c >>> 8) & 0xff)]! ^
      t[1280 + ((c >>> 16) & 0xff)]! ^
      t[1024 + (c >>> 24)]! ^
      t[768 + (d & 0xff)]! ^
      t[512 + ((d >>> 8) & 0xff)]! ^
      t[256 + ((d >>> 16) & 0xff)]! ^
      t[d >>> 24]!;
  }
  for (; i < end; i++) crc = (crc >>> 8) ^ t[(crc ^ view.getUint8(i)) & 0xff]!;
  return ~crc >>> 0;
}
