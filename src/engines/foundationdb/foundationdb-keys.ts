import type { KvRange } from "../kv/kv-store.ts";

/** Puts the prefix of a volume in front of keys, and knows where its range ends. */
export class FoundationdbKeys {
  readonly prefix: Buffer;
  /** The smallest key above all of the volume: 0xFE instead of 0xFD. */
  readonly end: Buffer;

  constructor(prefix: Buffer) {
    this.prefix = prefix;
    this.end = Buffer.from(prefix);
    this.end[prefix.length - 1]!++;
  }

  key(key: Uint8Array): Buffer {
    return Buffer.concat([this.prefix, key]);
  }

  range({ start, end }: KvRange): { start: Buffer; end: Buffer } {
    return { start: this.key(start), end: end.length === 0 ? this.end : this.key(end) };
  }
}

/** The smallest key above `key`. */
export function keyAfter(key: Uint8Array): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}
