import { viewOf } from "../../base/bytes.ts";
import { ATTR_LENGTH, ATTR_TAIL, readAttributeTail } from "../../volume/attribute.ts";
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
import { type ConstantText, constantText } from "./put-text.ts";
import { TextWriter } from "./text-writer.ts";

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

const ENTRIES = constantText('"entries": {');
const SYMLINK = constantText('"symlink": "');
const ACL_ACCESS = constantText('"posix_acl_access": ');
const ACL_DEFAULT = constantText('"posix_acl_default": ');
const CHUNKS = constantText('"chunks": [');
const COMMA = 0x2c;
const QUOTE = 0x22;
const BRACE_CLOSE = 0x7d;
const BRACKET_CLOSE = 0x5d;

/** Constant text around an entry, by its indent: a line break and blanks are the larger part of it. */
interface Lines {
  readonly firstName: ConstantText;
  readonly nextName: ConstantText;
  readonly attribute: ConstantText;
  readonly member: ConstantText;
  readonly end: ConstantText;
}

function makeLines(indent: number): Lines {
  const line = `\n${" ".repeat(indent)}`;
  return {
    firstName: constantText(`${line}"`),
    nextName: constantText(`,${line}"`),
    attribute: constantText(`": {${line}  ${ATTRIBUTE_HEAD}`),
    member: constantText(`,${line}  `),
    end: constantText(`${line}}`),
  };
}

/** Kept for the depths that real volumes have: at greater ones, the texts of all depths together would fill the memory. */
const LINES: Lines[] = [];
const MAX_KEPT_INDENT = 512;

