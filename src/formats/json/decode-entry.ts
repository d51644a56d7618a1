import { ByteWriter } from "../../base/bytes.ts";
import { FILE_TYPE_NAMES, FileType } from "../../volume/file-type.ts";
import { ROOT_INODE, TRASH_INODE } from "../../volume/inode.ts";
import { ENTRY_MORE_CHUNKS, ENTRY_ROOT, ENTRY_TRASH_ROOT, KEEP_ACL_ID } from "../../volume/tree-item.ts";
import { AclReader } from "./decode-acl.ts";
import { AttributeReader, type Warn } from "./decode-attribute.ts";
import {
  ATTR,
  ENTRIES,
  INODE_HINT,
  type InodePlace,
  inodeProblem,
  SYMLINK,
  strayMember,
  WRITTEN,
} from "./decode-checks.ts";
import { chunksPart, type EntryParts, ItemWriter } from "./decode-items.ts";
import type { DirectoryNames } from "./decode-names.ts";
import { ChunkReader } from "./decode-slices.ts";
import { XattrReader } from "./decode-xattrs.ts";
import type { JsonSkipper } from "./json-skip.ts";
import type { JsonTokens } from "./json-tokens.ts";
import { DAMAGE_HINT } from "./json-window.ts";

/** A chunk list longer than this is handed on before its entry has ended; no other member may follow it then. */
const MAX_HELD_CHUNKS_BYTES = 16 * 1024 * 1024;

/** What has been read of the entry at hand, and the items that are made of it. */
export class EntryReader {
  readonly attribute: AttributeReader;
  readonly acls: AclReader;
  readonly xattrs: XattrReader;
  readonly chunks: ChunkReader;
  readonly items: ItemWriter = new ItemWriter();
  /** Members that were read. */
  mask = 0;
  readonly #tokens: JsonTokens;
  readonly #warn: Warn;
  readonly #parts: EntryParts;

