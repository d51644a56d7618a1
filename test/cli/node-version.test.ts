import { expect, test } from "vitest";
import { DECANT_MAIN, NODE } from "../support/decant.ts";
import { runCommand } from "../support/run-command.ts";

/** Starts the command line under the version that it is to believe it runs on. */
function runUnder(version: string): ReturnType<typeof runCommand> {
  const pretend = `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "${version}" } })`;
  return runCommand(NODE, [
    "--import",
    `data:text/javascript,${encodeURIComponent(pretend)}`,
    DECANT_MAIN,
    "--version",
  ]);
}

test("a Node.js that is too old is told in one sentence", async () => {
  for (const version of ["20.20.2", "22.14.0"]) {
    const run = await runUnder(version);
    expect(run.code).toBe(2);
    expect(run.out).toBe("");
    expect(run.err).toBe(
      `decant: error: Node.js ${version} is too old: decant needs 22.15 or newer\n` +
        "  hint: Install a newer Node.js; in a clone of the repository `npx decant` brings its own\n",
    );
  }
});

test("the oldest Node.js that will do is accepted", async () => {
  expect(await runUnder("22.15.0")).toMatchObject({ code: 0, err: "" });
});
