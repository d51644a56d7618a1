import { type ByteWriter, copyBytes } from "../../base/bytes.ts";
import { ATTR_MIN_BYTES, ATTR_NLINK, ATTR_PARENT, ATTR_TAIL, ATTR_TYPE_MODE } from "../../volume/attribute.ts";
import { FileType } from "../../volume/file-type.ts";
import { BatchBuilder, type RecordBatch, type RecordKind } from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import type { SnapshotLoss } from "../engine.ts";
import { type Notes, printableKey } from "../notes.ts";
import { parseSigned, parseUnsigned, toBigInt, type U64 } from "./decimal.ts";
import { DENTRY_BYTES } from "./dentry.ts";
import { KIND_OF_FAMILY } from "./family-kinds.ts";
import type { RawValues } from "./raw-values.ts";
import { replyError } from "./redis-errors.ts";
import {
  FAMILY_CHUNK,
  FAMILY_DIRECTORY,
  FAMILY_NODE,
  FAMILY_PARENT,
  FAMILY_SYMLINK,
  FAMILY_XATTR,
} from "./redis-keys.ts";
import { TOKEN_ARRAY, TOKEN_BULK, TOKEN_ERROR, TOKEN_STRIDE } from "./resp-parser.ts";
import type { SeenSet } from "./seen-set.ts";

const MAX_U16 = 0xffff;

export const NODE_NOTE = "Attribute records that are damaged were left out";
export const EDGE_NOTE = "Directory entries that are damaged were left out";
export const CHUNK_NOTE = "Chunks with damaged slice records were taken as empty";
export const XATTR_NOTE = "Extended attributes that are too long were left out";
export const PARENT_NOTE = "Parent records that are damaged were left out";
export const TYPE_NOTE = "Keys that hold a value of the wrong type were left out";

/** Turns raw values of the inode families into packed records, byte by byte, without an object per record. */
export class RecordMapper {
  readonly #builders = new Map<RecordKind, BatchBuilder>();
  readonly #full: RecordBatch[] = [];
  readonly #notes: Notes;
  readonly #where: string;
  readonly #number: U64 = { hi: 0, lo: 0 };

  readonly #hardLinks: SeenSet;

  /** Inodes with more than one link are added to `hardLinks` as they pass. */
  constructor(notes: Notes, where: string, hardLinks: SeenSet) {
    this.#notes = notes;
    this.#where = where;
    this.#hardLinks = hardLinks;
  }

  /** Whether there are any to take. */
  get hasFull(): boolean {
    return this.#full.length > 0;
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

  map(raw: RawValues): void {
    switch (raw.family) {
      case FAMILY_NODE:
        return this.#mapStrings(raw, this.#builder("node"), true);
      case FAMILY_SYMLINK:
        return this.#mapStrings(raw, this.#builder("symlink"), false);
      default:
        return this.#mapAggregates(raw);
    }
  }

  builder(kind: RecordKind): BatchBuilder {
    return this.#builder(kind);
  }

  /** Counts the record just written by somebody else into `builder`. */
  commit(builder: BatchBuilder): void {
    if (builder.commit()) this.#keep(builder.take());
  }

  #builder(kind: RecordKind): BatchBuilder {
    let builder = this.#builders.get(kind);
    if (builder === undefined) {
      builder = new BatchBuilder(kind);
      this.#builders.set(kind, builder);
    }
    return builder;
  }

