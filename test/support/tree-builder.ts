import { ByteWriter } from "../../src/base/bytes.ts";
import { type Attribute, encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { ROOT_INODE, TRASH_INODE } from "../../src/volume/inode.ts";
import type { RecordBatch } from "../../src/volume/records.ts";
import { encodeSlices, type Slice } from "../../src/volume/slices.ts";
import {
  CHUNKS_LIST,
  ENTRY_MORE_CHUNKS,
  ENTRY_NODE_MISSING,
  ENTRY_ROOT,
  KEEP_ACL_ID,
  LEAVE_XATTRS,
  TREE_CHUNKS,
  TREE_ENTRY,
  TREE_LEAVE,
} from "../../src/volume/tree-item.ts";

export interface EntryParts {
  readonly flags?: number;
  /** Changes of the attributes of an empty file or directory with mode 0. */
  readonly attribute?: Partial<Attribute>;
  readonly target?: string;
  readonly xattrs?: Readonly<Record<string, string>>;
  /** Slices by chunk index. */
  readonly chunks?: Readonly<Record<number, readonly Slice[]>>;
  /** Chunks that come as items of their own. */
  readonly moreChunks?: readonly Readonly<Record<number, readonly Slice[]>>[];
}

/** Writes a tree batch by hand: also trees that no well-behaved source gives. */
export class TreeBuilder {
  readonly #writer: ByteWriter = new ByteWriter();
  #count = 0;

  /** The root and, inside of it, what `content` adds. */
  root(
    content: (tree: TreeBuilder) => unknown = () => undefined,
    parts: EntryParts = {},
    inode: bigint = ROOT_INODE,
  ): this {
    return this.directory("", inode, content, { ...parts, flags: (parts.flags ?? 0) | ENTRY_ROOT });
  }

  trash(content: (tree: TreeBuilder) => unknown = () => undefined, parts: EntryParts = {}): this {
    return this.root(content, parts, TRASH_INODE);
  }

  directory(
    name: string,
    inode: bigint,
    content: (tree: TreeBuilder) => unknown = () => undefined,
    parts: EntryParts = {},
  ): this {
    this.#entry(name, inode, FileType.directory, parts);
    content(this);
    return this.leave();
  }

  file(name: string, inode: bigint, parts: EntryParts = {}, type: number = FileType.regular): this {
    this.#entry(name, inode, type, parts);
    for (const chunks of parts.moreChunks ?? []) {
      const list = chunkList(chunks);
      this.#head(CHUNKS_LIST + list.length, TREE_CHUNKS);
      this.#writer.writeBytes(list);
    }
    return this;
  }

  /** Ends a directory, with members that came after its entries. */
  leave(late: { accessAclId?: number; defaultAclId?: number; xattrs?: Readonly<Record<string, string>> } = {}): this {
    const xattrs = xattrList(late.xattrs ?? {});
    this.#head(LEAVE_XATTRS + xattrs.length, TREE_LEAVE);
    this.#writer.writeU32(late.accessAclId ?? KEEP_ACL_ID);
    this.#writer.writeU32(late.defaultAclId ?? KEEP_ACL_ID);
    this.#writer.writeBytes(xattrs);
    return this;
  }

  /** Begins a directory that `leave` ends. */
  enter(name: string, inode: bigint, parts: EntryParts = {}): this {
    this.#entry(name, inode, FileType.directory, parts);
    return this;
  }

  batch(): RecordBatch {
    return { kind: "tree", count: this.#count, bytes: this.#writer.take() };
  }

  #entry(name: string, inode: bigint, type: number, parts: EntryParts): void {
    const nameBytes = Buffer.from(name, "latin1");
    const flags = (parts.flags ?? 0) | (parts.moreChunks === undefined ? 0 : ENTRY_MORE_CHUNKS);
    const attribute = (flags & ENTRY_NODE_MISSING) === 0 ? attributeOf(type, parts) : Buffer.alloc(0);
    const target = Buffer.from(parts.target ?? "", "latin1");
    const xattrs = xattrList(parts.xattrs ?? {});
    const chunks = chunkList(parts.chunks ?? {});
    const sizes = [nameBytes, attribute, target, xattrs, chunks].map(({ length }) => length);
    this.#head(32 + sizes.reduce((sum, size) => sum + size, 0), TREE_ENTRY, type, flags);
    this.#writer.writeU64(inode);
    this.#writer.writeU16(sizes[0]!);
    this.#writer.writeU16(sizes[1]!);
    for (const size of sizes.slice(2)) this.#writer.writeU32(size);
    for (const bytes of [nameBytes, attribute, target, xattrs, chunks]) this.#writer.writeBytes(bytes);
  }

  #head(size: number, tag: number, type: number = 0, flags: number = 0): void {
    this.#writer.writeU32(size);
    for (const byte of [tag, type, flags, 0]) this.#writer.writeU8(byte);
    this.#count++;
  }
}

function attributeOf(type: number, parts: EntryParts): Buffer {
  const isDirectory = type === FileType.directory;
  return encodeAttribute({
    ...newDirectoryAttribute(0, 0n),
    type,
    parent: 0n,
    nlink: isDirectory ? 2 : 1,
    length: 0n,
    ...parts.attribute,
  });
}

function xattrList(xattrs: Readonly<Record<string, string>>): Buffer {
  const writer = new ByteWriter(64);
  for (const [name, value] of Object.entries(xattrs)) {
    writer.writeU16(name.length);
    writer.writeU32(value.length);
    writer.writeBytes(Buffer.from(name + value, "latin1"));
  }
  return writer.take();
}

function chunkList(chunks: Readonly<Record<number, readonly Slice[]>>): Buffer {
  const writer = new ByteWriter(64);
  for (const [index, slices] of Object.entries(chunks)) {
    const bytes = encodeSlices(slices);
    writer.writeU32(Number(index));
    writer.writeU32(bytes.length);
    writer.writeBytes(bytes);
  }
  return writer.take();
}
