import { isUtf8 } from "node:buffer";

/** Of a VARCHAR(255) column. */
const MAX_CHARACTERS = 255;

/** Why a text column cannot hold the name of an extended attribute (docs/spec/sql.md §6); undefined when it can. */
export function xattrNameProblem(name: Buffer): string | undefined {
  if (!isUtf8(name)) return "its name is not UTF-8";
  if (name.length <= MAX_CHARACTERS) return undefined;
  const characters = [...name.toString()].length;
  return characters > MAX_CHARACTERS
    ? `its name has ${characters} characters, ${MAX_CHARACTERS} are possible`
    : undefined;
}
