import { isUtf8 } from "node:buffer";
import type { ValueLimits } from "../../volume/value-limits.ts";

/** What the columns of an engine have room for, in bytes (docs/spec/sql.md §3.2, 6). */
export interface ColumnLimits {
  /** For error messages: `MySQL`. */
  readonly engineName: string;
  /** Of the name of an entry. */
  readonly name: number;
  readonly target: number;
  /** Of the value of an extended attribute, the slices of a chunk, a list of an ACL rule, the setting. */
  readonly blob: number;
  /** Whether a text may contain the character NUL. */
  readonly takesNul: boolean;
}

/** Of a 32-bit column, which is signed everywhere. */
export const MAX_INT32 = 0x7fff_ffff;
const MAX_NAME_CHARACTERS = 255;

/** Why a column cannot hold the name of an extended attribute, as what is said of it; undefined when it can. */
export function xattrNameProblem(name: Buffer, { takesNul }: ColumnLimits): string | undefined {
  if (!isUtf8(name)) return "is not UTF-8";
  if (!takesNul && name.includes(0)) return "contains a NUL";
  const isLong = name.length > MAX_NAME_CHARACTERS && [...name.toString()].length > MAX_NAME_CHARACTERS;
  return isLong ? `has more than ${MAX_NAME_CHARACTERS} characters` : undefined;
}

/** The sizes and numbers that can be told without asking the server. */
export function limitsOfValues({ engineName, target, blob }: ColumnLimits): Omit<ValueLimits, "xattrNameProblems"> {
  return {
    engineName,
    maxNumber: MAX_INT32,
    maxSymlinkBytes: target,
    maxXattrValueBytes: blob,
    maxSlicesBytes: blob,
    maxSettingBytes: blob,
  };
}
