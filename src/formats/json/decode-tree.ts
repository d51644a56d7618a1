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
  WRITTEN,
  XATTRS,
} from "./decode-checks.ts";
import { EntryReader } from "./decode-entry.ts";
import { beginList, nextElement } from "./decode-lists.ts";
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
  NEXT_CHUNK,
  NEXT_MEMBER,
  NEXT_XATTR,
  SKIP,
  SKIP_ENTRY,
  TreePosition,
} from "./decode-position.ts";
import { type TreeSalvage, TreeSalvager } from "./decode-salvage.ts";
import type { JsonSkipper } from "./json-skip.ts";
import type { JsonTokens } from "./json-tokens.ts";
import { DAMAGE_HINT } from "./json-window.ts";

/**
 * Reads `FSTree` and `Trash` into tree items, one member of an entry per step and without recursion: what an open
 * directory needs is on the stacks of `TreePosition`.
 */
export class TreeDecoder {
  readonly #tokens: JsonTokens;
  readonly #skipper: JsonSkipper;
  readonly #warn: Warn;
  readonly #commit: () => void;
  readonly #position: TreePosition = new TreePosition();
  readonly #entry: EntryReader;
  /** Where damaged trees are read. */
  readonly salvager: TreeSalvager | undefined;

  constructor(tokens: JsonTokens, skipper: JsonSkipper, warn: Warn, commit: () => void, salvage?: TreeSalvage) {
    this.#tokens = tokens;
    this.#skipper = skipper;
    this.#warn = warn;
    this.#commit = commit;
    this.#entry = new EntryReader(tokens, skipper, warn, this.#position.names);
    const parts = { position: this.#position, entry: this.#entry };
    this.salvager = salvage === undefined ? undefined : new TreeSalvager(tokens, skipper, { ...parts, salvage });
  }

  /** Begins with the value of the member `section`. */
  begin(section: "FSTree" | "Trash"): void {
    this.#position.begin(section);
  }

  /** See `TreePosition`. */
  path(): string {
    return this.#position.path();
  }

  get #inodePlace(): InodePlace {
    if (!this.#position.isInTrash) return "tree";
    return this.salvager !== undefined && this.#position.masks.length === 1 ? "hour" : "trash";
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
    } while (this.#position.state !== DONE && !items.isFull);
    this.takeRest(into);
    return this.#position.state === DONE;
  }

  #step(): void {
    switch (this.#position.state) {
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
        if (this.#isElement(this.#position.state === FIRST_XATTR)) {
          this.#entry.xattrs.read();
          this.#entry.mask |= XATTRS;
          this.#position.state = NEXT_XATTR;
        }
        break;
      case FIRST_CHUNK:
      case NEXT_CHUNK:
        if (this.#isElement(this.#position.state === FIRST_CHUNK)) {
          this.#entry.mask |= CHUNKS;
          this.#entry.readChunk(this.#position.names);
          this.#position.state = NEXT_CHUNK;
        }
        break;
      case SKIP:
        this.#skipper.run(true);
        this.#position.state = NEXT_MEMBER;
        break;
      case FIND_ENTRY:
      case FIND_PART:
      case SKIP_ENTRY:
        this.salvager!.step();
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
    this.#position.beginEntry(this.#entry, this.#position.isInTrash ? ENTRY_ROOT | ENTRY_TRASH_ROOT : ENTRY_ROOT);
  }

  /** Reads the name of the next entry of a directory, or the end of its entries. */
  #child(): void {
    const tokens = this.#tokens;
    let byte = tokens.peek();
    if (byte === 0x7d) {
      this.#endEntries();
      return;
    }
    if (this.#position.state === NEXT_CHILD) {
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
    this.#position.beginEntry(this.#entry, 0);
  }

  #addName(text: Buffer, start: number, end: number): string | undefined {
    const verdict = this.#position.names.add(text, start, end);
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
    if (this.#position.state === NEXT_MEMBER) {
      if (byte !== 0x2c) throw tokens.unexpected("',' or '}'");
      tokens.at++;
      byte = tokens.peek();
    }
    const name = readMemberName(tokens);
    if (name === undefined) {
      const text = tokens.textValue();
      this.#warn("unknown-member", UNKNOWN_MEMBER_TEXT, text);
      if (this.salvager !== undefined && tokens.peekFirstMember() === "attr") this.salvager.throwOutOfStep(text);
      this.#skipper.begin();
      this.#position.state = SKIP;
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
    this.#position.state = this.#readMember(name, bit);
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
    this.#position.state = NEXT_MEMBER;
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
    if (this.#position.names.depth >= MAX_DEPTH) {
      throw tokens.error("DECANT_E_JSON_LIMIT", `directories are nested more than ${MAX_DEPTH} deep`, DAMAGE_HINT);
    }
    this.#entry.write(this.#position.names, false);
    this.#position.enter(this.#entry);
    return FIRST_CHILD;
  }

  #endEntries(): void {
    this.#tokens.at++;
    this.#position.names.leave();
    this.#entry.mask = this.#position.masks.pop()!;
    this.#entry.resetMembers();
    this.#position.state = NEXT_MEMBER;
  }

  #endEntry(): void {
    const tokens = this.#tokens;
    if ((this.#entry.mask & ATTR) === 0)
      throw tokens.error("DECANT_E_JSON_ENTRY", 'the entry has no "attr"', DAMAGE_HINT);
    tokens.at++;
    this.#entry.checkMembers();
    this.#entry.end(this.#position.names);
    this.#position.state = this.#position.masks.length === 0 ? DONE : NEXT_CHILD;
  }
}
