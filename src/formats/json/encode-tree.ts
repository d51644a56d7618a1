import { ATTR_LENGTH, readAttributeTail } from "../../volume/attribute.ts";
import { FileType } from "../../volume/file-type.ts";
import { TRASH_INODE } from "../../volume/inode.ts";
import { printablePath } from "../../volume/path.ts";
import type { RecordBatch } from "../../volume/records.ts";
import {
  CHUNKS_LIST,
  ENTRY_ATTRIBUTE_SIZE,
  ENTRY_CHUNKS_SIZE,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_MORE_CHUNKS,
  ENTRY_NAME,
  ENTRY_NAME_SIZE,
  ENTRY_NODE_MISSING,
  ENTRY_REPEATED,
  ENTRY_ROOT,
  ENTRY_SYMLINK_SIZE,
  ENTRY_TYPE,
  ENTRY_XATTRS_SIZE,
  ITEM_TAG,
  TREE_CHUNKS,
  TREE_ENTRY,
} from "../../volume/tree-item.ts";
import {
  ATTRIBUTE_HEAD,
  aclText,
  writeAttribute,
  writeChunk,
  writeMissingAttribute,
  writeXattrs,
} from "./entry-text.ts";
import { readUint32 } from "./put-text.ts";
import { ascii, TextWriter } from "./text-writer.ts";

/** Something in the volume that the dump cannot show as it is. */
export type TreeFindingKind =
  | "missing-node"
  | "missing-acl"
  | "missing-symlink"
  | "xattr-name"
  | "directory-repeated"
  | "impossible-length"
  | "unknown-type";

export type OnTreeFinding = (kind: TreeFindingKind, path: () => string) => void;

const ENTRIES = ascii('"entries": {');
const SYMLINK = ascii('"symlink": "');
const ACL_ACCESS = ascii('"posix_acl_access": ');
const ACL_DEFAULT = ascii('"posix_acl_default": ');
const CHUNKS = ascii('"chunks": [');
const COMMA = 0x2c;
const QUOTE = 0x22;
const BRACE_CLOSE = 0x7d;
const BRACKET_CLOSE = 0x5d;

/** Constant text around an entry, by its indent: a line break and blanks are the larger part of it. */
interface Lines {
  readonly firstName: Buffer;
  readonly nextName: Buffer;
  readonly attribute: Buffer;
  readonly member: Buffer;
  readonly end: Buffer;
}

function makeLines(indent: number): Lines {
  const line = `\n${" ".repeat(indent)}`;
  return {
    firstName: ascii(`${line}"`),
    nextName: ascii(`,${line}"`),
    attribute: ascii(`": {${line}  ${ATTRIBUTE_HEAD}`),
    member: ascii(`,${line}  `),
    end: ascii(`${line}}`),
  };
}

/** What is open while chunks of one file are written. */
interface OpenChunks {
  /** Chunk indexes from here on lie beyond the end of the file and are left out. */
  readonly limit: number;
  /** Offset in `out` of the first chunk's text; a second chunk moves it to a line of its own. */
  firstAt: number;
  written: number;
}

/** Writes tree items as the two trees of a dump, byte for byte as the reference does (docs/spec/json-dump.md §6). */
export class TreeEncoder {
  readonly out: TextWriter = new TextWriter(1024 * 1024);
  entries = 0;
  directories = 0;
  readonly #acls: ReadonlyMap<number, Buffer>;
  readonly #aclTexts: Map<number, Buffer> = new Map();
  readonly #onFinding: OnTreeFinding;
  /** Names of the open directories below the root, for findings. */
  readonly #path: Buffer[] = [];
  /** Blanks before a name at this depth; the members of the entry are 2 further in. */
  #indent = 2;
  /** Whether a sibling stands before the next entry. */
  #hasSibling = false;
  /** The last entry is a file that is not closed yet: chunks may follow. */
  #openFile = false;
  #chunks: OpenChunks | undefined;

  constructor(acls: ReadonlyMap<number, Buffer>, onFinding: OnTreeFinding) {
    this.#acls = acls;
    this.#onFinding = onFinding;
  }

  /** True while the text so far may still be changed and must not be handed on. */
  get pending(): boolean {
    return this.#chunks !== undefined && this.#chunks.written < 2;
  }

