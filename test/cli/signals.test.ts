import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DECANT_MAIN, NODE } from "../support/decant.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

interface Running {
  readonly kill: (signal: NodeJS.Signals) => void;
  readonly ended: Promise<{ code: number | null; err: string }>;
  /** Resolves when stderr or stdout contains the text. */
  waitFor(text: string): Promise<void>;
}

function start(args: readonly string[]): Running {
  const child = spawn(NODE, [DECANT_MAIN, ...args], { stdio: ["pipe", "pipe", "pipe"] });
  let err = "";
  let seen = "";
  const waiting: { text: string; resolve: () => void }[] = [];
  const collect = (chunk: Buffer): void => {
    seen += chunk.toString();
    for (const { text, resolve } of waiting) if (seen.includes(text)) resolve();
  };
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString();
    collect(chunk);
  });
  child.stdout.on("data", collect);
  const ended = new Promise<{ code: number | null; err: string }>((resolve) => {
    child.on("close", (code) => resolve({ code, err }));
  });
  const waitFor = (text: string): Promise<void> =>
    new Promise((resolve) => {
      if (seen.includes(text)) resolve();
      else waiting.push({ text, resolve });
    });
  return { kill: (signal) => child.kill(signal), ended, waitFor };
}

describe("a signal", () => {
  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s stops a load from stdin, which cleans up and ends with %i", async (signal, code) => {
    const directory = temporaryDirectory();
    const load = start(["load", `sqlite3://${join(directory, "new.db")}`, "--verbose", "--tmp-dir", directory]);
    await new Promise((resolve) => setTimeout(resolve, 1500)); // it waits for its input now
    load.kill(signal);
    const { code: ended, err } = await load.ended;
    expect(ended).toBe(code);
    expect(err).toContain(`decant: ${signal} received, cleaning up; once more to exit at once\n`);
    expect(err).toContain("decant: error: interrupted; ");
    expect(err).toContain("holds no volume");
    expect(readdirSync(directory)).toEqual([]);
  });

  test("stops at a question without writing", async () => {
    const config = start(["config", copySqliteFixture("golden/native/natsqlite.sqlite.db").url, "--trash-days", "0"]);
    await config.waitFor("Proceed anyway? [y/N]: ");
    config.kill("SIGINT");
    const { code, err } = await config.ended;
    expect(code).toBe(130);
    expect(err).toContain("decant: error: interrupted; ");
  });
});
