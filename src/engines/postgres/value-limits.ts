import type { ValueLimits } from "../../volume/value-limits.ts";
import { xattrNameProblem } from "../sql/xattr-name.ts";

/** What the columns of docs/spec/sql.md §3.2 cannot hold (§6): INTEGER is signed, text has no NUL. */
export const POSTGRES_LIMITS: ValueLimits = {
  engineName: "PostgreSQL",
  maxNumber: 0x7fff_ffff,
  maxSymlinkBytes: Number.POSITIVE_INFINITY,
  maxXattrValueBytes: Number.POSITIVE_INFINITY,
  maxSlicesBytes: Number.POSITIVE_INFINITY,
  maxSettingBytes: Number.POSITIVE_INFINITY,
  xattrNameProblems: async (lists) => lists.map(namesWithProblems),
};

function namesWithProblems(names: readonly Buffer[]): Map<number, string> {
  const problems = new Map<number, string>();
  names.forEach((name, i) => {
    const problem = name.includes(0) ? "its name contains a NUL" : xattrNameProblem(name);
    if (problem !== undefined) problems.set(i, problem);
  });
  return problems;
}
