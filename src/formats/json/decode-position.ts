import { shortPath, WRITTEN } from "./decode-checks.ts";
import type { EntryReader } from "./decode-entry.ts";
import { DirectoryNames } from "./decode-names.ts";

/** Directories in directories; the reference has no limit, real trees do not come near. */
export const MAX_DEPTH = 200_000;

/** What the next step of a tree reads, or passes over. */
export const ROOT = 0;
export const FIRST_MEMBER = 1;
export const NEXT_MEMBER = 2;
export const FIRST_CHILD = 3;
export const NEXT_CHILD = 4;
export const FIRST_XATTR = 5;
export const NEXT_XATTR = 6;
export const FIRST_CHUNK = 7;
export const NEXT_CHUNK = 8;
export const SKIP = 9;
export const DONE = 10;
export const SKIP_ENTRY = 11;
export const FIND_ENTRY = 12;
export const FIND_PART = 13;

/** Where in a tree the reading is: what an open directory needs is on the stacks of `names` and `masks`. */
export class TreePosition {
  state: number = DONE;
  section: "FSTree" | "Trash" | "" = "";
  names: DirectoryNames = new DirectoryNames();
  /** What was read of the directories around the current entry. */
  readonly masks: number[] = [];

  begin(section: "FSTree" | "Trash"): void {
    this.section = section;
    this.names = new DirectoryNames();
    this.state = ROOT;
  }

  get isInTrash(): boolean {
    return this.section === "Trash";
  }

  /** Path of what is being read, printable. The trash is shown where clients see it, as `/.trash`. */
  path(): string {
    const path = this.names.path(this.state !== FIRST_CHILD && this.state !== NEXT_CHILD);
    return shortPath(this.section === "FSTree" ? path : path === "/" ? "/.trash" : `/.trash${path}`);
  }

  beginEntry(entry: EntryReader, flags: number): void {
    entry.begin(flags);
    this.state = FIRST_MEMBER;
  }

  /** The entry at hand, a directory that was written, becomes that which the next entries belong to. */
  enter(entry: EntryReader): void {
    this.masks.push(entry.mask | WRITTEN);
    this.names.enter();
  }

  /** Ends directories until so many are open. */
  leaveOpen(count: number, entry: EntryReader): void {
    while (this.masks.length > count) {
      entry.leave();
      this.names.leave();
      this.masks.pop();
    }
  }
}
