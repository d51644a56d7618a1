import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cliReference } from "../src/cli/cli-docs.ts";
import { COMMANDS } from "../src/cli/commands.ts";
import { errorCodeTable, findingTable, problemTable } from "../src/cli/error-codes.ts";
import { GLOBAL_OPTIONS } from "../src/cli/global-options.ts";
import { PROBLEM_KINDS } from "../src/tree/check-kinds.ts";

/**
 * Writes what is generated in docs/: cli.md from the definitions of the commands, the table of error codes in
 * exit-codes.md, that of findings in json-output.md and that of problems in verify.md from the sources. Run it with `npx node scripts/generate-cli-docs.ts`.
 */
const ROOT = join(import.meta.dirname, "..");

writeFileSync(join(ROOT, "docs", "cli.md"), cliReference(COMMANDS, GLOBAL_OPTIONS));

const source = join(ROOT, "src");
const sources = readdirSync(source, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => readFileSync(join(source, name), "utf8"));
replaceGenerated("exit-codes.md", errorCodeTable(sources));
replaceGenerated("json-output.md", findingTable(readFileSync(join(source, "volume", "findings.ts"), "utf8")));
replaceGenerated("verify.md", problemTable(PROBLEM_KINDS));

/** Replaces the end of a page, after the mark. */
function replaceGenerated(name: string, table: string): void {
  const page = join(ROOT, "docs", name);
  const [head] = readFileSync(page, "utf8").split("<!-- generated -->");
  writeFileSync(page, `${head}<!-- generated -->\n\n${table}\n`);
}
