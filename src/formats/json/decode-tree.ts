import { ByteWriter } from "../../base/bytes.ts";
import { FILE_TYPE_NAMES, FileType } from "../../volume/file-type.ts";
import { printableName } from "../../volume/path.ts";
import type { RecordBatch } from "../../volume/records.ts";
import { ENTRY_MORE_CHUNKS, ENTRY_ROOT, ENTRY_TRASH_ROOT, KEEP_ACL_ID } from "../../volume/tree-item.ts";
import { AclReader } from "./decode-acl.ts";
import { AttributeReader, UNKNOWN_MEMBER_TEXT, type Warn } from "./decode-attribute.ts";
import {
  ATTR,
  CHUNKS,
  ENTRIES,
  INODE_HINT,
  inodeProblem,
  MEMBER_BITS,
  type MemberName,
  nameProblem,
  readMemberName,
  SYMLINK,
  shortPath,
  strayMember,
  WRITTEN,
  XATTRS,
} from "./decode-checks.ts";
import { chunksPart, type EntryParts, ItemWriter } from "./decode-items.ts";
import { DirectoryNames } from "./decode-names.ts";
import { EntrySkipper, type SkipFrom } from "./decode-skip-entry.ts";
import { ChunkReader } from "./decode-slices.ts";
import { XattrReader } from "./decode-xattrs.ts";
import type { JsonSkipper } from "./json-skip.ts";
import type { JsonTokens } from "./json-tokens.ts";
import { DAMAGE_HINT } from "./json-window.ts";

/** A chunk list longer than this is handed on before its entry has ended; no other member may follow it then. */
const MAX_HELD_CHUNKS_BYTES = 16 * 1024 * 1024;
/** Directories in directories; the reference has no limit, real trees do not come near. */
export const MAX_DEPTH = 200_000;

const ROOT = 0;
const FIRST_MEMBER = 1;
const NEXT_MEMBER = 2;
const FIRST_CHILD = 3;
const NEXT_CHILD = 4;
const FIRST_XATTR = 5;
const NEXT_XATTR = 6;
const FIRST_CHUNK = 7;
const NEXT_CHUNK = 8;
const SKIP = 9;
const DONE = 10;
const SKIP_ENTRY = 11;
/** By state, what is left of an entry when its reading stops there. */
const SKIP_FROM: readonly (SkipFrom | undefined)[] = [
  undefined,
  ...(["member", "member", "child", "child", "element", "element", "element", "element"] as const),
];

/**
 * Reads `FSTree` and `Trash` into tree items, one member of an entry per step and without recursion: what an open
 * directory needs is on the stacks of `DirectoryNames` and `#masks`.
 */