  #keep(batch: RecordBatch | undefined): void {
    if (batch !== undefined) this.#full.push(batch);
  }

  /** An MGET reply: `node` (u16 size) or `symlink` (u32 size) records. */
  #mapStrings(raw: RawValues, builder: BatchBuilder, isNode: boolean): void {
    const { block, keys, first, count } = raw;
    const { view, tokens } = block;
    for (let i = 0, at = TOKEN_STRIDE; i < count; i++, at += TOKEN_STRIDE) {
      const size = tokens[at + 2]!;
      // nil: deleted since it was seen, or of a wrong type; MGET does not tell which (the caller asks).
      if (size < 0) continue;
      const start = tokens[at + 1]!;
      const key = first + i;
      if (isNode && (size < ATTR_MIN_BYTES || size > MAX_U16)) {
        const wrong = `has ${size} bytes`;
        const lost = this.#lost(raw, key, `an attribute record ${wrong}, not ${ATTR_MIN_BYTES} to ${MAX_U16}`);
        this.#notes.loss(NODE_NOTE, `${this.#name(raw, key)} ${wrong}`, lost);
        continue;
      }
      if (isNode && mayBeHardLinked(view, start, size)) this.#hardLinks.add(keys.hi[key]!, keys.lo[key]!);
      const header = isNode ? 10 : 12;
      const writer = builder.writer;
      let to = writer.reserve(header + size);
      const out = writer.view;
      to = putInode(out, to, keys.hi[key]!, keys.lo[key]!);
      if (isNode) out.setUint16(to, size);
      else out.setUint32(to, size);
      to += header - 8;
      copyBytes(view, start, start + size, out, to);
      writer.length = to + size;
      if (builder.commit()) this.#keep(builder.take());
    }
  }

  /** Array replies, one per key. */
  #mapAggregates(raw: RawValues): void {
    const { tokens, bytes } = raw.block;
    const builder = this.#builder(KIND_OF_FAMILY.get(raw.family)!);
    let at = 0;
    for (let i = 0; i < raw.count; i++) {
      const key = raw.first + i;
      const kind = tokens[at]!;
      if (kind !== TOKEN_ARRAY) {
        if (kind === TOKEN_ERROR) this.#failed(raw, key, bytes, tokens[at + 1]!, tokens[at + 2]!);
        at += TOKEN_STRIDE;
        continue;
      }
      // HSCAN: array of cursor and array.
      if (raw.page !== undefined) at += 2 * TOKEN_STRIDE;
      const elements = tokens[at + 2]!;
      this.#mapArray(raw, builder, key, at + TOKEN_STRIDE, elements);
      at += (1 + Math.max(0, elements)) * TOKEN_STRIDE;
    }
  }

  #mapArray(raw: RawValues, builder: BatchBuilder, key: number, at: number, elements: number): void {
    switch (raw.family) {
      case FAMILY_CHUNK:
        return this.#mapChunk(raw, builder, key, at, elements);
      case FAMILY_XATTR:
        return this.#mapXattrs(raw, builder, key, at, elements);
      case FAMILY_DIRECTORY:
        return this.#mapEdges(raw, builder, key, at, elements);
      case FAMILY_PARENT:
        return this.#mapParents(raw, builder, key, at, elements);
    }
  }

  #failed(raw: RawValues, key: number, bytes: Buffer, start: number, size: number): void {
    const text = bytes.toString("latin1", start, start + size);
    if (!text.startsWith("WRONGTYPE")) throw replyError(text, this.#where, this.#name(raw, key));
    this.#notes.loss(TYPE_NOTE, this.#name(raw, key), this.#lost(raw, key, "the value is of another type"));
  }

  /** An element that is not 24 bytes long spoils the whole chunk, as in the reference (docs/spec/json-dump.md §6). */
  #mapChunk(raw: RawValues, builder: BatchBuilder, key: number, from: number, elements: number): void {
    if (elements === 0) return;
    const { view, tokens } = raw.block;
    let good = true;
    for (let i = 0, at = from; i < elements; i++, at += TOKEN_STRIDE) good = good && tokens[at + 2] === SLICE_BYTES;
    if (!good) {
      const lost = this.#lost(raw, key, `a slice record does not have ${SLICE_BYTES} bytes`);
      this.#notes.loss(CHUNK_NOTE, this.#name(raw, key), lost);
      if (this.#notes.isSalvage) return;
    }
    const size = good ? elements * SLICE_BYTES : 0;
    const writer = builder.writer;
    let to = writer.reserve(16 + size);
    const out = writer.view;
    to = putInode(out, to, raw.keys.hi[key]!, raw.keys.lo[key]!);
    out.setUint32(to, raw.keys.index[key]!);
    out.setUint32(to + 4, size);
    to += 8;
    for (let i = 0, at = from; good && i < elements; i++, at += TOKEN_STRIDE) {
      const start = tokens[at + 1]!;
      copyBytes(view, start, start + SLICE_BYTES, out, to);
      to += SLICE_BYTES;
    }
    writer.length = to;
    if (builder.commit()) this.#keep(builder.take());
  }

  #mapXattrs(raw: RawValues, builder: BatchBuilder, key: number, from: number, elements: number): void {
    const { view, tokens } = raw.block;
    for (let i = 0, at = from; i + 1 < elements; i += 2, at += 2 * TOKEN_STRIDE) {
      const nameSize = tokens[at + 2]!;
      const valueSize = tokens[at + TOKEN_STRIDE + 2]!;
      if (nameSize > MAX_U16) {
        const lost = this.#lost(raw, key, `an extended attribute has a name of ${nameSize} bytes`);
        this.#notes.loss(XATTR_NOTE, this.#name(raw, key), lost);
        continue;
      }
      const writer = builder.writer;
      let to = writer.reserve(14 + nameSize + valueSize);
      const out = writer.view;
      to = putInode(out, to, raw.keys.hi[key]!, raw.keys.lo[key]!);
      out.setUint16(to, nameSize);
      out.setUint32(to + 2, valueSize);
      to += 6;
      const name = tokens[at + 1]!;
      const value = tokens[at + TOKEN_STRIDE + 1]!;
      copyBytes(view, name, name + nameSize, out, to);
      copyBytes(view, value, value + valueSize, out, to + nameSize);
      writer.length = to + nameSize + valueSize;
      if (builder.commit()) this.#keep(builder.take());
    }
  }

  #mapEdges(raw: RawValues, builder: BatchBuilder, key: number, from: number, elements: number): void {
    const { page } = raw;
    const { bytes, view, tokens } = raw.block;
    const hi = raw.keys.hi[key]!;
    const lo = raw.keys.lo[key]!;
    for (let i = 0, at = from; i + 1 < elements; i += 2, at += 2 * TOKEN_STRIDE) {
      const name = tokens[at + 1]!;
      const nameSize = tokens[at + 2]!;
      const value = tokens[at + TOKEN_STRIDE + 1]!;
      if (tokens[at + TOKEN_STRIDE + 2] !== DENTRY_BYTES || nameSize > MAX_U16) {
        const entry = printableKey(bytes, name, name + nameSize);
        const size = tokens[at + TOKEN_STRIDE + 2]!;
        const what = `the entry ${entry} has a name of ${nameSize} bytes and a value of ${size}, not ${DENTRY_BYTES}`;
        this.#notes.loss(EDGE_NOTE, `${this.#name(raw, key)} ${entry}`, this.#lost(raw, key, what));
        continue;
      }
      if (
        page !== undefined &&
        !page.isNew(bytes, name, name + nameSize, view.getUint32(value + 1), view.getUint32(value + 5))
      ) {
        continue;
      }
      writeEdge(builder.writer, hi, lo, view, value, name, nameSize);
      if (builder.commit()) this.#keep(builder.take());
    }
  }

  #mapParents(raw: RawValues, builder: BatchBuilder, key: number, from: number, elements: number): void {
    const { bytes, tokens } = raw.block;
    const number = this.#number;
    for (let i = 0, at = from; i + 1 < elements; i += 2, at += 2 * TOKEN_STRIDE) {
      const field = tokens[at + 1]!;
      const fieldEnd = field + tokens[at + 2]!;
      const value = tokens[at + TOKEN_STRIDE + 1]!;
      const valueEnd = value + tokens[at + TOKEN_STRIDE + 2]!;
      const isInode = parseUnsigned(bytes, field, fieldEnd, number);
      const { hi, lo } = number;
      if (!isInode || !parseSigned(bytes, value, valueEnd, number)) {
        const parent = printableKey(bytes, field, fieldEnd);
        const what = `the parent ${parent} or its count is no number`;
        this.#notes.loss(PARENT_NOTE, `${this.#name(raw, key)} ${parent}`, this.#lost(raw, key, what));
        continue;
      }
      const writer = builder.writer;
      let to = writer.reserve(24);
      to = putInode(writer.view, to, raw.keys.hi[key]!, raw.keys.lo[key]!);
      to = putInode(writer.view, to, hi, lo);
      to = putInode(writer.view, to, number.hi, number.lo);
      writer.length = to;
      if (builder.commit()) this.#keep(builder.take());
    }
  }

  #lost(raw: RawValues, key: number, what: string): SnapshotLoss {
    const inode = toBigInt(raw.keys.hi[key]!, raw.keys.lo[key]!);
    return { kind: KIND_OF_FAMILY.get(raw.family), inode, message: `key ${this.#name(raw, key)}: ${what}` };
  }

  #name(raw: RawValues, key: number): string {
    const inode = `${String.fromCharCode(raw.family)}${toBigInt(raw.keys.hi[key]!, raw.keys.lo[key]!)}`;
    return raw.family === FAMILY_CHUNK ? `${inode}_${raw.keys.index[key]}` : inode;
  }
}

