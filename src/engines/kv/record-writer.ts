import { copyBytes, viewOf } from "../../base/bytes.ts";
import type { RecordBatch } from "../../volume/records.ts";
import {
  CHUNK_KEY_BYTES,
  FAMILY_INODE,
  INODE_KEY_BYTES,
  PARENT_KEY_BYTES,
  TAG_CHUNK,
  TAG_EDGE,
  TAG_NODE,
  TAG_PARENT,
  TAG_SYMLINK,
  TAG_XATTR,
} from "./kv-keys.ts";
import { PageBuilder } from "./kv-page.ts";
import type { KvPage } from "./kv-store.ts";

const EDGE_VALUE_BYTES = 9;

/**
 * Encodes records of the inodes' family as pairs, from the packed bytes, without an object per record. `flush` is awaited with
 * each page that is full. Layouts of the records: volume/records.ts; of the pairs: docs/spec/kv.md §3 and §5.
 */
export class RecordWriter {
  readonly pages: PageBuilder = new PageBuilder();
  readonly #flush: (page: KvPage) => Promise<void>;

  constructor(flush: (page: KvPage) => Promise<void>) {
    this.#flush = flush;
  }

  /** Hands on what is left. */
  async end(): Promise<void> {
    const page = this.pages.take();
    if (page !== undefined) await this.#flush(page);
  }

  async flow(): Promise<void> {
    if (this.pages.isFull) await this.end();
  }

  /** Makes room for a pair whose key begins with the inode at `at`; returns where the key begins. */
  #begin(source: DataView, at: number, tag: number, keySize: number, valueSize: number): number {
    const key = this.pages.add(keySize, valueSize);
    const out = this.pages.writer.view;
    out.setUint8(key, FAMILY_INODE);
    swapUint64(source, at, out, key + 1);
    out.setUint8(key + 9, tag);
    return key;
  }

  async nodes({ bytes, count }: RecordBatch): Promise<void> {
    const source = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const size = source.getUint16(at + 8);
      const key = this.#begin(source, at, TAG_NODE, INODE_KEY_BYTES, size);
      copyBytes(source, at + 10, at + 10 + size, this.pages.writer.view, key + INODE_KEY_BYTES);
      at += 10 + size;
      if (this.pages.isFull) await this.end();
    }
  }

  async edges({ bytes, count }: RecordBatch): Promise<void> {
    const source = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const nameSize = source.getUint16(at + 17);
      const key = this.#begin(source, at, TAG_EDGE, INODE_KEY_BYTES + nameSize, EDGE_VALUE_BYTES);
      const out = this.pages.writer.view;
      const value = key + INODE_KEY_BYTES + nameSize;
      copyBytes(source, at + 19, at + 19 + nameSize, out, key + INODE_KEY_BYTES);
      out.setUint8(value, source.getUint8(at + 16));
      copyBytes(source, at + 8, at + 16, out, value + 1);
      at += 19 + nameSize;
      if (this.pages.isFull) await this.end();
    }
  }

  /** A chunk without slices has no key (docs/spec/kv.md §9). */
  async chunks({ bytes, count }: RecordBatch): Promise<void> {
    const source = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const size = source.getUint32(at + 12);
      if (size > 0) {
        const key = this.#begin(source, at, TAG_CHUNK, CHUNK_KEY_BYTES, size);
        const out = this.pages.writer.view;
        out.setUint32(key + INODE_KEY_BYTES, source.getUint32(at + 8));
        copyBytes(source, at + 16, at + 16 + size, out, key + CHUNK_KEY_BYTES);
      }
      at += 16 + size;
      if (this.pages.isFull) await this.end();
    }
  }

  async symlinks({ bytes, count }: RecordBatch): Promise<void> {
    const source = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const size = source.getUint32(at + 8);
      const key = this.#begin(source, at, TAG_SYMLINK, INODE_KEY_BYTES, size);
      copyBytes(source, at + 12, at + 12 + size, this.pages.writer.view, key + INODE_KEY_BYTES);
      at += 12 + size;
      if (this.pages.isFull) await this.end();
    }
  }

  async xattrs({ bytes, count }: RecordBatch): Promise<void> {
    const source = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const nameSize = source.getUint16(at + 8);
      const valueSize = source.getUint32(at + 10);
      const key = this.#begin(source, at, TAG_XATTR, INODE_KEY_BYTES + nameSize, valueSize);
      // the value follows the name on both sides
      copyBytes(source, at + 14, at + 14 + nameSize + valueSize, this.pages.writer.view, key + INODE_KEY_BYTES);
      at += 14 + nameSize + valueSize;
      if (this.pages.isFull) await this.end();
    }
  }

  /** Parent and count become little-endian. */
  async parents({ bytes, count }: RecordBatch): Promise<void> {
    const source = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++, at += 24) {
      const key = this.#begin(source, at, TAG_PARENT, PARENT_KEY_BYTES, 8);
      const out = this.pages.writer.view;
      swapUint64(source, at + 8, out, key + INODE_KEY_BYTES);
      swapUint64(source, at + 16, out, key + PARENT_KEY_BYTES);
      if (this.pages.isFull) await this.end();
    }
  }
}

/** Copies a number of 64 bits from big-endian to little-endian. */
export function swapUint64(source: DataView, from: number, target: DataView, to: number): void {
  target.setUint32(to, source.getUint32(from + 4), true);
  target.setUint32(to + 4, source.getUint32(from), true);
}
