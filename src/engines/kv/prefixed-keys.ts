import type { KvRange } from "./kv-store.ts";

/** A range of whole keys. */
export interface KeySpan {
  readonly start: Buffer;
  readonly end: Buffer;
}

/** Puts the prefix of a volume in front of keys, and knows where its range ends. */
export class PrefixedKeys {
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

  range({ start, end }: KvRange): KeySpan {
    return { start: this.key(start), end: end.length === 0 ? this.end : this.key(end) };
  }
}

/** The smallest key above `key`. */
export function keyAfter(key: Uint8Array): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}

/** What is left of `[start, end)` without one key, of which nothing may be in it. */
export function spansWithout({ start, end }: KeySpan, kept: Buffer | undefined): KeySpan[] {
  if (kept === undefined || kept.compare(start) < 0 || kept.compare(end) >= 0) return [{ start, end }];
  const spans = [
    { start, end: kept },
    { start: keyAfter(kept), end },
  ];
  return spans.filter((span) => span.start.compare(span.end) < 0);
}
