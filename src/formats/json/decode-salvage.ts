import type { DataError } from "../../base/errors.ts";
import { FileType } from "../../volume/file-type.ts";
import { ATTR, ENTRIES, WRITTEN } from "./decode-checks.ts";
import type { EntryReader } from "./decode-entry.ts";
import {
  DONE,
  FIND_ENTRY,
  FIND_PART,
  FIRST_CHILD,
  FIRST_CHUNK,
  FIRST_MEMBER,
  FIRST_XATTR,
  MAX_DEPTH,
  NEXT_CHILD,
  ROOT,
  SKIP_ENTRY,
  type TreePosition,
} from "./decode-position.ts";
import { EntryFinder, PartFinder, type PartKind } from "./decode-resync.ts";
import { EntrySkipper, type SkipFrom } from "./decode-skip-entry.ts";
import type { JsonSkipper } from "./json-skip.ts";
import type { JsonTokens } from "./json-tokens.ts";
import { DAMAGE_HINT } from "./json-window.ts";

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

/** Passes over what cannot be read of a tree, and keeps of it what can. */
export class TreeSalvager {
  readonly #tokens: JsonTokens;
  readonly #position: TreePosition;
  readonly #entry: EntryReader;
  readonly #salvage: TreeSalvage;
  readonly #entrySkipper: EntrySkipper;
  readonly #finder: EntryFinder;
  readonly #partFinder: PartFinder;
  #isOutOfStep = false;
  /** The entry at hand may be a directory of which a part was read when the text broke. */
  #canKeep = false;
  #kept: Kept | undefined;
  /** Where reading has gone on behind text that is no JSON. */
  foundLine = 0;
  /** What is thrown when there is nothing behind. */
  #damage: DataError | undefined;

  constructor(
    tokens: JsonTokens,
    skipper: JsonSkipper,
    { position, entry, salvage }: { position: TreePosition; entry: EntryReader; salvage: TreeSalvage },
  ) {
    this.#tokens = tokens;
    this.#position = position;
    this.#entry = entry;
    this.#salvage = salvage;
    this.#entrySkipper = new EntrySkipper(tokens, skipper);
    this.#finder = new EntryFinder(tokens);
    this.#partFinder = new PartFinder(tokens);
  }

  /** A step where the state is one of passing over. */
  step(): void {
    switch (this.#position.state) {
      case FIND_ENTRY:
        this.#findEntry();
        break;
      case FIND_PART:
        this.#findPart();
        break;
      default:
        this.#skipEntry();
    }
  }