  write(batch: RecordBatch): void {
    const { bytes } = batch;
    for (let at = 0; at < bytes.length; at += readUint32(bytes, at)) {
      const tag = bytes[at + ITEM_TAG];
      if (tag === TREE_ENTRY) this.#entry(bytes, at);
      else if (tag === TREE_CHUNKS) this.#continueChunks(bytes, at);
      else this.#leave();
    }
  }

  /** Ends the last tree. */
  end(): void {
    this.#closeFile();
  }

  #entry(bytes: Buffer, at: number): void {
    this.#closeFile();
    const out = this.out;
    const indent = this.#indent;
    const flags = bytes[at + ENTRY_FLAGS]!;
    const name = at + ENTRY_NAME;
    const attribute = name + bytes.readUInt16BE(at + ENTRY_NAME_SIZE);
    const attributeEnd = attribute + bytes.readUInt16BE(at + ENTRY_ATTRIBUTE_SIZE);
    const lines = this.#linesAt(indent);
    out.writeAscii(this.#hasSibling ? lines.nextName : lines.firstName);
    if ((flags & ENTRY_ROOT) !== 0) this.#rootName(bytes, at);
    else out.writeEscaped(bytes, name, attribute);
    out.writeAscii(lines.attribute);
    const type = bytes[at + ENTRY_TYPE]!;
    if ((flags & ENTRY_NODE_MISSING) !== 0) {
      writeMissingAttribute(out, bytes, at + ENTRY_INODE, type);
      if (bytes.readBigUInt64BE(at + ENTRY_INODE) !== TRASH_INODE) this.#find("missing-node", bytes, at);
    } else {
      writeAttribute(out, bytes, at + ENTRY_INODE, attribute, attributeEnd);
    }
    if (type > FileType.socket) this.#find("unknown-type", bytes, at);
    this.entries++;
    this.#members(bytes, at, attributeEnd);
    if (type === FileType.directory) this.#enter(bytes, at);
    else this.#startFile(bytes, at, attribute, type);
  }

