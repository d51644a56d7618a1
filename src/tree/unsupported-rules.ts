import { ATTR_GID, ATTR_RDEV, ATTR_TYPE_MODE, ATTR_UID } from "../volume/attribute.ts";
import { SLICE_BYTES } from "../volume/slices.ts";
import { OVERFLOW_OWNER, type UnsupportedValue, type ValueLimits } from "../volume/value-limits.ts";

/** By index in a list of names, why the database cannot hold the name. */
export type NameProblems = ReadonlyMap<number, string>;

/** A value without its place. */
export type FoundValue = Omit<UnsupportedValue, "path" | "inode">;

/** Answers about lists of names are kept, up to this many characters: most inodes of a volume have the same few. */
const MAX_KNOWN_CHARACTERS = 4_000_000;
const SET_USER_ID = 0o4000;
const SET_GROUP_ID = 0o2000;

/** What a database cannot hold and why, for records of either shape; and what is stored instead. */
export class UnsupportedRules {
  readonly limits: ValueLimits;
  readonly #known = new Map<string, NameProblems>();
  #knownCharacters = 0;

  constructor(limits: ValueLimits) {
    this.limits = limits;
  }

  /** Finds out about the names of some inodes, with one question for all of which nothing is known. */
  async learnNames(lists: Iterable<readonly Buffer[]>): Promise<void> {
    const wanted = new Map<string, readonly Buffer[]>();
    for (const names of lists) if (names.length > 0) wanted.set(keyOf(names), names);
    if (this.#knownCharacters > MAX_KNOWN_CHARACTERS) {
      this.#known.clear();
      this.#knownCharacters = 0;
    }
    const unknown = [...wanted].filter(([key]) => !this.#known.has(key));
    if (unknown.length === 0) return;
    const problems = await this.limits.xattrNameProblems(unknown.map(([, names]) => names));
    unknown.forEach(([key], i) => {
      this.#known.set(key, problems[i]!);
      this.#knownCharacters += key.length;
    });
  }

  /** What the last `learnNames` found out about the names of one inode. */
  nameProblems(names: readonly Buffer[]): NameProblems | undefined {
    return this.#known.get(keyOf(names));
  }

  /** Why the value of an extended attribute cannot be held. */
  xattrValue(size: number): string | undefined {
    const { minXattrValueBytes = 0, maxXattrValueBytes } = this.limits;
    if (size < minXattrValueBytes) return "it is empty";
    return tooLong(size, maxXattrValueBytes);
  }

  symlink(size: number): string | undefined {
    return tooLong(size, this.limits.maxSymlinkBytes);
  }

  /** `size`: bytes of the slices of one chunk. */
  slices(size: number): string | undefined {
    const { maxSlicesBytes } = this.limits;
    if (size <= maxSlicesBytes) return undefined;
    return `it has ${size / SLICE_BYTES} slices, ${Math.floor(maxSlicesBytes / SLICE_BYTES)} are possible`;
  }

  /**
   * Replaces owners and the device number in the attribute record at `at` where they are too large: a file belongs to OVERFLOW_OWNER then,
   * without the set-id bit that would give away that owner's rights. True when the device number was too large.
   */
  replaceNumbers(view: DataView, at: number, isDirectory: boolean, onFound: (value: FoundValue) => void): boolean {
    const { maxNumber } = this.limits;
    const uid = view.getUint32(at + ATTR_UID);
    const gid = view.getUint32(at + ATTR_GID);
    const rdev = view.getUint32(at + ATTR_RDEV);
    if (uid <= maxNumber && gid <= maxNumber && rdev <= maxNumber) return false;
    const reason = `the largest number is ${maxNumber}`;
    if (uid > maxNumber) {
      onFound({ kind: "uid", value: uid, reason });
      view.setUint32(at + ATTR_UID, OVERFLOW_OWNER);
      if (!isDirectory) clearMode(view, at, SET_USER_ID);
    }
    if (gid > maxNumber) {
      onFound({ kind: "gid", value: gid, reason });
      view.setUint32(at + ATTR_GID, OVERFLOW_OWNER);
      if (!isDirectory) clearMode(view, at, SET_GROUP_ID);
    }
    if (rdev <= maxNumber) return false;
    onFound({ kind: "rdev", value: rdev, reason });
    view.setUint32(at + ATTR_RDEV, 0);
    return true;
  }
}

function tooLong(size: number, limit: number): string | undefined {
  return size > limit ? `it has ${size} bytes, ${limit} are possible` : undefined;
}

/** Names may have any byte, so each is preceded by its length. */
function keyOf(names: readonly Buffer[]): string {
  return names.map((name) => `${name.length}:${name.toString("latin1")}`).join("");
}

function clearMode(view: DataView, at: number, bit: number): void {
  view.setUint16(at + ATTR_TYPE_MODE, view.getUint16(at + ATTR_TYPE_MODE) & ~bit);
}
