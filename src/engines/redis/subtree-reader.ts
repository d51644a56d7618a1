import { ByteWriter } from "../../base/bytes.ts";
import { ATTR_LENGTH, ATTR_MIN_BYTES, ATTR_TYPE_MODE } from "../../volume/attribute.ts";
import { FileType } from "../../volume/file-type.ts";
import { CHUNK_BYTES } from "../../volume/inode.ts";
import type { RecordBatch, RecordKind } from "../../volume/records.ts";
import { Notes } from "../notes.ts";
import type { CommandTarget } from "./command-target.ts";
import { writeNumberArgument, writePairArgument } from "./decimal.ts";
import { DirectoryReader } from "./directory-reader.ts";
import { KeyList } from "./key-list.ts";
import { readKeyspace } from "./keyspace-reader.ts";
import { PendingInodes } from "./pending-inodes.ts";
import type { RareContext } from "./rare-context.ts";
import type { RawValues } from "./raw-values.ts";
import { mayBeHardLinked } from "./record-mapper.ts";
import {
  FAMILY_CHUNK,
  FAMILY_DIRECTORY,
  FAMILY_NODE,
  FAMILY_PARENT,
  FAMILY_SYMLINK,
  FAMILY_XATTR,
} from "./redis-keys.ts";
import { TOKEN_ARRAY, TOKEN_STRIDE } from "./resp-parser.ts";
import { FAMILIES } from "./scan-page.ts";
import { SeenSet } from "./seen-set.ts";
import { readValues, writeReads } from "./value-commands.ts";
import { keepMissing, noteWrongTypes } from "./wrong-types.ts";

/** Directories whose sizes are asked for at once. */
const DIRECTORIES_PER_ROUND = 1000;
const KEYS_PER_ROUND = 5000;
/** What depends on the type of an inode. */
const FAMILIES_BY_TYPE = [FAMILY_SYMLINK, FAMILY_CHUNK, FAMILY_PARENT];
/**
 * A file with more chunks than this by its length (640 GiB) is not asked for chunk by chunk: a damaged or sparse one may
 * claim billions. All such files share one SCAN for the chunks that exist.
 */
const MAX_ASKED_CHUNKS = 10_000;

/** Reads the tree below one directory by point reads. Entries and values travel on two connections. */
export class SubtreeReader {
  readonly #context: RareContext;
  readonly #kinds: ReadonlySet<RecordKind>;
  readonly #values: CommandTarget;
  readonly #hardLinks: SeenSet;
  readonly #seen: SeenSet;
  readonly #directories = new PendingInodes();
  readonly #children = new PendingInodes();
  readonly #hugeFiles = new SeenSet();
  #hasHugeFiles = false;
  readonly #keys: { [family: number]: KeyList } = {};
  readonly #missing = new KeyList();
  readonly #prefixes: { [family: number]: Buffer } = {};

  /** `hardLinks` is that of the mapper; `values` a second connection. An inode is in `seen` before anything of it is read. */
  constructor(
    context: RareContext,
    kinds: ReadonlySet<RecordKind>,
    values: CommandTarget,
    hardLinks: SeenSet,
    seen: SeenSet = new SeenSet(),
  ) {
    this.#seen = seen;
    this.#context = context;
    this.#kinds = kinds;
    this.#values = values;
    this.#hardLinks = hardLinks;
    for (const family of FAMILIES) {
      this.#keys[family] = new KeyList();
      this.#prefixes[family] = Buffer.concat([context.prefix, Buffer.from([family])]);
    }
  }