export class TreeDecoder {
  readonly #tokens: JsonTokens;
  readonly #skipper: JsonSkipper;
  readonly #warn: Warn;
  readonly #commit: () => void;
  readonly #attribute: AttributeReader;
  readonly #acls: AclReader;
  readonly #xattrs: XattrReader;
  readonly #chunks: ChunkReader;
  readonly #items: ItemWriter = new ItemWriter();
  #names: DirectoryNames = new DirectoryNames();
  #state = DONE;
  #section = "";
  /** Members of the current entry, and of the directories around it. */
  #mask = 0;
  readonly #masks: number[] = [];
  readonly #entrySkipper: EntrySkipper;
  readonly #parts: EntryParts = {
    flags: 0,
    name: this.#names.view,
    nameStart: 0,
    nameEnd: 0,
    accessAclId: 0,
    defaultAclId: 0,
    symlink: new ByteWriter(256),
  };

  constructor(tokens: JsonTokens, skipper: JsonSkipper, warn: Warn, commit: () => void) {
    this.#tokens = tokens;
    this.#skipper = skipper;
    this.#warn = warn;
    this.#commit = commit;
    this.#attribute = new AttributeReader(tokens, skipper, warn);
    this.#acls = new AclReader(tokens, skipper, warn);
    this.#xattrs = new XattrReader(tokens, skipper, warn);
    this.#chunks = new ChunkReader(tokens, skipper, warn);
    this.#entrySkipper = new EntrySkipper(tokens, skipper);
  }

  /** Begins with the value of the member `section`. */
  begin(section: "FSTree" | "Trash"): void {
    this.#section = section;
    this.#names = new DirectoryNames();
    this.#state = ROOT;
  }

  /** Path of what is being read, printable. The trash is shown where clients see it, as `/.trash`. */
  path(): string {
    const path = this.#names.path(this.#state !== FIRST_CHILD && this.#state !== NEXT_CHILD);
    return shortPath(this.#section === "FSTree" ? path : path === "/" ? "/.trash" : `/.trash${path}`);
  }

  /**
   * After an error that a step has thrown and the tokens were rewound: makes the next steps pass over the entry at hand, with
   * everything below it. False when it cannot be left out.
   */
  skipEntry(): boolean {
    const from = SKIP_FROM[this.#state];
    const isWholeTree = this.#masks.length === 0 && !this.#isWrittenDirectory;
    if (from === undefined || (from !== "child" && isWholeTree)) return false;
    this.#entrySkipper.begin(from);
    this.#state = SKIP_ENTRY;
    return true;
  }

  get isSkipping(): boolean {
    return this.#state === SKIP_ENTRY;
  }

  /**
   * Ends a tree that cannot be read any further, after an error that a step has thrown: directories that are open, and no more.
   * False where not even its root was read.
   */
  abandon(): boolean {
    const isInEntry = !this.#isBetweenEntries && this.#isWrittenDirectory;
    const open = this.#masks.length + (isInEntry ? 1 : 0);
    for (let i = 0; i < open; i++) this.#items.leave(KEEP_ACL_ID, KEEP_ACL_ID, this.#emptyXattrs());
    this.#masks.length = 0;
    this.#state = DONE;
    return open > 0;
  }

  get #isBetweenEntries(): boolean {
    return (this.#state === SKIP_ENTRY ? this.#entrySkipper.from : SKIP_FROM[this.#state]) === "child";
  }

  /** A directory whose entries have been read: it is ended, not left out. */
  get #isWrittenDirectory(): boolean {
    return (this.#mask & (WRITTEN | ENTRIES)) === (WRITTEN | ENTRIES);
  }

  #endSkipped(): void {
    const isMember = this.#entrySkipper.from !== "child";
    if (isMember && this.#isWrittenDirectory) this.#items.leave(KEEP_ACL_ID, KEEP_ACL_ID, this.#emptyXattrs());
    this.#state = isMember && this.#masks.length === 0 ? DONE : NEXT_CHILD;
  }

  /** What was read and not given yet. Rules come before the entries that use them. */
  takeRest(into: RecordBatch[]): void {
    for (const batch of [this.#acls.records.take(), this.#items.builder.take()])
      if (batch !== undefined) into.push(batch);
  }

  /** Runs steps until there are records enough for a batch; true when the tree has been read. */
  run(into: RecordBatch[]): boolean {
    const items = this.#items.builder;
    do {
      this.#step();
      this.#commit();
    } while (this.#state !== DONE && !items.isFull);
    this.takeRest(into);
    return this.#state === DONE;
  }

  #step(): void {
    switch (this.#state) {
      case FIRST_CHILD:
      case NEXT_CHILD:
        this.#child();
        break;
      case FIRST_MEMBER:
      case NEXT_MEMBER:
        this.#member();
        break;
      case FIRST_XATTR:
      case NEXT_XATTR:
        if (this.#element(this.#state === FIRST_XATTR)) {
          this.#xattrs.read();
          this.#mask |= XATTRS;
          this.#state = NEXT_XATTR;
        }
        break;
      case FIRST_CHUNK:
      case NEXT_CHUNK:
        if (this.#element(this.#state === FIRST_CHUNK)) this.#chunk();
        break;
      case SKIP:
        this.#skipper.run(true);
        this.#state = NEXT_MEMBER;
        break;
      case SKIP_ENTRY:
        if (this.#entrySkipper.step()) this.#endSkipped();
        break;
      default:
        this.#root();
    }
  }

  #root(): void {
    const tokens = this.#tokens;
    if (tokens.peek() !== 0x7b) {
      throw tokens.error(
        "DECANT_E_JSON_VALUE",
        `it must be an object, got ${tokens.describeValue()}`,
        "Without it there is no tree to load; take another copy or an earlier backup",
      );
    }
    tokens.at++;
    this.#beginEntry(this.#section === "Trash" ? ENTRY_ROOT | ENTRY_TRASH_ROOT : ENTRY_ROOT);
  }

  #beginEntry(flags: number): void {
    const parts = this.#parts;
    parts.flags = flags;
    this.#resetMembers();
    this.#mask = 0;
    this.#state = FIRST_MEMBER;
  }

  #resetMembers(): void {
    const parts = this.#parts;
    parts.accessAclId = 0;
    parts.defaultAclId = 0;
    parts.symlink.length = 0;
    if (this.#xattrs.list.length > 0) this.#xattrs.reset();
    this.#chunks.reset();
  }

  /** Reads the name of the next entry of a directory, or the end of its entries. */
  #child(): void {
    const tokens = this.#tokens;
    let byte = tokens.peek();
    if (byte === 0x7d) {
      this.#endEntries();
      return;
    }
    if (this.#state === NEXT_CHILD) {
      if (byte !== 0x2c) throw tokens.unexpected("',' or '}'");
      tokens.at++;
      byte = tokens.peek();
    }
    const nameAt = tokens.at;
    tokens.readString(true, "the name of an entry in quotes");
    const { text, textStart, textEnd } = tokens;
    tokens.expect(0x3a, "':'");
    if (tokens.peek() !== 0x7b) {
      const name = printableName(text.subarray(textStart, textEnd));
      throw tokens.error(
        "DECANT_E_JSON_ENTRY",
        `entry "${name}" must be an object, got ${tokens.describeValue()}`,
        DAMAGE_HINT,
      );
    }
    const problem = nameProblem(text, textStart, textEnd, tokens.isPlain) ?? this.#addName(text, textStart, textEnd);
    if (problem !== undefined) {
      throw tokens.error("DECANT_E_JSON_NAME", problem, "Correct the name in the dump or remove the entry", nameAt);
    }
    tokens.at++;
    this.#beginEntry(0);
  }

  #addName(text: Buffer, start: number, end: number): string | undefined {
    const verdict = this.#names.add(text, start, end);
    if (verdict === "new") return undefined;
    const name = printableName(text.subarray(start, end));
    if (verdict === "duplicate") return `the directory has the name "${name}" twice`;
    return `the name "${name}" is out of order in a directory that is too large to look for duplicate names; sort its entries`;
  }

  /** Reads the next member of an entry, or the end of the entry. */
  #member(): void {
    const tokens = this.#tokens;
    let byte = tokens.peek();
    if (byte === 0x7d) {
      this.#endEntry();
      return;
    }
    if (this.#state === NEXT_MEMBER) {
      if (byte !== 0x2c) throw tokens.unexpected("',' or '}'");
      tokens.at++;
      byte = tokens.peek();
    }
    const name = readMemberName(tokens);
    if (name === undefined) {
      this.#warn("unknown-member", UNKNOWN_MEMBER_TEXT, tokens.textValue());
      this.#skipper.begin();
      this.#state = SKIP;
      return;
    }
    const bit = MEMBER_BITS[name];
    if ((this.#mask & bit) !== 0)
      throw tokens.error("DECANT_E_JSON_ENTRY", `the entry has "${name}" twice`, DAMAGE_HINT);
    if ((this.#mask & (WRITTEN | ENTRIES)) === WRITTEN) {
      throw tokens.error(
        "DECANT_E_JSON_LIMIT",
        `"${name}" stands behind a very long list of chunks`,
        'Put "chunks" last in this entry',
      );
    }
    this.#state = this.#readMember(name, bit);
  }

  /** Reads the value and returns the state that follows. */
  #readMember(name: MemberName, bit: number): number {
    const tokens = this.#tokens;
    switch (name) {
      case "attr":
        this.#attribute.read();
        this.#mask |= bit;
        this.#checkInode();
        return NEXT_MEMBER;
      case "entries":
        return this.#beginEntries();
      case "chunks":
        return this.#beginList(name) ? FIRST_CHUNK : NEXT_MEMBER;
      case "xattrs":
        return this.#beginList(name) ? FIRST_XATTR : NEXT_MEMBER;
      case "symlink":
        if (tokens.readNull()) return NEXT_MEMBER;
        tokens.readString(true, "the target of the symbolic link in quotes");
        this.#keepSymlink();
        break;
      case "posix_acl_access":
        this.#parts.accessAclId = this.#acls.read(name);
        break;
      case "posix_acl_default":
        this.#parts.defaultAclId = this.#acls.read(name);
        break;
    }
    this.#mask |= bit;
    return NEXT_MEMBER;
  }

  #keepSymlink(): void {
    const { text, textStart, textEnd } = this.#tokens;
    const { symlink } = this.#parts;
    symlink.length = 0;
    symlink.writeSlice(text, textStart, textEnd);
  }

  /** Takes the beginning of a list; false when it is null. Elements are steps of their own. */
  #beginList(name: MemberName): boolean {
    const tokens = this.#tokens;
    if (tokens.readNull()) return false;
    if (tokens.peek() !== 0x5b) {
      throw tokens.error("DECANT_E_JSON_ENTRY", `"${name}" must be a list, got ${tokens.describeValue()}`, DAMAGE_HINT);
    }
    tokens.at++;
    return true;
  }

  /** Takes what stands between elements; false at the end of the list. */
  #element(isFirst: boolean): boolean {
    const tokens = this.#tokens;
    const byte = tokens.peek();
    if (byte === 0x5d) {
      tokens.at++;
      this.#state = NEXT_MEMBER;
      return false;
    }
    if (isFirst) return true;
    if (byte !== 0x2c) throw tokens.unexpected("',' or ']'");
    tokens.at++;
    return true;
  }

  #chunk(): void {
    this.#chunks.read();
    this.#mask |= CHUNKS;
    this.#state = NEXT_CHUNK;
    if (this.#chunks.list.length >= MAX_HELD_CHUNKS_BYTES) this.#flushChunks();
  }

  /** Writes what has come of a very long chunk list, so that memory stays bounded. */
  #flushChunks(): void {
    if ((this.#mask & ATTR) === 0) {
      throw this.#tokens.error(
        "DECANT_E_JSON_LIMIT",
        `"attr" does not come within the first ${MAX_HELD_CHUNKS_BYTES} bytes of chunks`,
        'Put "attr" first in this entry',
      );
    }
    this.#checkMembers();
    this.#writeEntry(true);
    this.#mask |= WRITTEN;
    this.#chunks.taken();
  }

  #beginEntries(): number {
    const tokens = this.#tokens;
    if (tokens.readNull()) return NEXT_MEMBER;
    if ((this.#mask & ATTR) === 0) {
      throw tokens.error(
        "DECANT_E_JSON_ENTRY",
        '"entries" stands before "attr"',
        'Put "attr" before "entries" in every directory; dumps and documents with sorted members have it so',
      );
    }
    if (tokens.peek() !== 0x7b) {
      throw tokens.error(
        "DECANT_E_JSON_ENTRY",
        `"entries" must be an object, got ${tokens.describeValue()}`,
        DAMAGE_HINT,
      );
    }
    tokens.at++;
    this.#mask |= ENTRIES;
    this.#checkMembers();
    if (this.#names.depth >= MAX_DEPTH) {
      throw tokens.error("DECANT_E_JSON_LIMIT", `directories are nested more than ${MAX_DEPTH} deep`, DAMAGE_HINT);
    }
    this.#writeEntry(false);
    this.#masks.push(this.#mask | WRITTEN);
    this.#names.enter();
    return FIRST_CHILD;
  }

  #endEntries(): void {
    this.#tokens.at++;
    this.#names.leave();
    this.#mask = this.#masks.pop()!;
    this.#resetMembers();
    this.#state = NEXT_MEMBER;
  }

  #endEntry(): void {
    const tokens = this.#tokens;
    if ((this.#mask & ATTR) === 0) throw tokens.error("DECANT_E_JSON_ENTRY", 'the entry has no "attr"', DAMAGE_HINT);
    tokens.at++;
    this.#checkMembers();
    if ((this.#mask & WRITTEN) === 0) this.#writeEntry(false);
    else if ((this.#mask & ENTRIES) === 0) this.#items.moreChunks(this.#chunks.list, 0);
    if ((this.#mask & ENTRIES) !== 0) this.#writeLeave();
    else if (this.#attribute.type === FileType.directory)
      this.#items.leave(KEEP_ACL_ID, KEEP_ACL_ID, this.#emptyXattrs());
    this.#state = this.#masks.length === 0 ? DONE : NEXT_CHILD;
  }

  /** What was read behind `entries` goes into the leave item. */
  #writeLeave(): void {
    const { accessAclId, defaultAclId } = this.#parts;
    this.#items.leave(accessAclId || KEEP_ACL_ID, defaultAclId || KEEP_ACL_ID, this.#xattrs.list);
  }

  #emptyXattrs(): XattrReader["list"] {
    this.#xattrs.reset();
    return this.#xattrs.list;
  }

  #writeEntry(moreChunksFollow: boolean): void {
    const parts = this.#parts;
    const chunks = this.#chunks.list;
    if ((this.#mask & WRITTEN) !== 0) {
      this.#items.moreChunks(chunks, 0);
      return;
    }
    parts.name = this.#names.view;
    parts.nameStart = this.#names.start;
    parts.nameEnd = this.#names.end;
    const first = chunksPart(chunks, 0);
    if (first < chunks.length || moreChunksFollow) parts.flags |= ENTRY_MORE_CHUNKS;
    this.#items.entry(this.#attribute, parts, this.#xattrs.list, chunks, first);
    if (first < chunks.length) this.#items.moreChunks(chunks, first);
  }

  #checkInode(): void {
    const { inodeHigh, inodeLow, type } = this.#attribute;
    const isRoot = (this.#parts.flags & ENTRY_ROOT) !== 0;
    const problem = inodeProblem(inodeHigh >>> 0, inodeLow >>> 0, type, isRoot, this.#section === "Trash");
    if (problem !== undefined) throw this.#tokens.error("DECANT_E_JSON_INODE", problem, INODE_HINT);
  }

  /** Refuses members that the type cannot have; the reference drops them silently. */
  #checkMembers(): void {
    const mask = this.#mask;
    // Behind `entries` the attributes read last are those of another entry.
    const type = (mask & ENTRIES) !== 0 && (mask & WRITTEN) !== 0 ? FileType.directory : this.#attribute.type;
    const stray = strayMember(mask, type);
    if (stray !== undefined) {
      throw this.#tokens.error("DECANT_E_JSON_ENTRY", `a ${FILE_TYPE_NAMES[type]} cannot have "${stray}"`, DAMAGE_HINT);
    }
    if (type === FileType.symlink && (mask & SYMLINK) === 0) {
      this.#warn("symlink-without-target", "A symbolic link has no target: it was stored with an empty one");
    }
  }
}
