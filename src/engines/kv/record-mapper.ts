import { copyBytes, viewOf } from "../../base/bytes.ts";
import { ATTR_MIN_BYTES } from "../../volume/attribute.ts";
import { BatchBuilder, type RecordBatch, type RecordKind } from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import type { SnapshotLoss } from "../engine.ts";
import { type Notes, printableKey } from "../notes.ts";
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
import { PAIR_HEADER } from "./kv-page.ts";
import type { KvPage } from "./kv-store.ts";
import { lostKey } from "./lost-key.ts";

const MAX_U16 = 0xffff;
const EDGE_VALUE_BYTES = 9;
const PARENT_VALUE_BYTES = 8;

const NODE_NOTE = "Attribute records that are damaged were left out";
const EDGE_NOTE = "Directory entries that are damaged were left out";
const CHUNK_NOTE = "Chunks with damaged slice records were taken as empty";
const XATTR_NOTE = "Extended attributes that are too long were left out";
const PARENT_NOTE = "Parent records that are damaged were left out";
const FOREIGN_NOTE = "Keys that belong to no inode were left out";

/** The kinds that keys of the inodes' family become. */
export const INODE_KINDS: readonly RecordKind[] = ["node", "edge", "chunk", "symlink", "xattr", "parent"];

/** Turns pages of the inodes' family (`A`) into packed records, byte by byte, without an object per record. */
export class RecordMapper {
  readonly #builders = new Map<RecordKind, BatchBuilder>();
  readonly #full: RecordBatch[] = [];
  readonly #notes: Notes;
  /** Undefined for a kind that was not asked for. */
  readonly #node: BatchBuilder | undefined;
  readonly #edge: BatchBuilder | undefined;
  readonly #chunk: BatchBuilder | undefined;
  readonly #symlink: BatchBuilder | undefined;
  readonly #xattr: BatchBuilder | undefined;
  readonly #parent: BatchBuilder | undefined;

  constructor(notes: Notes, kinds: ReadonlySet<RecordKind>) {
    this.#notes = notes;
    const wanted = (kind: RecordKind): BatchBuilder | undefined => (kinds.has(kind) ? this.builder(kind) : undefined);
    this.#node = wanted("node");
    this.#edge = wanted("edge");
    this.#chunk = wanted("chunk");
    this.#symlink = wanted("symlink");
    this.#xattr = wanted("xattr");
    this.#parent = wanted("parent");
  }

  /** Batches that are full. */
  takeFull(): RecordBatch[] {
    return this.#full.splice(0);
  }

  /** Everything that is left. */
  takeAll(): RecordBatch[] {
    for (const builder of this.#builders.values()) this.#keep(builder.take());
    return this.takeFull();
  }

  builder(kind: RecordKind): BatchBuilder {
    let builder = this.#builders.get(kind);
    if (builder === undefined) {
      builder = new BatchBuilder(kind);
      this.#builders.set(kind, builder);
    }
    return builder;
  }

  /** Counts the record just written into `builder`. */
  commit(builder: BatchBuilder): void {
    if (builder.commit()) this.#keep(builder.take());
  }

  #keep(batch: RecordBatch | undefined): void {
    if (batch !== undefined) this.#full.push(batch);
  }

  map({ bytes, count }: KvPage): void {
    const view = viewOf(bytes);
    for (let i = 0, at = 0; i < count; i++) {
      const key = at + PAIR_HEADER;
      const value = key + view.getUint32(at);
      const end = value + view.getUint32(at + 4);
      at = end;
      if (value - key < INODE_KEY_BYTES || view.getUint8(key) !== FAMILY_INODE) {
        this.#foreign(bytes, key, value);
        continue;
      }
      switch (view.getUint8(key + 9)) {
        case TAG_NODE:
          this.#mapNode(bytes, view, key, value, end);
          break;
        case TAG_EDGE:
          this.#mapEdge(bytes, view, key, value, end);
          break;
        case TAG_CHUNK:
          this.#mapChunk(bytes, view, key, value, end);
          break;
        case TAG_SYMLINK:
          this.#mapSymlink(bytes, view, key, value, end);
          break;
        case TAG_XATTR:
          this.#mapXattr(bytes, view, key, value, end);
          break;
        case TAG_PARENT:
          this.#mapParent(bytes, view, key, value, end);
          break;
        default:
          this.#foreign(bytes, key, value);
      }
    }
  }

  /** All keys here begin with the letter of inodes: where each loss is told, they are damaged ones. */
  #foreign(bytes: Buffer, key: number, value: number): void {
    const name = printableKey(bytes, key, value);
    if (!this.#notes.isSalvage) return this.#notes.remark(FOREIGN_NOTE, name);
    this.#notes.loss(FOREIGN_NOTE, name, lostOf(bytes, key, value, "the key is of a form that no client writes"));
  }

