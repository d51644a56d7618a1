import { FILE_TYPE_NAMES, FileType } from "../../volume/file-type.ts";
import { TRASH_INODE_HIGH, TRASH_INODE_LOW } from "../../volume/inode.ts";
import { printableName } from "../../volume/path.ts";
import type { JsonTokens } from "./json-tokens.ts";
import { areWords, wordsOf } from "./json-words.ts";

/** The longest name (docs/spec/filesystem.md). */
const MAX_NAME_BYTES = 255;

const MEMBER_NAMES = [
  "attr",
  "entries",
  "chunks",
  "symlink",
  "xattrs",
  "posix_acl_access",
  "posix_acl_default",
] as const;
export type MemberName = (typeof MEMBER_NAMES)[number];
const MEMBER_BYTES: readonly Buffer[] = MEMBER_NAMES.map((name) => Buffer.from(name));

/** Members seen in an entry; null values of lists count as not seen. */
export const ATTR = 1;
export const ENTRIES = 2;
export const CHUNKS = 4;
export const SYMLINK = 8;
export const XATTRS = 16;
export const ACCESS = 32;
export const DEFAULT = 64;
/** The entry's item has been written although its object has not ended. */
export const WRITTEN = 128;
export const MEMBER_BITS: Readonly<Record<MemberName, number>> = {
  attr: ATTR,
  entries: ENTRIES,
  chunks: CHUNKS,
  symlink: SYMLINK,
  xattrs: XATTRS,
  posix_acl_access: ACCESS,
  posix_acl_default: DEFAULT,
};

/** Why nobody could reach an entry of that name. `isPlain`: it is known to have neither a slash nor a NUL. */
export function nameProblem(text: Buffer, start: number, end: number, isPlain: boolean): string | undefined {
  const size = end - start;
  const first = text[start];
  if (size === 0) return "an entry has an empty name";
  if (first === 0x2e && (size === 1 || (size === 2 && text[start + 1] === 0x2e))) {
    return `an entry has the name "${size === 1 ? "." : ".."}"`;
  }
  if (size > MAX_NAME_BYTES) {
    return `the name "${printableName(text.subarray(start, start + 40))}..." has ${size} bytes, more than ${MAX_NAME_BYTES}`;
  }
  for (let i = start; i < end && !isPlain; i++) {
    const byte = text[i];
    if (byte === 0x2f) return `the name "${printableName(text.subarray(start, end))}" contains a slash`;
    if (byte === 0) return `the name "${printableName(text.subarray(start, end))}" contains a NUL byte`;
  }
  return undefined;
}

export const INODE_HINT: string =
  "The file is damaged, was edited by hand, or went through a tool that rounds large numbers (jq before 1.7 does); take another copy or an earlier backup";

/** In the tree of files; in the trash; right below its root, where nothing but the directories of hours is, to be checked. */
export type InodePlace = "tree" | "trash" | "hour";

/**
 * What is wrong with an inode where it stands. Other roots than 1 and the trash root are for the consolidation to judge, and
 * so is whatever needs a look at other entries.
 */
export function inodeProblem(
  high: number,
  low: number,
  type: number,
  isRoot: boolean,
  place: InodePlace,
): string | undefined {
  const inTrashRange = high > TRASH_INODE_HIGH || (high === TRASH_INODE_HIGH && low >= TRASH_INODE_LOW);
  const isTrashRoot = high === TRASH_INODE_HIGH && low === TRASH_INODE_LOW;
  let problem: string | undefined;
  if (isRoot && type !== FileType.directory) problem = `the root must be a directory, got ${FILE_TYPE_NAMES[type]}`;
  else if (!isRoot && high === 0 && low === 1) problem = "an entry has the inode of the root";
  else if (place === "hour" && type === FileType.directory && !inTrashRange)
    problem = "a directory stands among the hours of the trash";
  else if ((inTrashRange && place === "tree") || (isTrashRoot && !isRoot)) {
    problem = `${isRoot ? "the root" : "an entry"} has an inode of the trash`;
  }
  return problem === undefined ? undefined : `${problem} (inode ${(BigInt(high) << 32n) | BigInt(low)})`;
}

/** A member that an entry of that type cannot have; the reference drops them silently. */
export function strayMember(mask: number, type: number): MemberName | undefined {
  if ((mask & ENTRIES) !== 0 && type !== FileType.directory) return "entries";
  if ((mask & CHUNKS) !== 0 && type !== FileType.regular) return "chunks";
  return (mask & SYMLINK) !== 0 && type !== FileType.symlink ? "symlink" : undefined;
}

/** Longer paths are shown without their middle. */
const MAX_PATH_TEXT = 2000;

/** A path for a message. */
export function shortPath(path: string): string {
  return path.length <= MAX_PATH_TEXT ? path : `${path.slice(0, 200)}[...]${path.slice(200 - MAX_PATH_TEXT)}`;
}

/** The names that are short enough, all that are frequent. */
const MEMBER_WORDS = MEMBER_NAMES.slice(0, 5).map((name) => wordsOf(`"${name}":`));

/** Reads the name of an entry's member, with its colon; undefined for one that is not known. */
export function readMemberName(tokens: JsonTokens): MemberName | undefined {
  for (let i = 0; i < MEMBER_WORDS.length; i++) {
    const words = MEMBER_WORDS[i]!;
    if (!areWords(tokens.view, tokens.at, words)) continue;
    tokens.at += words.size;
    return MEMBER_NAMES[i];
  }
  tokens.readKey();
  for (let i = 0; i < MEMBER_NAMES.length; i++) if (tokens.textIs(MEMBER_BYTES[i]!)) return MEMBER_NAMES[i];
  const lower = tokens.textValue().toLowerCase();
  return MEMBER_NAMES.find((name) => name === lower);
}
