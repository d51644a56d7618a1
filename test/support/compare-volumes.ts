import { expect } from "vitest";
import { differenceText } from "../../src/cli/difference-text.ts";
import type { OperationContext } from "../../src/operations/context.ts";
import { type DiffReport, type DiffRequest, diff } from "../../src/operations/diff.ts";
import { quietContext } from "./volume-files.ts";

/** Differences of two volumes or dumps, as the lines of `decant diff`. */
export async function differences(
  from: DiffRequest["from"],
  to: DiffRequest["to"],
  options: Omit<DiffRequest, "from" | "to"> = {},
  context: OperationContext = quietContext(),
): Promise<{ lines: string[]; report: DiffReport }> {
  const lines: string[] = [];
  const report = await diff({ ignore: new Set(), ...options, from, to }, context, async (batch) => {
    for (const difference of batch) lines.push(differenceText(difference));
  });
  return { lines, report };
}

/** Expects that two volumes, each a META-URL or a dump file, are the same in all that `decant diff` compares, access times too. */
export async function expectSameVolume(
  from: string,
  to: string,
  context: OperationContext = quietContext(),
): Promise<DiffReport> {
  const { lines, report } = await differences(from, to, {}, context);
  expect(lines).toEqual([]);
  expect(report.equal).toBe(true);
  return report;
}