  #mapNode(bytes: Buffer, view: DataView, key: number, value: number, end: number): void {
    const builder = this.#node;
    if (builder === undefined) return;
    const size = end - value;
    if (value - key !== INODE_KEY_BYTES || size < ATTR_MIN_BYTES || size > MAX_U16) {
      const what = `an attribute record has ${size} bytes, not ${ATTR_MIN_BYTES} to ${MAX_U16}, or its key a wrong length`;
      const lost = lostOf(bytes, key, value, what);
      this.#notes.loss(NODE_NOTE, `${printableKey(bytes, key, value)} has ${size} bytes`, lost);
      return;
    }
    const to = beginRecord(builder, view, key, 10 + size);
    const out = builder.writer.view;
    out.setUint16(to, size);
    copyBytes(view, value, end, out, to + 2);
    this.commit(builder);
  }

  /** The stored value is u8 type, u64 inode. */
  #mapEdge(bytes: Buffer, view: DataView, key: number, value: number, end: number): void {
    const builder = this.#edge;
    if (builder === undefined) return;
    const name = key + INODE_KEY_BYTES;
    const nameSize = value - name;
    if (end - value !== EDGE_VALUE_BYTES || nameSize === 0 || nameSize > MAX_U16) {
      const name = `a name of ${nameSize} bytes`;
      const what = `an entry has ${name} and a value of ${end - value}, not ${EDGE_VALUE_BYTES}`;
      this.#notes.loss(EDGE_NOTE, printableKey(bytes, key, value), lostOf(bytes, key, value, what));
      return;
    }
    const to = beginRecord(builder, view, key, 19 + nameSize);
    const out = builder.writer.view;
    copyBytes(view, value + 1, end, out, to);
    out.setUint8(to + 8, view.getUint8(value));
    out.setUint16(to + 9, nameSize);
    copyBytes(view, name, value, out, to + 11);
    this.commit(builder);
  }

  /** A value that is no list of slices spoils the chunk, as in the reference (docs/spec/kv.md §8). */
  #mapChunk(bytes: Buffer, view: DataView, key: number, value: number, end: number): void {
    const builder = this.#chunk;
    if (builder === undefined) return;
    let size = end - value;
    if (value - key !== CHUNK_KEY_BYTES || size % SLICE_BYTES !== 0) {
      const what = `slice records of ${SLICE_BYTES} bytes each have ${size} in all, or their key a wrong length`;
      const lost = lostOf(bytes, key, value, what);
      this.#notes.loss(CHUNK_NOTE, `${printableKey(bytes, key, value)} has ${size} bytes`, lost);
      if (value - key !== CHUNK_KEY_BYTES || this.#notes.isSalvage) return;
      size = 0;
    }
    const to = beginRecord(builder, view, key, 16 + size);
    const out = builder.writer.view;
    out.setUint32(to, view.getUint32(key + INODE_KEY_BYTES));
    out.setUint32(to + 4, size);
    copyBytes(view, value, value + size, out, to + 8);
    this.commit(builder);
  }

  #mapSymlink(bytes: Buffer, view: DataView, key: number, value: number, end: number): void {
    const builder = this.#symlink;
    if (builder === undefined) return;
    if (value - key !== INODE_KEY_BYTES) return this.#foreign(bytes, key, value);
    const size = end - value;
    const to = beginRecord(builder, view, key, 12 + size);
    const out = builder.writer.view;
    out.setUint32(to, size);
    copyBytes(view, value, end, out, to + 4);
    this.commit(builder);
  }

  #mapXattr(bytes: Buffer, view: DataView, key: number, value: number, end: number): void {
    const builder = this.#xattr;
    if (builder === undefined) return;
    const name = key + INODE_KEY_BYTES;
    const nameSize = value - name;
    const valueSize = end - value;
    if (nameSize > MAX_U16) {
      const what = `an extended attribute has a name of ${nameSize} bytes`;
      this.#notes.loss(XATTR_NOTE, printableKey(bytes, key, value), lostOf(bytes, key, value, what));
      return;
    }
    const to = beginRecord(builder, view, key, 14 + nameSize + valueSize);
    const out = builder.writer.view;
    out.setUint16(to, nameSize);
    out.setUint32(to + 2, valueSize);
    copyBytes(view, name, value, out, to + 6);
    copyBytes(view, value, end, out, to + 6 + nameSize);
    this.commit(builder);
  }

  /** Parent and count are little-endian (docs/spec/kv.md §5.4). */
  #mapParent(bytes: Buffer, view: DataView, key: number, value: number, end: number): void {
    const builder = this.#parent;
    if (builder === undefined) return;
    if (value - key !== PARENT_KEY_BYTES || end - value !== PARENT_VALUE_BYTES) {
      const what = `the count of a parent has ${end - value} bytes, not ${PARENT_VALUE_BYTES}, or its key a wrong length`;
      this.#notes.loss(PARENT_NOTE, printableKey(bytes, key, value), lostOf(bytes, key, value, what));
      return;
    }
    const to = beginRecord(builder, view, key, 24);
    const out = builder.writer.view;
    swapUint64(view, key + INODE_KEY_BYTES, out, to);
    swapUint64(view, value, out, to + 8);
    this.commit(builder);
  }
}

function lostOf(bytes: Buffer, key: number, value: number, what: string): SnapshotLoss {
  return lostKey(bytes.subarray(key, value), what);
}

/** Makes room for a record of `size` bytes and writes its inode, that of the key; returns the offset behind it. */
function beginRecord(builder: BatchBuilder, view: DataView, key: number, size: number): number {
  const { writer } = builder;
  const to = writer.reserve(size);
  swapUint64(view, key + 1, writer.view, to);
  writer.length = to + size;
  return to + 8;
}

/** Copies a number of 64 bits from little-endian to big-endian. */
function swapUint64(source: DataView, from: number, target: DataView, to: number): void {
  target.setUint32(to, source.getUint32(from + 4, true));
  target.setUint32(to + 4, source.getUint32(from, true));
}