  /**
   * After an error that a step has thrown and the tokens were rewound: makes the next steps pass over the element or member at hand where
   * the entry can be without, else over the entry, with everything below it. False when it cannot be left out.
   */
  skipEntry(): boolean {
    const from = SKIP_FROM[this.#position.state];
    if (from === undefined || this.#isOutOfStep) return false;
    this.#kept = undefined;
    this.#entrySkipper.begin(from);
    this.#partFinder.kind = PART_KINDS[this.#position.state] ?? "member";
    this.#position.state = from === "element" || (from === "member" && this.#entry.canEnd) ? FIND_PART : SKIP_ENTRY;
    return true;
  }

  /** The same where the text is no JSON any more: the next steps look for an entry with which reading can go on. */
  findEntry(error: DataError): boolean {
    if (this.#position.state === FIND_ENTRY || this.#position.state === DONE || this.#position.state === ROOT)
      return false;
    this.#isOutOfStep = false;
    const isInEntry = !this.#isBetweenEntries;
    const isWritten = (this.#entry.mask & WRITTEN) !== 0;
    if (this.#position.masks.length === 0 && (!isInEntry || isWritten)) return false; // the root was read to its end
    if (isInEntry && this.#entry.isWrittenDirectory) this.#entry.leave();
    else if (isInEntry && this.#entry.canEnd) this.#endDamaged();
    this.#canKeep = isInEntry && (this.#entry.mask & WRITTEN) === 0;
    this.#kept = undefined;
    this.#damage = error;
    this.#finder.begin();
    this.#position.state = FIND_ENTRY;
    return true;
  }

  /** Goes on with what stands behind the part of an entry that cannot be read, else passes over the whole entry. */
  #findPart(): void {
    const finder = this.#partFinder;
    const found = finder.step();
    if (found === "nothing") {
      this.#position.state = SKIP_ENTRY;
      return;
    }
    this.#kept = "part";
    const inList = finder.kind === "chunks" ? FIRST_CHUNK : FIRST_XATTR;
    this.#position.state = found === "element" ? inList : FIRST_MEMBER;
  }

  get isSkipping(): boolean {
    return (
      this.#position.state === SKIP_ENTRY || this.#position.state === FIND_ENTRY || this.#position.state === FIND_PART
    );
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
    const open = this.#position.masks.length;
    this.#tokens.skipTo(at);
    if (depth === 0) {
      if (open === 0) throw this.#damage!;
      this.#position.leaveOpen(0, this.#entry);
      this.#position.state = DONE;
    } else if (depth <= open && (finder.isCertain || depth === 1)) {
      this.#position.leaveOpen(depth, this.#entry);
      this.#position.state = FIRST_CHILD;
    } else if (depth === open + 1 && this.#canKeep && (finder.isCertain || depth === 1) && this.#keepDirectory()) {
      this.#position.state = FIRST_CHILD;
    } else if (open > 0 && this.#salvage.lostFound && this.#enterLost(finder, depth)) {
      this.#position.state = FIRST_CHILD;
    } else {
      finder.pass();
      return;
    }
    this.foundLine = this.#tokens.line;
  }

  /** Writes the entry at hand, which is no directory, as far as it was read. */
  #endDamaged(): void {
    this.#entry.end(this.#position.names);
    this.#entry.mask |= WRITTEN;
  }

  /** Writes the entry at hand, as far as it was read, as the directory that it must be, and enters it. */
  #keepDirectory(): boolean {
    if (this.#position.names.depth >= MAX_DEPTH) return false;
    const entry = this.#entry;
    if ((entry.mask & ATTR) !== 0 && entry.attribute.type === FileType.directory)
      entry.write(this.#position.names, false);
    else entry.writeUnknownDirectory(this.#position.names, this.#newInode());
    entry.mask |= ENTRIES;
    this.#position.enter(this.#entry);
    this.#kept = "directory";
    return true;
  }

  /**
   * Enters new directories that stand for those whose names are lost, so that an entry of `depth` is where it belongs: in the directory
   * that is certain, or below the root.
   */
  #enterLost(finder: EntryFinder, depth: number): boolean {
    const certain = finder.isCertain ? Math.min(this.#position.masks.length, depth) : 1;
    // Below its root the trash has directories of hours, and nothing else.
    if (depth > MAX_DEPTH || (certain === 1 && this.#position.isInTrash)) return false;
    this.#position.leaveOpen(certain, this.#entry);
    if (!this.#addLostName()) return false;
    for (;;) {
      this.#entry.writeUnknownDirectory(this.#position.names, this.#newInode());
      this.#entry.mask |= ENTRIES;
      this.#position.enter(this.#entry);
      if (this.#position.masks.length === depth) return true;
      this.#position.names.add(UNKNOWN_NAME, 0, UNKNOWN_NAME.length);
    }
  }

  #newInode(): bigint {
    return this.#salvage.newInode(this.#position.isInTrash && this.#position.masks.length === 1);
  }

  /**
   * Ends a tree that cannot be read any further, after an error that a step has thrown: directories that are open, and no more.
   * False where not even its root was read.
   */
  abandon(): boolean {
    const isInEntry = !this.#isBetweenEntries && this.#entry.isWrittenDirectory;
    const open = this.#position.masks.length + (isInEntry ? 1 : 0);
    for (let i = 0; i < open; i++) this.#entry.leave();
    this.#position.masks.length = 0;
    this.#position.state = DONE;
    return open > 0;
  }

  get #isBetweenEntries(): boolean {
    return (
      (this.#position.state === SKIP_ENTRY ? this.#entrySkipper.from : SKIP_FROM[this.#position.state]) === "child"
    );
  }

  #skipEntry(): void {
    const skipper = this.#entrySkipper;
    const isChild = skipper.from === "child";
    const canKeep = isChild ? this.#salvage.lostFound : (this.#entry.mask & WRITTEN) === 0;
    const passed = skipper.step(canKeep);
    if (passed === "entry") this.#endSkipped();
    else if (passed === "begin" && isChild && this.#addLostName()) this.#position.beginEntry(this.#entry, 0);
    else if (passed === "begin" && !isChild && this.#keepDirectory()) this.#position.state = FIRST_CHILD;
    else if (passed === "begin") this.#tokens.at--; // passed like any value
  }

  /** Makes a new name that of the entry that begins. */
  #addLostName(): boolean {
    const name = Buffer.from(`lost+found-${this.#tokens.offset}`);
    this.#kept = "name";
    return this.#position.names.add(name, 0, name.length) === "new";
  }

  #endSkipped(): void {
    const isMember = this.#entrySkipper.from !== "child";
    const isRoot = isMember && this.#position.masks.length === 0;
    if (isRoot && !this.#entry.isWrittenDirectory) {
      throw this.#tokens.error("DECANT_E_JSON_ENTRY", "no entry of the tree can be read", DAMAGE_HINT);
    }
    if (isMember && this.#entry.isWrittenDirectory) this.#entry.leave();
    else if (isMember && this.#entry.canEnd) {
      this.#endDamaged();
      this.#kept = "part";
    }
    this.#position.state = isRoot ? DONE : NEXT_CHILD;
  }

  /** Damage has hidden the end of entries: where a member of one should stand, there is another entry. */
  throwOutOfStep(name: string): never {
    this.#isOutOfStep = true;
    throw this.#tokens.error(
      "DECANT_E_JSON_ENTRY",
      `an entry, "${name}", stands among the members of another`,
      DAMAGE_HINT,
    );
  }
}