  async *read(hi: number, lo: number): AsyncGenerator<RecordBatch> {
    const { connection, mapper } = this.#context;
    this.#seen.add(hi, lo);
    this.#children.push(hi, lo, FileType.directory);
    yield* this.#readChildren();
    const reader = new DirectoryReader(connection, this.#hardLinks, this.#context.notes);
    while (this.#directories.count > 0) {
      const keys = this.#takeDirectories();
      reader.askSizes(keys);
      await reader.readSizes(keys);
      for await (const raw of reader.drain(false)) yield* this.#mapDirectory(raw);
      for await (const raw of reader.readLarge()) yield* this.#mapDirectory(raw);
    }
    if (this.#hasHugeFiles) yield* this.#scanChunks();
    await noteWrongTypes(this.#values, this.#missing, this.#context.notes);
    yield* mapper.takeFull();
  }

  /** The children first: whether an entry of a large directory repeats depends on their attributes. */
  async *#mapDirectory(raw: RawValues): AsyncGenerator<RecordBatch> {
    this.#collectChildren(raw);
    yield* this.#readChildren();
    if (this.#kinds.has("edge")) this.#context.mapper.map(raw);
    yield* this.#context.mapper.takeFull();
  }

  #takeDirectories(): KeyList {
    const pending = this.#directories;
    const keys = this.#keys[FAMILY_DIRECTORY]!;
    keys.clear();
    const first = Math.max(0, pending.count - DIRECTORIES_PER_ROUND);
    for (let i = first; i < pending.count; i++) this.#addKey(FAMILY_DIRECTORY, pending.hi[i]!, pending.lo[i]!);
    pending.count = first;
    return keys;
  }

  #addKey(family: number, hi: number, lo: number): void {
    const keys = this.#keys[family]!;
    writeNumberArgument(keys.args, this.#prefixes[family]!, hi, lo);
    keys.add(hi, lo, 0);
  }

  /** Every inode is followed once, however many entries name it. */
  #collectChildren(raw: RawValues): void {
    const { view, tokens } = raw.block;
    let at = 0;
    for (let reply = 0; reply < raw.count; reply++) {
      if (tokens[at] !== TOKEN_ARRAY) {
        at += TOKEN_STRIDE;
        continue;
      }
      if (raw.page !== undefined) at += 2 * TOKEN_STRIDE;
      const elements = Math.max(0, tokens[at + 2]!);
      at += TOKEN_STRIDE;
      for (let i = 1; i < elements; i += 2) {
        const value = at + i * TOKEN_STRIDE;
        if (tokens[value + 2] !== 9) continue;
        const start = tokens[value + 1]!;
        const hi = view.getUint32(start + 1);
        const lo = view.getUint32(start + 5);
        if (this.#seen.add(hi, lo)) this.#children.push(hi, lo, view.getUint8(start));
      }
      at += elements * TOKEN_STRIDE;
    }
  }

  async *#readChildren(): AsyncGenerator<RecordBatch> {
    const children = this.#children;
    for (let first = 0; first < children.count; first += KEYS_PER_ROUND) {
      const end = Math.min(first + KEYS_PER_ROUND, children.count);
      await this.#readAttributes(first, end);
      yield* this.#readRest();
    }
    children.clear();
  }

  /** Attributes and extended attributes; what else to read depends on the types found. */
  async #readAttributes(first: number, end: number): Promise<void> {
    const { mapper } = this.#context;
    for (const keys of Object.values(this.#keys)) keys.clear();
    for (let i = first; i < end; i++) {
      this.#addKey(FAMILY_NODE, this.#children.hi[i]!, this.#children.lo[i]!);
      if (this.#kinds.has("xattr")) this.#addKey(FAMILY_XATTR, this.#children.hi[i]!, this.#children.lo[i]!);
    }
    const [nodes, xattrs] = [this.#keys[FAMILY_NODE]!, this.#keys[FAMILY_XATTR]!];
    const writer = new ByteWriter(65536);
    writeReads(writer, FAMILY_NODE, nodes);
    writeReads(writer, FAMILY_XATTR, xattrs);
    this.#values.send(writer.take());
    for await (const raw of readValues(this.#values, FAMILY_NODE, nodes)) {
      for (let i = 0; i < raw.count; i++) this.#follow(raw, i, this.#children.tag[first + raw.first + i]!);
      keepMissing(raw, this.#missing);
      if (this.#kinds.has("node")) mapper.map(raw);
    }
    for await (const raw of readValues(this.#values, FAMILY_XATTR, xattrs)) mapper.map(raw);
  }

  /** Decides by the types of the attribute and of the entry what else belongs to an inode; where they differ, both count. */
  #follow(raw: RawValues, at: number, entryType: number): void {
    const { view, tokens } = raw.block;
    const hi = raw.keys.hi[raw.first + at]!;
    const lo = raw.keys.lo[raw.first + at]!;
    const token = (at + 1) * TOKEN_STRIDE;
    const start = tokens[token + 1]!;
    const size = tokens[token + 2]!;
    const known = size >= ATTR_MIN_BYTES;
    const type = known ? view.getUint8(start + ATTR_TYPE_MODE) >> 4 : entryType;
    const is = (wanted: number): boolean => type === wanted || entryType === wanted;
    if (is(FileType.directory)) this.#directories.push(hi, lo, 0);
    if (is(FileType.symlink) && this.#kinds.has("symlink")) this.#addKey(FAMILY_SYMLINK, hi, lo);
    if (!known) return;
    if (this.#kinds.has("parent") && mayBeHardLinked(view, start, size)) this.#addKey(FAMILY_PARENT, hi, lo);
    // A stored type 0 counts as regular (docs/spec/json-dump.md §6).
    if ((is(FileType.regular) || type === 0) && this.#kinds.has("chunk")) {
      const length = view.getUint32(start + ATTR_LENGTH) * 0x1_0000_0000 + view.getUint32(start + ATTR_LENGTH + 4);
      this.#addChunks(hi, lo, Math.ceil(length / CHUNK_BYTES));
    }
  }

  #addChunks(hi: number, lo: number, count: number): void {
    if (count > MAX_ASKED_CHUNKS) {
      this.#hasHugeFiles = true;
      this.#hugeFiles.add(hi, lo);
      return;
    }
    const keys = this.#keys[FAMILY_CHUNK]!;
    for (let index = 0; index < count; index++) {
      writePairArgument(keys.args, this.#prefixes[FAMILY_CHUNK]!, hi, lo, 0x5f, 0, index);
      keys.add(hi, lo, index);
    }
  }

  async *#readRest(): AsyncGenerator<RecordBatch> {
    const { mapper } = this.#context;
    const writer = new ByteWriter(65536);
    for (const family of FAMILIES_BY_TYPE) writeReads(writer, family, this.#keys[family]!);
    if (writer.length === 0) return;
    this.#values.send(writer.take());
    for (const family of FAMILIES_BY_TYPE) {
      for await (const raw of readValues(this.#values, family, this.#keys[family]!)) {
        if (family === FAMILY_SYMLINK) keepMissing(raw, this.#missing);
        mapper.map(raw);
        yield* mapper.takeFull();
      }
    }
  }

  async *#scanChunks(): AsyncGenerator<RecordBatch> {
    const { connection, prefix, mapper } = this.#context;
    const wanted = new Set([FAMILY_CHUNK]);
    // What else is in the database has nothing to do with this tree.
    const notes = new Notes({
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      debugEnabled: false,
    });
    const keep = { has: (hi: number, lo: number): boolean => this.#hugeFiles.has(hi, lo) };
    for await (const raw of readKeyspace(connection, prefix, wanted, notes, new SeenSet(), { only: keep })) {
      mapper.map(raw);
      yield* mapper.takeFull();
    }
  }
}