function linesAt(indent: number): Lines {
  if (indent > MAX_KEPT_INDENT) return makeLines(indent);
  let lines = LINES[indent];
  if (lines === undefined) {
    lines = makeLines(indent);
    LINES[indent] = lines;
  }
  return lines;
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
  symlinks = 0;
  xattrs = 0;
  chunks = 0;
  readonly #acls: ReadonlyMap<number, Buffer>;
  readonly #aclTexts: Map<number, ConstantText> = new Map();
  readonly #onFinding: OnTreeFinding;
  /** Names of the open directories below the root, for findings. */
  readonly #path: Buffer[] = [];
  /** The batch that is being written. */
  #bytes: Buffer = Buffer.alloc(0);
  #source: DataView = viewOf(this.#bytes);
  /** Blanks before a name at this depth; the members of the entry are 2 further in. */
  #indent = 2;
  #lines: Lines = linesAt(this.#indent);
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
    const source = viewOf(batch.bytes);
    this.#bytes = batch.bytes;
    this.#source = source;
    for (let at = 0; at < source.byteLength; at += source.getUint32(at)) {
      const tag = source.getUint8(at + ITEM_TAG);
      if (tag === TREE_ENTRY) this.#entry(at);
      else if (tag === TREE_CHUNKS) this.#continueChunks(at);
      else this.#leave();
    }
  }

  /** Ends the last tree. */
  end(): void {
    this.#closeFile();
  }

  #entry(at: number): void {
    this.#closeFile();
    const out = this.out;
    const source = this.#source;
    const flags = source.getUint8(at + ENTRY_FLAGS);
    const type = source.getUint8(at + ENTRY_TYPE);
    const name = at + ENTRY_NAME;
    const attribute = name + source.getUint16(at + ENTRY_NAME_SIZE);
    const attributeEnd = attribute + source.getUint16(at + ENTRY_ATTRIBUTE_SIZE);
    const lines = this.#lines;
    out.writeText(this.#hasSibling ? lines.nextName : lines.firstName);
    if ((flags & ENTRY_ROOT) !== 0) out.writeAscii(this.#inodeAt(at) === TRASH_INODE ? "Trash" : "FSTree");
    else out.writeEscaped(this.#bytes, name, attribute);
    out.writeText(lines.attribute);
    if ((flags & ENTRY_NODE_MISSING) !== 0) {
      writeMissingAttribute(out, source, at + ENTRY_INODE, type);
      if (this.#inodeAt(at) !== TRASH_INODE) this.#find("missing-node", at);
    } else {
      writeAttribute(out, source, at + ENTRY_INODE, attribute, attributeEnd);
    }
    if (type > FileType.socket) this.#find("unknown-type", at);
    this.entries++;
    this.#members(at, attribute, attributeEnd);
    if (type === FileType.directory) this.#enter(at);
    else this.#startFile(at, attribute, type);
  }

  #inodeAt(at: number): bigint {
    return this.#source.getBigUint64(at + ENTRY_INODE);
  }

  #member(): void {
    this.out.writeText(this.#lines.member);
  }

  #moveIn(): void {
    this.#indent += 4;
    this.#lines = linesAt(this.#indent);
  }

  #moveOut(): void {
    this.#indent -= 4;
    this.#lines = linesAt(this.#indent);
  }

  /** Symlink, xattrs and ACLs: the order of a file; a directory has no symlink. */
  #members(at: number, attribute: number, attributeEnd: number): void {
    const out = this.out;
    const source = this.#source;
    const bytes = this.#bytes;
    const xattrs = attributeEnd + source.getUint32(at + ENTRY_SYMLINK_SIZE);
    const chunks = xattrs + source.getUint32(at + ENTRY_XATTRS_SIZE);
    if (source.getUint8(at + ENTRY_TYPE) === FileType.symlink) {
      if (xattrs > attributeEnd) {
        this.#member();
        out.writeText(SYMLINK);
        out.writeEscaped(bytes, attributeEnd, xattrs);
        out.writeU8(QUOTE);
        this.symlinks++;
      } else {
        this.#find("missing-symlink", at);
      }
    }
    if (chunks > xattrs) {
      this.#member();
      for (let xattr = xattrs; xattr < chunks; xattr += 6 + source.getUint16(xattr) + source.getUint32(xattr + 2)) {
        this.xattrs++;
      }
      if (!writeXattrs(out, bytes, xattrs, chunks)) this.#find("xattr-name", at);
    }
    if (attributeEnd - attribute < ATTR_TAIL + 8) return;
    const { accessAclId, defaultAclId } = readAttributeTail(bytes, attribute, attributeEnd);
    if (accessAclId !== 0) this.#acl(ACL_ACCESS, accessAclId, at);
    if (defaultAclId !== 0) this.#acl(ACL_DEFAULT, defaultAclId, at);
  }

  #acl(member: ConstantText, id: number, at: number): void {
    let text = this.#aclTexts.get(id);
    if (text === undefined) {
      const rule = this.#acls.get(id);
      if (rule === undefined) return this.#find("missing-acl", at);
      text = aclText(rule);
      this.#aclTexts.set(id, text);
    }
    this.#member();
    this.out.writeText(member);
    this.out.writeText(text);
  }

  #enter(at: number): void {
    const flags = this.#source.getUint8(at + ENTRY_FLAGS);
    if ((flags & ENTRY_REPEATED) !== 0) this.#find("directory-repeated", at);
    this.directories++;
    this.#member();
    this.out.writeText(ENTRIES);
    this.#moveIn();
    this.#hasSibling = false;
    if ((flags & ENTRY_ROOT) === 0) this.#path.push(entryName(this.#bytes, at));
  }

  #leave(): void {
    this.#closeFile();
    this.#moveOut();
    const out = this.out;
    out.writeNewline(this.#indent + 2);
    out.writeU8(BRACE_CLOSE);
    out.writeNewline(this.#indent);
    out.writeU8(BRACE_CLOSE);
    this.#hasSibling = true;
    this.#path.pop();
  }

  #startFile(at: number, attribute: number, type: number): void {
    this.#openFile = true;
    const source = this.#source;
    const flags = source.getUint8(at + ENTRY_FLAGS);
    if (type !== FileType.regular || (flags & ENTRY_NODE_MISSING) !== 0) return;
    const lengthHigh = source.getUint32(attribute + ATTR_LENGTH);
    if (lengthHigh >= 0x8000_0000) this.#find("impossible-length", at);
    const chunksSize = source.getUint32(at + ENTRY_CHUNKS_SIZE);
    const more = (flags & ENTRY_MORE_CHUNKS) !== 0;
    if (chunksSize === 0 && !more) return;
    // Chunk n counts when n * 64 MiB < length: the number of chunks, rounded up.
    const length = lengthHigh * 0x1_0000_0000 + source.getUint32(attribute + ATTR_LENGTH + 4);
    this.#chunks = { limit: Math.ceil(length / 0x400_0000), firstAt: -1, written: 0 };
    const end = at + source.getUint32(at);
    this.#writeChunks(end - chunksSize, end);
    if (!more) this.#closeChunks();
  }

  #continueChunks(at: number): void {
    if (this.#chunks !== undefined) this.#writeChunks(at + CHUNKS_LIST, at + this.#source.getUint32(at));
  }

  #writeChunks(start: number, end: number): void {
    const open = this.#chunks!;
    const out = this.out;
    const source = this.#source;
    for (let at = start; at < end; at += 8 + source.getUint32(at + 4)) {
      if (source.getUint32(at) >= open.limit) continue;
      if (open.written === 0) {
        this.#member();
        out.writeText(CHUNKS);
        open.firstAt = out.length;
      } else {
        if (open.written === 1) this.#moveFirstChunkDown(open.firstAt);
        out.writeU8(COMMA);
        out.writeNewline(this.#indent + 4);
      }
      writeChunk(out, source, at);
      open.written++;
      this.chunks++;
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
    out.writeText(this.#lines.end);
    this.#openFile = false;
    this.#hasSibling = true;
  }

  #find(kind: TreeFindingKind, at: number): void {
    this.#onFinding(kind, () => printablePath([...this.#path, entryName(this.#bytes, at)]));
  }
}

function entryName(bytes: Buffer, at: number): Buffer {
  return Buffer.from(bytes.subarray(at + ENTRY_NAME, at + ENTRY_NAME + bytes.readUInt16BE(at + ENTRY_NAME_SIZE)));
}
