import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { cliReference } from "../../../src/cli/cli-docs.ts";
import { COMMANDS } from "../../../src/cli/commands.ts";
import { errorCodeTable, findingTable, problemTable } from "../../../src/cli/error-codes.ts";
import { EXIT_CODE_MEANINGS } from "../../../src/cli/exit-code.ts";
import { GLOBAL_OPTIONS } from "../../../src/cli/global-options.ts";
import { PROBLEM_KINDS } from "../../../src/tree/check-kinds.ts";

function page(name: string): string {
  return readFileSync(new URL(`../../../docs/${name}`, import.meta.url), "utf8");
}

test("docs/cli.md is current (npx node scripts/generate-cli-docs.ts)", () => {
  expect(page("cli.md")).toBe(cliReference(COMMANDS, GLOBAL_OPTIONS));
});

test("docs/verify.md lists every kind of problem", () => {
  expect(page("verify.md")).toMatch(/<!-- generated -->/);
  expect(page("verify.md").split("<!-- generated -->")[1]).toBe(`\n\n${problemTable(PROBLEM_KINDS)}\n`);
});

test("docs/exit-codes.md lists every exit code", () => {
  for (const [code] of EXIT_CODE_MEANINGS) expect(page("exit-codes.md")).toMatch(new RegExp(`^\\| ${code} \\|`, "m"));
});

test("docs/json-output.md has a section for every command", () => {
  for (const { name } of COMMANDS) expect(page("json-output.md")).toMatch(new RegExp(`^## (.*, )?${name}(,|$)`, "m"));
});

test("error codes are collected from sources and sorted by exit code", () => {
  const table = errorCodeTable([
    'throw new DataError("DECANT_E_B", "b"); new UsageError(\n      "DECANT_E_Z", "z")',
    'new DataError("DECANT_E_A", "a"); new DataError("DECANT_E_B", "again")',
  ]);
  expect(table.split("\n").slice(2)).toEqual([
    "| `DECANT_E_Z` | `UsageError` | 2 |",
    "| `DECANT_E_A` | `DataError` | 6 |",
    "| `DECANT_E_B` | `DataError` | 6 |",
  ]);
});

test("every kind of finding in the source comes into the table", () => {
  const source = readFileSync(new URL("../../../src/volume/findings.ts", import.meta.url), "utf8");
  const declared = /export type FindingKind =([^;]*);/.exec(source)![1]!.match(/"[a-z-]+"/g)!;
  const listed = findingTable(source).match(/^\| `[a-z-]+`/gm)!;
  expect(listed.map((row) => row.slice(3, -1))).toEqual(declared.map((kind) => kind.slice(1, -1)).sort());
});
