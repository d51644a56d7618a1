import { EngineError } from "../../base/errors.ts";

/** Bytes of a key in one group, before its marker. */
const GROUP = 8;
const MARKER = 0xff;

/**
 * The form in which the placement driver has the boundaries of regions: groups of 8 bytes, the last one filled with zeros, each
 * with the marker 0xFF less the number of zeros that were added. The order is that of the keys themselves; a key whose length is a
 * multiple of 8 ends with a group of zeros alone (docs/spec/kv-stores.md §2.4).
 */
export function encodeKey(key: Uint8Array): Buffer {
  const groups = Math.floor(key.length / GROUP) + 1;
  const encoded = Buffer.alloc(groups * (GROUP + 1));
  for (let i = 0; i < groups; i++) {
    const part = key.subarray(i * GROUP, (i + 1) * GROUP);
    encoded.set(part, i * (GROUP + 1));
    encoded[i * (GROUP + 1) + GROUP] = MARKER - (GROUP - part.length);
  }
  return encoded;
}

/** The key itself; an empty one, which means that there is no boundary, stays empty. Throws `EngineError` for another form. */
export function decodeKey(encoded: Buffer): Buffer {
  if (encoded.length === 0) return Buffer.alloc(0);
  const size = encoded.length - encoded.length / (GROUP + 1);
  const padding = MARKER - encoded[encoded.length - 1]!;
  const key = Buffer.alloc(Math.max(0, Math.floor(size) - padding));
  for (let at = 0; at + GROUP < encoded.length; at += GROUP + 1) {
    encoded.copy(key, (at / (GROUP + 1)) * GROUP, at, at + GROUP);
  }
  // what is not the one form of a key has another one
  if (padding > GROUP || encodeKey(key).compare(encoded) !== 0) {
    throw new EngineError(
      "DECANT_E_TIKV_REGION_KEY",
      `A region of the TiKV cluster has the boundary ${encoded.toString("hex")}, which is not the encoded form of a key`,
      { hint: "The cluster holds raw keys, or is of API version 2: JuiceFS uses transactions of API version 1" },
    );
  }
  return key;
}

/** Whether `key` lies in `[start, end)`; an empty `end` is no boundary. */
export function isWithin(key: Uint8Array, start: Uint8Array, end: Uint8Array): boolean {
  return Buffer.compare(key, start) >= 0 && (end.length === 0 || Buffer.compare(key, end) < 0);
}

/** The lower of two ends, of which an empty one is no boundary. */
export function lowerEnd<T extends Uint8Array>(a: T, b: T): T {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  return Buffer.compare(a, b) <= 0 ? a : b;
}
