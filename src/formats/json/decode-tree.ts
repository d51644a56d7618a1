import type { DataError } from "../../base/errors.ts";
import { FileType } from "../../volume/file-type.ts";
import { printableName } from "../../volume/path.ts";
import type { RecordBatch } from "../../volume/records.ts";
import { ENTRY_ROOT, ENTRY_TRASH_ROOT } from "../../volume/tree-item.ts";
import { UNKNOWN_MEMBER_TEXT, type Warn } from "./decode-attribute.ts";
import {
  ATTR,
  CHUNKS,
  ENTRIES,
  type InodePlace,
  MEMBER_BITS,
  type MemberName,
  nameProblem,
  readMemberName,
  shortPath,
  WRITTEN,
  XATTRS,
} from "./decode-checks.ts";
import { EntryReader } from "./decode-entry.ts";
import { beginList, nextElement } from "./decode-lists.ts";
import { DirectoryNames } from "./decode-names.ts";
import { EntryFinder, PartFinder, type PartKind } from "./decode-resync.ts";
import { EntrySkipper, type SkipFrom } from "./decode-skip-entry.ts";
import type { JsonSkipper } from "./json-skip.ts";
import type { JsonTokens } from "./json-tokens.ts";
import { DAMAGE_HINT } from "./json-window.ts";

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
const FIND_ENTRY = 12;
const FIND_PART = 13;
/** By state, what is left of an entry when its reading stops there. */
const SKIP_FROM: readonly (SkipFrom | undefined)[] = [
  undefined,
  ...(["member", "member", "child", "child", "element", "element", "element", "element"] as const),
];

/** By state, what its part is called. */
const PART_KINDS: readonly (PartKind | undefined)[] = [
  ...[undefined, undefined, undefined, undefined, undefined],
  ...(["xattrs", "xattrs", "chunks", "chunks"] as const),
];

/** For trees that are damaged. */
export interface TreeSalvage {
  /** A number for a directory that has lost its own; those right below the root of the trash have theirs. */
  newInode(isTrashDirectory: boolean): bigint;
  /** Keep entries whose directories are lost, in new ones. */
  readonly lostFound: boolean;
}

/** What was kept of an entry that could not be read in full. */
export type Kept = "directory" | "name" | "part";

const UNKNOWN_NAME = Buffer.from("#");

/**
 * Reads `FSTree` and `Trash` into tree items, one member of an entry per step and without recursion: what an open
 * directory needs is on the stacks of `DirectoryNames` and `#masks`.
 */