  constructor(tokens: JsonTokens, skipper: JsonSkipper, warn: Warn, names: DirectoryNames) {
    this.#tokens = tokens;
    this.#warn = warn;
    this.attribute = new AttributeReader(tokens, skipper, warn);
    this.acls = new AclReader(tokens, skipper, warn);
    this.xattrs = new XattrReader(tokens, skipper, warn);
    this.chunks = new ChunkReader(tokens, skipper, warn);
    this.#parts = {
      flags: 0,
      name: names.view,
      nameStart: 0,
      nameEnd: 0,
      accessAclId: 0,
      defaultAclId: 0,
      symlink: new ByteWriter(256),
    };
  }

  begin(flags: number): void {
    this.#parts.flags = flags;
    this.resetMembers();
    this.mask = 0;
  }

  resetMembers(): void {
    const parts = this.#parts;
    parts.accessAclId = 0;
    parts.defaultAclId = 0;
    parts.symlink.length = 0;
    if (this.xattrs.list.length > 0) this.xattrs.reset();
    this.chunks.reset();
  }

  readAcl(name: "posix_acl_access" | "posix_acl_default"): void {
    const id = this.acls.read(name);
    if (name === "posix_acl_access") this.#parts.accessAclId = id;
    else this.#parts.defaultAclId = id;
  }

  keepSymlink(): void {
    const { text, textStart, textEnd } = this.#tokens;
    const { symlink } = this.#parts;
    symlink.length = 0;
    symlink.writeSlice(text, textStart, textEnd);
  }

  readChunk(names: DirectoryNames): void {
    this.chunks.read();
    if (this.chunks.list.length >= MAX_HELD_CHUNKS_BYTES) this.#flushChunks(names);
  }

  /** Writes what has come of a very long chunk list, so that memory stays bounded. */
  #flushChunks(names: DirectoryNames): void {
    if ((this.mask & ATTR) === 0) {
      throw this.#tokens.error(
        "DECANT_E_JSON_LIMIT",
        `"attr" does not come within the first ${MAX_HELD_CHUNKS_BYTES} bytes of chunks`,
        'Put "attr" first in this entry',
      );
    }
    this.checkMembers();
    this.write(names, true);
    this.mask |= WRITTEN;
    this.chunks.taken();
  }

  /** A directory whose entries have been read: it is ended, not left out. */
  get isWrittenDirectory(): boolean {
    return (this.mask & (WRITTEN | ENTRIES)) === (WRITTEN | ENTRIES);
  }

  /** It can do without members that were not read: no directory, whose entries belong to it, and no link without a target. */
  get canEnd(): boolean {
    const { mask } = this;
    if ((mask & ATTR) === 0 || this.isWrittenDirectory) return false;
    const { type } = this.attribute;
    if (strayMember(mask, type) !== undefined) return false;
    return type !== FileType.directory && (type !== FileType.symlink || (mask & SYMLINK) !== 0);
  }

  write(names: DirectoryNames, moreChunksFollow: boolean): void {
    const parts = this.#parts;
    const chunks = this.chunks.list;
    if ((this.mask & WRITTEN) !== 0) {
      this.items.moreChunks(chunks, 0);
      return;
    }
    this.#takeName(names);
    const first = chunksPart(chunks, 0);
    if (first < chunks.length || moreChunksFollow) parts.flags |= ENTRY_MORE_CHUNKS;
    this.items.entry(this.attribute, parts, this.xattrs.list, chunks, first);
    if (first < chunks.length) this.items.moreChunks(chunks, first);
  }

  /** Writes a directory of which nothing but its name is known, if it is not a root, under a number that no other has. */
  writeUnknownDirectory(names: DirectoryNames, inode: bigint): void {
    const { flags } = this.#parts;
    this.begin(flags & (ENTRY_ROOT | ENTRY_TRASH_ROOT));
    this.#takeName(names);
    const root = (flags & ENTRY_TRASH_ROOT) !== 0 ? TRASH_INODE : ROOT_INODE;
    this.items.unknownDirectory((flags & ENTRY_ROOT) !== 0 ? root : inode, this.#parts);
    this.mask = ATTR;
  }

  #takeName(names: DirectoryNames): void {
    this.#parts.name = names.view;
    this.#parts.nameStart = names.start;
    this.#parts.nameEnd = names.end;
  }

  /** Writes the rest of an entry that has been read to its end. */
  end(names: DirectoryNames): void {
    if ((this.mask & WRITTEN) === 0) this.write(names, false);
    else if ((this.mask & ENTRIES) === 0) this.items.moreChunks(this.chunks.list, 0);
    // What was read behind `entries` goes into the leave item.
    if ((this.mask & ENTRIES) !== 0) {
      const { accessAclId, defaultAclId } = this.#parts;
      this.items.leave(accessAclId || KEEP_ACL_ID, defaultAclId || KEEP_ACL_ID, this.xattrs.list);
    } else if (this.attribute.type === FileType.directory) {
      this.leave();
    }
  }

  /** Ends a directory without more to say of it. */
  leave(): void {
    this.xattrs.reset();
    this.items.leave(KEEP_ACL_ID, KEEP_ACL_ID, this.xattrs.list);
  }

  checkInode(place: InodePlace): void {
    const { inodeHigh, inodeLow, type } = this.attribute;
    const isRoot = (this.#parts.flags & ENTRY_ROOT) !== 0;
    const problem = inodeProblem(inodeHigh >>> 0, inodeLow >>> 0, type, isRoot, place);
    if (problem !== undefined) throw this.#tokens.error("DECANT_E_JSON_INODE", problem, INODE_HINT);
  }

  /** Refuses members that the type cannot have; the reference drops them silently. */
  checkMembers(): void {
    const { mask } = this;
    // Behind `entries` the attributes read last are those of another entry.
    const type = (mask & ENTRIES) !== 0 && (mask & WRITTEN) !== 0 ? FileType.directory : this.attribute.type;
    const stray = strayMember(mask, type);
    if (stray !== undefined) {
      throw this.#tokens.error("DECANT_E_JSON_ENTRY", `a ${FILE_TYPE_NAMES[type]} cannot have "${stray}"`, DAMAGE_HINT);
    }
    if (type === FileType.symlink && (mask & SYMLINK) === 0) {
      this.#warn("symlink-without-target", "A symbolic link has no target: it was stored with an empty one");
    }
  }
}
