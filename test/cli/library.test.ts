import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import * as library from "../../src/index.ts";
import { NODE } from "../support/decant.ts";
import { REPOSITORY } from "../support/repository.ts";
import { runCommand } from "../support/run-command.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const PAGE = readFileSync(join(REPOSITORY, "docs", "library.md"), "utf8");

test("docs/library.md names everything that the library exports", () => {
  for (const name of Object.keys(library)) expect(PAGE).toMatch(new RegExp(`\\b${name}\\b`));
});

test("the example of docs/library.md prints what the page says", async () => {
  const [, program = "", output = ""] = /```js\n(.*?)```.*?```\n(.*?)```/s.exec(PAGE) ?? [];
  const directory = temporaryDirectory();
  copyFileSync(join(REPOSITORY, "examples", "sample.sqlite.db"), join(directory, "sample.db"));
  const entry = pathToFileURL(join(REPOSITORY, "src", "index.ts")).href;
  writeFileSync(join(directory, "example.mjs"), program.replace('from "decant"', `from "${entry}"`));
  const run = await runCommand(NODE, ["example.mjs"], { cwd: directory });
  expect(run).toMatchObject({ code: 0, out: output, err: "" });
});