export class TreeDecoder {
  readonly #tokens: JsonTokens;
  readonly #skipper: JsonSkipper;
  readonly #warn: Warn;
  readonly #commit: () => void;
  #names: DirectoryNames = new DirectoryNames();
  readonly #entry: EntryReader;
  #state = DONE;
  #section = "";
  /** What was read of the directories around the current entry. */
  readonly #masks: number[] = [];
  readonly #entrySkipper: EntrySkipper;
  readonly #finder: EntryFinder;
  readonly #partFinder: PartFinder;
  readonly #salvage: TreeSalvage | undefined;
  #isOutOfStep = false;
  /** The entry at hand may be a directory of which a part was read when the text broke. */
  #canKeep = false;
  #kept: Kept | undefined;
  /** Where reading has gone on behind text that is no JSON. */
  foundLine = 0;
  /** What is thrown when there is nothing behind. */
  #damage: DataError | undefined;
  constructor(tokens: JsonTokens, skipper: JsonSkipper, warn: Warn, commit: () => void, salvage?: TreeSalvage) {
    this.#tokens = tokens;
    this.#skipper = skipper;
    this.#warn = warn;
    this.#commit = commit;
    this.#entry = new EntryReader(tokens, skipper, warn, this.#names);
    this.#entrySkipper = new EntrySkipper(tokens, skipper);
    this.#finder = new EntryFinder(tokens);
    this.#partFinder = new PartFinder(tokens);
    this.#salvage = salvage;
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
   * After an error that a step has thrown and the tokens were rewound: makes the next steps pass over the element or member at hand where
   * the entry can be without, else over the entry, with everything below it. False when it cannot be left out.
   */
  skipEntry(): boolean {
    const from = SKIP_FROM[this.#state];
    if (from === undefined || this.#isOutOfStep) return false;
    this.#kept = undefined;
    this.#entrySkipper.begin(from);
    this.#partFinder.kind = PART_KINDS[this.#state] ?? "member";
    this.#state = from === "element" || (from === "member" && this.#entry.canEnd) ? FIND_PART : SKIP_ENTRY;
    return true;
  }

  /** The same where the text is no JSON any more: the next steps look for an entry with which reading can go on. */
  findEntry(error: DataError): boolean {
    if (this.#state === FIND_ENTRY || this.#state === DONE || this.#state === ROOT) return false;
    this.#isOutOfStep = false;
    const isInEntry = !this.#isBetweenEntries;
    if (isInEntry && this.#entry.isWrittenDirectory) this.#entry.leave();
    else if (isInEntry && this.#entry.canEnd) this.#endDamaged();
    this.#canKeep = isInEntry && (this.#entry.mask & WRITTEN) === 0;
    if (this.#masks.length === 0 && !this.#canKeep) return false; // the root was read to its end
    this.#kept = undefined;
    this.#damage = error;
    this.#finder.begin();
    this.#state = FIND_ENTRY;
    return true;
  }

  /** Goes on with what stands behind the part of an entry that cannot be read, else passes over the whole entry. */
  #findPart(): void {
    const finder = this.#partFinder;
    const found = finder.step();
    if (found === "nothing") {
      this.#state = SKIP_ENTRY;
      return;
    }
    this.#kept = "part";
    const inList = finder.kind === "chunks" ? FIRST_CHUNK : FIRST_XATTR;
    this.#state = found === "element" ? inList : FIRST_MEMBER;
  }

  get isSkipping(): boolean {
    return this.#state === SKIP_ENTRY || this.#state === FIND_ENTRY || this.#state === FIND_PART;
  }

  /** What was passed over last, where that was a part of an entry which was kept. */
  get kept(): Kept | undefined {
    return this.#kept;
  }

  #findEntry(): void {
    const finder = this.#finder;
    const found = finder.step();
    if (found === undefined) return;
    const { depth, at } = found;
    const open = this.#masks.length;
    this.#tokens.skipTo(at);
    if (depth === 0) {
      if (open === 0) throw this.#damage!;
      this.#leaveOpen(0);
      this.#state = DONE;
    } else if (depth <= open && (finder.isCertain || depth === 1)) {
      this.#leaveOpen(depth);
      this.#state = FIRST_CHILD;
    } else if (depth === open + 1 && this.#canKeep && (finder.isCertain || depth === 1) && this.#keepDirectory()) {
      this.#state = FIRST_CHILD;
    } else if (open > 0 && this.#salvage?.lostFound === true && this.#enterLost(finder, depth)) {
      this.#state = FIRST_CHILD;
    } else {
      finder.pass();
      return;
    }
    this.foundLine = this.#tokens.line;
  }

  /** Writes the entry at hand, which is no directory, as far as it was read. */
  #endDamaged(): void {
    this.#entry.end(this.#names);
    this.#entry.mask |= WRITTEN;
  }

  /** Writes the entry at hand, as far as it was read, as the directory that it must be, and enters it. */
  #keepDirectory(): boolean {
    if (this.#names.depth >= MAX_DEPTH || this.#salvage === undefined) return false;
    const entry = this.#entry;
    if ((entry.mask & ATTR) !== 0 && entry.attribute.type === FileType.directory) entry.write(this.#names, false);
    else entry.writeUnknownDirectory(this.#names, this.#newInode());
    entry.mask |= ENTRIES;
    this.#enter();
    this.#kept = "directory";
    return true;
  }

  /**
   * Enters new directories that stand for those whose names are lost, so that an entry of `depth` is where it belongs: in the directory
   * that is certain, or below the root.
   */
  #enterLost(finder: EntryFinder, depth: number): boolean {
    const certain = finder.isCertain ? Math.min(this.#masks.length, depth) : 1;
    // Below its root the trash has directories of hours, and nothing else.
    if (depth > MAX_DEPTH || (certain === 1 && this.#isInTrash)) return false;
    this.#leaveOpen(certain);
    if (!this.#addLostName()) return false;
    for (;;) {
      this.#entry.writeUnknownDirectory(this.#names, this.#newInode());
      this.#entry.mask |= ENTRIES;
      this.#enter();
      if (this.#masks.length === depth) return true;
      this.#names.add(UNKNOWN_NAME, 0, UNKNOWN_NAME.length);
    }
  }

  get #isInTrash(): boolean {
    return this.#section === "Trash";
  }

  get #inodePlace(): InodePlace {
    if (!this.#isInTrash) return "tree";
    return this.#tokens.isSalvaging && this.#masks.length === 1 ? "hour" : "trash";
  }

  #newInode(): bigint {
    return this.#salvage!.newInode(this.#isInTrash && this.#masks.length === 1);
  }

  /** Ends directories until so many are open. */
  #leaveOpen(count: number): void {
    while (this.#masks.length > count) {
      this.#entry.leave();
      this.#names.leave();
      this.#masks.pop();
    }
  }

  /**
   * Ends a tree that cannot be read any further, after an error that a step has thrown: directories that are open, and no more.
   * False where not even its root was read.
   */
  abandon(): boolean {
    const isInEntry = !this.#isBetweenEntries && this.#entry.isWrittenDirectory;
    const open = this.#masks.length + (isInEntry ? 1 : 0);
    for (let i = 0; i < open; i++) this.#entry.leave();
    this.#masks.length = 0;
    this.#state = DONE;
    return open > 0;
  }

  get #isBetweenEntries(): boolean {
    return (this.#state === SKIP_ENTRY ? this.#entrySkipper.from : SKIP_FROM[this.#state]) === "child";
  }

  #skipEntry(): void {
    const skipper = this.#entrySkipper;
    const isChild = skipper.from === "child";
    const canKeep = isChild ? this.#salvage?.lostFound === true : (this.#entry.mask & WRITTEN) === 0;
    const passed = skipper.step(canKeep);
    if (passed === "entry") this.#endSkipped();
    else if (passed === "begin" && isChild && this.#addLostName()) this.#beginEntry(0);
    else if (passed === "begin" && !isChild && this.#keepDirectory()) this.#state = FIRST_CHILD;
    else if (passed === "begin") this.#tokens.at--; // passed like any value
  }

  /** Makes a new name that of the entry that begins. */
  #addLostName(): boolean {
    const name = Buffer.from(`lost+found-${this.#tokens.offset}`);
    this.#kept = "name";
    return this.#names.add(name, 0, name.length) === "new";
  }

  #endSkipped(): void {
    const isMember = this.#entrySkipper.from !== "child";
    const isRoot = isMember && this.#masks.length === 0;
    if (isRoot && !this.#entry.isWrittenDirectory) {
      throw this.#tokens.error("DECANT_E_JSON_ENTRY", "no entry of the tree can be read", DAMAGE_HINT);
    }
    if (isMember && this.#entry.isWrittenDirectory) this.#entry.leave();
    else if (isMember && this.#entry.canEnd) {
      this.#endDamaged();
      this.#kept = "part";
    }
    this.#state = isRoot ? DONE : NEXT_CHILD;
  }

  /** What was read and not given yet. Rules come before the entries that use them. */
  takeRest(into: RecordBatch[]): void {
    for (const batch of [this.#entry.acls.records.take(), this.#entry.items.builder.take()])
      if (batch !== undefined) into.push(batch);
  }

  /** Runs steps until there are records enough for a batch; true when the tree has been read. */
  run(into: RecordBatch[]): boolean {
    const items = this.#entry.items.builder;
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
        if (this.#isElement(this.#state === FIRST_XATTR)) {
          this.#entry.xattrs.read();
          this.#entry.mask |= XATTRS;
          this.#state = NEXT_XATTR;
        }
        break;
      case FIRST_CHUNK:
      case NEXT_CHUNK:
        if (this.#isElement(this.#state === FIRST_CHUNK)) {
          this.#entry.mask |= CHUNKS;
          this.#entry.readChunk(this.#names);
          this.#state = NEXT_CHUNK;
        }
        break;
      case SKIP:
        this.#skipper.run(true);
        this.#state = NEXT_MEMBER;
        break;
      case FIND_ENTRY:
        this.#findEntry();
        break;
      case FIND_PART:
        this.#findPart();
        break;
      case SKIP_ENTRY:
        this.#skipEntry();
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
    this.#entry.begin(flags);
    this.#state = FIRST_MEMBER;
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
      const text = tokens.textValue();
      this.#warn("unknown-member", UNKNOWN_MEMBER_TEXT, text);
      if (tokens.isSalvaging && tokens.peekFirstMember() === "attr") this.#throwOutOfStep(text);
      this.#skipper.begin();
      this.#state = SKIP;
      return;
    }
    const bit = MEMBER_BITS[name];
    const { mask } = this.#entry;
    if ((mask & bit) !== 0) throw tokens.error("DECANT_E_JSON_ENTRY", `the entry has "${name}" twice`, DAMAGE_HINT);
    if ((mask & (WRITTEN | ENTRIES)) === WRITTEN) {
      throw tokens.error(
        "DECANT_E_JSON_LIMIT",
        `"${name}" stands behind a very long list of chunks`,
        'Put "chunks" last in this entry',
      );
    }
    this.#state = this.#readMember(name, bit);
  }

  /** Damage has hidden the end of entries: where a member of one should stand, there is another entry. */
  #throwOutOfStep(name: string): never {
    this.#isOutOfStep = true;
    throw this.#tokens.error(
      "DECANT_E_JSON_ENTRY",
      `an entry, "${name}", stands among the members of another`,
      DAMAGE_HINT,
    );
  }

  /** Reads the value and returns the state that follows. */
  #readMember(name: MemberName, bit: number): number {
    const tokens = this.#tokens;
    switch (name) {
      case "attr":
        this.#entry.attribute.read();
        this.#entry.checkInode(this.#inodePlace);
        break;
      case "entries":
        return this.#beginEntries();
      case "chunks":
        return beginList(tokens, name) ? FIRST_CHUNK : NEXT_MEMBER;
      case "xattrs":
        return beginList(tokens, name) ? FIRST_XATTR : NEXT_MEMBER;
      case "symlink":
        if (tokens.readNull()) return NEXT_MEMBER;
        tokens.readString(true, "the target of the symbolic link in quotes");
        this.#entry.keepSymlink();
        break;
      default:
        this.#entry.readAcl(name);
    }
    this.#entry.mask |= bit;
    return NEXT_MEMBER;
  }

  #isElement(isFirst: boolean): boolean {
    if (nextElement(this.#tokens, isFirst)) return true;
    this.#state = NEXT_MEMBER;
    return false;
  }

  #beginEntries(): number {
    const tokens = this.#tokens;
    if (tokens.readNull()) return NEXT_MEMBER;
    if ((this.#entry.mask & ATTR) === 0) {
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
    this.#entry.mask |= ENTRIES;
    this.#entry.checkMembers();
    if (this.#names.depth >= MAX_DEPTH) {
      throw tokens.error("DECANT_E_JSON_LIMIT", `directories are nested more than ${MAX_DEPTH} deep`, DAMAGE_HINT);
    }
    this.#entry.write(this.#names, false);
    this.#enter();
    return FIRST_CHILD;
  }

  /** The entry at hand, a directory that was written, becomes that which the next entries belong to. */
  #enter(): void {
    this.#masks.push(this.#entry.mask | WRITTEN);
    this.#names.enter();
  }

  #endEntries(): void {
    this.#tokens.at++;
    this.#names.leave();
    this.#entry.mask = this.#masks.pop()!;
    this.#entry.resetMembers();
    this.#state = NEXT_MEMBER;
  }

  #endEntry(): void {
    const tokens = this.#tokens;
    if ((this.#entry.mask & ATTR) === 0)
      throw tokens.error("DECANT_E_JSON_ENTRY", 'the entry has no "attr"', DAMAGE_HINT);
    tokens.at++;
    this.#entry.checkMembers();
    this.#entry.end(this.#names);
    this.#state = this.#masks.length === 0 ? DONE : NEXT_CHILD;
  }
}