  #rootName(bytes: Buffer, at: number): void {
    this.out.writeLatin1(bytes.readBigUInt64BE(at + ENTRY_INODE) === TRASH_INODE ? "Trash" : "FSTree");
  }

  #member(): void {
    this.out.writeAscii(this.#linesAt(this.#indent).member);
  }

  readonly #lines: Lines[] = [];

  #linesAt(indent: number): Lines {
    let lines = this.#lines[indent];
    if (lines === undefined) {
      lines = makeLines(indent);
      this.#lines[indent] = lines;
    }
    return lines;
  }

  /** Symlink, xattrs and ACLs: the order of a file; a directory has no symlink. */
  #members(bytes: Buffer, at: number, symlink: number): void {
    const out = this.out;
    const xattrs = symlink + readUint32(bytes, at + ENTRY_SYMLINK_SIZE);
    const chunks = xattrs + readUint32(bytes, at + ENTRY_XATTRS_SIZE);
    if (bytes[at + ENTRY_TYPE] === FileType.symlink) {
      if (xattrs > symlink) {
        this.#member();
        out.writeAscii(SYMLINK);
        out.writeEscaped(bytes, symlink, xattrs);
        out.writeU8(QUOTE);
      } else {
        this.#find("missing-symlink", bytes, at);
      }
    }
    if (chunks > xattrs) {
      this.#member();
      if (!writeXattrs(out, bytes, xattrs, chunks)) this.#find("xattr-name", bytes, at);
    }
    const attributeSize = bytes.readUInt16BE(at + ENTRY_ATTRIBUTE_SIZE);
    if (attributeSize < 79) return;
    const { accessAclId, defaultAclId } = readAttributeTail(bytes, symlink - attributeSize, symlink);
    if (accessAclId !== 0) this.#acl(ACL_ACCESS, accessAclId, bytes, at);
    if (defaultAclId !== 0) this.#acl(ACL_DEFAULT, defaultAclId, bytes, at);
  }

  #acl(member: Buffer, id: number, bytes: Buffer, at: number): void {
    let text = this.#aclTexts.get(id);
    if (text === undefined) {
      const rule = this.#acls.get(id);
      if (rule === undefined) return this.#find("missing-acl", bytes, at);
      text = aclText(rule);
      this.#aclTexts.set(id, text);
    }
    this.#member();
    this.out.writeAscii(member);
    this.out.writeBytes(text);
  }

  #enter(bytes: Buffer, at: number): void {
    const flags = bytes[at + ENTRY_FLAGS]!;
    if ((flags & ENTRY_REPEATED) !== 0) this.#find("directory-repeated", bytes, at);
    this.directories++;
    this.#member();
    this.out.writeAscii(ENTRIES);
    this.#indent += 4;
    this.#hasSibling = false;
    if ((flags & ENTRY_ROOT) === 0) this.#path.push(entryName(bytes, at));
  }

  #leave(): void {
    this.#closeFile();
    this.#indent -= 4;
    const out = this.out;
    out.writeNewline(this.#indent + 2);
    out.writeU8(BRACE_CLOSE);
    out.writeNewline(this.#indent);
    out.writeU8(BRACE_CLOSE);
    this.#hasSibling = true;
    this.#path.pop();
  }

  #startFile(bytes: Buffer, at: number, attribute: number, type: number): void {
    this.#openFile = true;
    if (type !== FileType.regular || (bytes[at + ENTRY_FLAGS]! & ENTRY_NODE_MISSING) !== 0) return;
    if (bytes[attribute + ATTR_LENGTH]! >= 0x80) this.#find("impossible-length", bytes, at);
    const chunksSize = readUint32(bytes, at + ENTRY_CHUNKS_SIZE);
    const more = (bytes[at + ENTRY_FLAGS]! & ENTRY_MORE_CHUNKS) !== 0;
    if (chunksSize === 0 && !more) return;
    // Chunk n counts when n * 64 MiB < length: the number of chunks, rounded up.
    const length =
      readUint32(bytes, attribute + ATTR_LENGTH) * 0x1_0000_0000 + readUint32(bytes, attribute + ATTR_LENGTH + 4);
    this.#chunks = { limit: Math.ceil(length / 0x400_0000), firstAt: -1, written: 0 };
    const end = at + readUint32(bytes, at);
    this.#writeChunks(bytes, end - chunksSize, end);
    if (!more) this.#closeChunks();
  }

  #continueChunks(bytes: Buffer, at: number): void {
    if (this.#chunks !== undefined) this.#writeChunks(bytes, at + CHUNKS_LIST, at + readUint32(bytes, at));
  }

  #writeChunks(bytes: Buffer, start: number, end: number): void {
    const open = this.#chunks!;
    const out = this.out;
    for (let at = start; at < end; at += 8 + readUint32(bytes, at + 4)) {
      if (readUint32(bytes, at) >= open.limit) continue;
      if (open.written === 0) {
        this.#member();
        out.writeAscii(CHUNKS);
        open.firstAt = out.length;
      } else {
        if (open.written === 1) this.#moveFirstChunkDown(open.firstAt);
        out.writeU8(COMMA);
        out.writeNewline(this.#indent + 4);
      }
      writeChunk(out, bytes, at);
      open.written++;
    }
  }

  /** Two or more chunks stand on lines of their own. */
  #moveFirstChunkDown(at: number): void {
    const size = this.#indent + 5;
    const out = this.out;
    out.reserve(size);
    out.buffer.copyWithin(at + size, at, out.length);
    const end = out.length + size;
    out.length = at;
    out.writeNewline(this.#indent + 4);
    out.length = end;
  }

  #closeChunks(): void {
    if (this.#chunks === undefined) return;
    if (this.#chunks.written > 1) this.out.writeNewline(this.#indent + 2);
    if (this.#chunks.written > 0) this.out.writeU8(BRACKET_CLOSE);
    this.#chunks = undefined;
  }

  #closeFile(): void {
    if (!this.#openFile) return;
    const out = this.out;
    this.#closeChunks();
    out.writeAscii(this.#linesAt(this.#indent).end);
    this.#openFile = false;
    this.#hasSibling = true;
  }

  #find(kind: TreeFindingKind, bytes: Buffer, at: number): void {
    this.#onFinding(kind, () => printablePath([...this.#path, entryName(bytes, at)]));
  }
}

function entryName(bytes: Buffer, at: number): Buffer {
  return Buffer.from(bytes.subarray(at + ENTRY_NAME, at + ENTRY_NAME + bytes.readUInt16BE(at + ENTRY_NAME_SIZE)));
}
