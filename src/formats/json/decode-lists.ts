import type { JsonSkipper } from "./json-skip.ts";
import type { JsonTokens } from "./json-tokens.ts";
import { DAMAGE_HINT } from "./json-window.ts";

/** Takes the beginning of a list; false when it is null. Elements are steps of their own. */
export function beginList(tokens: JsonTokens, name: string): boolean {
  if (tokens.readNull()) return false;
  if (tokens.peek() !== 0x5b) {
    throw tokens.error("DECANT_E_JSON_ENTRY", `"${name}" must be a list, got ${tokens.describeValue()}`, DAMAGE_HINT);
  }
  tokens.at++;
  return true;
}

/** Takes what stands between elements; false at the end of the list. */
export function nextElement(tokens: JsonTokens, isFirst: boolean): boolean {
  const byte = tokens.peek();
  if (byte === 0x5d) {
    tokens.at++;
    return false;
  }
  if (isFirst) return true;
  if (byte !== 0x2c) throw tokens.unexpected("',' or ']'");
  tokens.at++;
  return true;
}

/** Members of other objects of a dump, which never were in an element of a list. */
const FOREIGN: ReadonlySet<string> = new Set(
  "attr entries chunks xattrs inode type mode uid gid atime mtime ctime atimensec mtimensec ctimensec nlink length".split(
    " ",
  ),
);

/** Passes over a member that an element should not have. Where text is salvaged, one of another object shows that two were joined. */
export function skipUnknown(tokens: JsonTokens, skipper: JsonSkipper, name: string): void {
  if (tokens.isSalvaging && FOREIGN.has(name)) {
    throw tokens.error("DECANT_E_JSON_ENTRY", `"${name}" stands in an element of a list`, DAMAGE_HINT);
  }
  skipper.skipValue();
}
