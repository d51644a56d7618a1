import { ByteWriter } from "../../base/bytes.ts";
import { BATCH_BYTES } from "../../volume/records.ts";
import type { KvPage, KvRange, KvSnapshot } from "./kv-store.ts";

/** u32 size of the key, u32 size of the value. */
export const PAIR_HEADER = 8;

/** Fills pages with pairs. */
export class PageBuilder {
  readonly writer: ByteWriter;
  count = 0;

  constructor(capacity: number = BATCH_BYTES + 65536) {
    this.writer = new ByteWriter(capacity);
  }

  /** Makes room for a pair and writes its sizes. Returns where the key begins in `writer.buffer`; the value follows it. */
  add(keySize: number, valueSize: number): number {
    const { writer } = this;
    const size = PAIR_HEADER + keySize + valueSize;
    const at = writer.reserve(size);
    writer.view.setUint32(at, keySize);
    writer.view.setUint32(at + 4, valueSize);
    writer.length = at + size;
    this.count++;
    return at + PAIR_HEADER;
  }

  /** Copies a pair. Not for hot paths. */
  put(key: Uint8Array, value: Uint8Array): void {
    const at = this.add(key.length, value.length);
    this.writer.buffer.set(key, at);
    this.writer.buffer.set(value, at + key.length);
  }

  get isFull(): boolean {
    return this.writer.length >= BATCH_BYTES;
  }

  /** The page so far, undefined when there is nothing in it. Starts a new one. */
  take(): KvPage | undefined {
    if (this.count === 0) return undefined;
    const page = { count: this.count, bytes: this.writer.take() };
    this.count = 0;
    return page;
  }
}

/** The pairs of a page, as views of it. Not for hot paths. */
export function* pairsOf({ count, bytes }: KvPage): Generator<[key: Buffer, value: Buffer]> {
  let at = 0;
  for (let i = 0; i < count; i++) {
    const key = at + PAIR_HEADER;
    const value = key + bytes.readUInt32BE(at);
    at = value + bytes.readUInt32BE(at + 4);
    yield [bytes.subarray(key, value), bytes.subarray(value, at)];
  }
}

/** The pairs of a range, one by one. Not for hot paths. */
export async function* scanPairs(
  snapshot: KvSnapshot,
  range: KvRange,
): AsyncGenerator<readonly [key: Buffer, value: Buffer]> {
  for await (const page of snapshot.scan(range)) yield* pairsOf(page);
}
