import type { ValueLimits } from "../../volume/value-limits.ts";
import { type ColumnLimits, limitsOfValues, xattrNameProblem } from "../sql/column-limits.ts";

/** BYTEA has no limit that a volume could reach; text has no NUL (docs/spec/sql.md §6). */
export const POSTGRES_COLUMNS: ColumnLimits = {
  engineName: "PostgreSQL",
  name: Number.POSITIVE_INFINITY,
  target: Number.POSITIVE_INFINITY,
  blob: Number.POSITIVE_INFINITY,
  takesNul: false,
};

export const POSTGRES_LIMITS: ValueLimits = {
  ...limitsOfValues(POSTGRES_COLUMNS),
  xattrNameProblems: async (lists) => lists.map(namesWithProblems),
};

function namesWithProblems(names: readonly Buffer[]): Map<number, string> {
  const problems = new Map<number, string>();
  names.forEach((name, i) => {
    const problem = xattrNameProblem(name, POSTGRES_COLUMNS);
    if (problem !== undefined) problems.set(i, `its name ${problem}`);
  });
  return problems;
}