/**
 * False for an inode that stands in the name space once at most: a directory, or a link count of 1 and a parent. Old
 * records without parent are taken for hard-linked when their link count says so (docs/spec/redis.md §5, §6.2).
 */
export function mayBeHardLinked(view: DataView, start: number, size: number): boolean {
  if (view.getUint8(start + ATTR_TYPE_MODE) >> 4 === FileType.directory) return false;
  if (view.getUint32(start + ATTR_NLINK) > 1) return true;
  if (size < ATTR_TAIL) return false;
  return view.getUint32(start + ATTR_PARENT) === 0 && view.getUint32(start + ATTR_PARENT + 4) === 0;
}

/** `edge`: u64 parent, u64 inode, u8 type, u16 nameSize, name; the stored value is type and inode. */
function writeEdge(
  writer: ByteWriter,
  hi: number,
  lo: number,
  source: DataView,
  value: number,
  name: number,
  nameSize: number,
): void {
  const to = writer.reserve(19 + nameSize);
  const out = writer.view;
  putInode(out, to, hi, lo);
  copyBytes(source, value + 1, value + DENTRY_BYTES, out, to + 8);
  out.setUint8(to + 16, source.getUint8(value));
  out.setUint16(to + 17, nameSize);
  copyBytes(source, name, name + nameSize, out, to + 19);
  writer.length = to + 19 + nameSize;
}

/** Writes an inode from its halves and returns the offset behind it. */
export function putInode(out: DataView, at: number, hi: number, lo: number): number {
  out.setUint32(at, hi);
  out.setUint32(at + 4, lo);
  return at + 8;
}

/** Keys whose MGET value was nil, as indexes into the list. */
export function missingStrings(raw: RawValues): number[] {
  const missing: number[] = [];
  for (let i = 0, at = TOKEN_STRIDE; i < raw.count; i++, at += TOKEN_STRIDE) {
    if (raw.block.tokens[at] === TOKEN_BULK && raw.block.tokens[at + 2]! < 0) missing.push(raw.first + i);
  }
  return missing;
}
