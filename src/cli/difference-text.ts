import type { Difference, FactChange, FactTime, FactValue, TreeChange, ValueChange } from "../operations/diff.ts";
import { isTreeChange } from "../operations/diff.ts";
import { FILE_TYPE_NAMES } from "../volume/file-type.ts";
import { parsePath, printableName, printablePath } from "../volume/path.ts";

const LETTERS: Readonly<Record<TreeChange["kind"], string>> = { added: "A", removed: "D", renamed: "R", changed: "M" };

/** One difference as one line: `A /path`, `R /old -> /new`, `M /path (mode 0644 -> 0600, mtime)`. */
export function differenceText(difference: Difference): string {
  return isTreeChange(difference) ? treeChangeText(difference) : valueChangeText(difference);
}

function treeChangeText(change: TreeChange): string {
  const from = change.from === undefined ? "" : `${pathText(change.from)} -> `;
  const isDirectory = change.type === FILE_TYPE_NAMES[2] && change.path.length > 1;
  const what = change.changes.length === 0 ? "" : ` (${change.changes.map(factText).join(", ")})`;
  return `${LETTERS[change.kind]} ${from}${pathText(change.path)}${isDirectory ? "/" : ""}${what}`;
}

/** A path for people; the bytes of a name that are no text stand as `%XX`. */
export function pathText(path: Buffer): string {
  return printablePath(parsePath(path));
}

function factText({ fact, name, from, to }: FactChange): string {
  switch (fact) {
    case "atime":
    case "mtime":
    case "ctime":
      return fact;
    case "mode":
      return `${fact} ${octal(from)} -> ${octal(to)}`;
    case "acl":
    case "default-acl":
      return `${fact} ${presence(from, to)}`;
    case "xattr":
      return `xattr ${printableName(name ?? Buffer.alloc(0))} ${presence(from, to)}`;
    case "target":
      return `target ${bytesText(from)} -> ${bytesText(to)}`;
    case "slices":
      return from === to ? fact : `${fact} ${from} -> ${to}`;
    default:
      return `${fact} ${from} -> ${to}`;
  }
}

function octal(mode: FactValue): string {
  return (mode as number).toString(8).padStart(4, "0");
}

function presence(from: FactValue, to: FactValue): string {
  if (from === null) return "added";
  return to === null ? "removed" : "changed";
}

function bytesText(bytes: FactValue): string {
  return bytes === null ? "none" : printableName(bytes as Buffer);
}

const VALUE_NAMES: Readonly<Record<ValueChange["kind"], string>> = {
  setting: "setting",
  counter: "counter",
  quota: "quota of inode",
  "user-quota": "quota of user",
  "group-quota": "quota of group",
  "deleted-file": "deleted file, inode",
};

function valueChangeText({ kind, name, from, to, secret }: ValueChange): string {
  const what = `${VALUE_NAMES[kind]} ${name}`;
  if (secret) return `M ${what} (secret, not shown)`;
  if (from === undefined) return `A ${what} (${to})`;
  return to === undefined ? `D ${what} (${from})` : `M ${what} (${from} -> ${to})`;
}

/** A time as RFC 3339 with nanoseconds; what no calendar has, in seconds since 1970. */
export function factTimeText({ seconds, nanoseconds }: FactTime): string {
  const date = new Date(Number(seconds) * 1000);
  const fraction = String(nanoseconds).padStart(9, "0");
  if (Number.isNaN(date.getTime())) return `${seconds}.${fraction}`;
  return date.toISOString().replace(/\.\d+Z$/, `.${fraction}Z`);
}
