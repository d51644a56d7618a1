import { describe, expect, test } from "vitest";
import { Interruption } from "../../../src/cli/cli-io.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { runInMemory } from "./memory-io.ts";

describe("what goes where", () => {
  test("results go to stdout and nothing to stderr", async () => {
    const run = await runInMemory(["version"]);
    expect(run.code).toBe(0);
    expect(run.stdout).toMatch(/^decant version \d+\.\d+\.\d+ \(counts as JuiceFS 1\.4\.2\)\n$/);
    expect(run.stderr).toBe("");
  });

  test("--json gives one document on stdout", async () => {
    const { stdout } = await runInMemory(["version", "-json"]);
    expect(JSON.parse(stdout)).toMatchObject({ clientVersion: "1.4.2" });
  });

  test("a usage error goes to stderr with its hint, exit 2", async () => {
    const run = await runInMemory(["dump"]);
    expect(run).toEqual({
      code: 2,
      stdout: "",
      stderr:
        "decant: error: This command requires at least 1 arguments\n  hint: Usage: decant dump [options] META-URL [FILE]\n",
    });
  });

  test("an error with --json is a document on stdout too", async () => {
    const run = await runInMemory(["dump", "bogus://x", "x.json", "--json"]);
    expect(run.code).toBe(2);
    expect(JSON.parse(run.stdout)).toEqual({
      error: {
        code: "DECANT_E_SCHEME",
        message: "Invalid meta driver: bogus",
        hint: expect.any(String),
        retryable: false,
        details: [],
        location: null,
      },
    });
    expect(JSON.parse((await runInMemory(["dump", "--json"])).stdout)).toMatchObject({
      error: { code: "DECANT_E_USAGE" },
    });
  });

  test("when the dump goes to stdout, the document of an error goes to stderr", async () => {
    const run = await runInMemory(["dump", "bogus://x", "--json"]);
    expect(run.stdout).toBe("");
    expect(run.stderr).toContain('"code": "DECANT_E_SCHEME"');
  });
});

test("the page without a command has examples and the exit codes", async () => {
  const { stdout } = await runInMemory(["--help"]);
  expect(stdout).toContain("\nExamples:\n  # Back up a volume\n  $ decant dump redis://localhost/1 meta.json.gz\n");
  expect(stdout).toMatch(/\nExit status:\n {2}0 {4}done\n(.*\n)+ {2}143 {2}stopped by SIGTERM\n/);
  expect(stdout).toContain("  -h, --help                     print the help page of decant or of a command\n");
});

test("a signal has an error code of its own", async () => {
  const abort = new AbortController();
  abort.abort(new Interruption("SIGTERM"));
  const run = await runInMemory(["status", "redis://127.0.0.1:1/1", "--json"], { signal: abort.signal });
  expect(run.code).toBe(143);
  expect(JSON.parse(run.stdout)).toMatchObject({ error: { code: "DECANT_E_INTERRUPTED" } });
});

describe("addresses and secrets", () => {
  test("an unknown scheme is a usage error, and passwords are masked", async () => {
    const run = await runInMemory(["status", "bogus://user:secret@host/1"]);
    expect(run.code).toBe(2);
    expect(run.stderr).toContain("Invalid meta driver: bogus");
    expect(run.stderr).toContain("bogus://user:****@host/1");
    expect(run.stderr).not.toContain("secret");
  });

  test("a stack is printed with DECANT_DEBUG only", async () => {
    const plain = await runInMemory(["status", "bogus://x"]);
    const debug = await runInMemory(["status", "bogus://x"], { env: { DECANT_DEBUG: "1" } });
    expect(plain.stderr).not.toContain("    at ");
    expect(debug.stderr).toContain("    at ");
  });
});

describe("log lines", () => {
  test("carry the log id", async () => {
    expect((await runInMemory(["status", "bogus://x", "--log-id", "j7"])).stderr).toMatch(/^\[j7\] decant: error: /);
    expect((await runInMemory(["status", "bogus://x", "--log-id", "random"])).stderr).toMatch(
      /^\[[0-9a-f-]{36}\] decant: error: /,
    );
  });

  test("are colored on a terminal only, unless NO_COLOR or --no-color forbids it", async () => {
    const argv = ["status", "bogus://x"];
    expect((await runInMemory(argv, { tty: true })).stderr).toContain("\u001b[31merror:\u001b[0m");
    expect((await runInMemory(argv)).stderr).not.toContain("\u001b");
    expect((await runInMemory(argv, { tty: true, env: { NO_COLOR: "1" } })).stderr).not.toContain("\u001b");
    expect((await runInMemory([...argv, "--no-color"], { tty: true })).stderr).not.toContain("\u001b");
  });
});

test("sizes of resource options are checked before anything is opened", async () => {
  const run = await runInMemory(["dump", "bogus://x", "--max-memory", "5x"]);
  expect(run.code).toBe(2);
  expect(run.stderr).toContain('Invalid value "5x" for "max-memory": invalid unit');
  expect((await runInMemory(["dump", "bogus://x"], { env: { DECANT_MAX_MEMORY: "y" } })).code).toBe(2);
});

test("an interrupted command says what is left", async () => {
  const abort = new AbortController();
  abort.abort(new Interruption("SIGTERM"));
  const run = await runInMemory(["dump", "redis://127.0.0.1:1/1", "/nowhere/x.json"], { signal: abort.signal });
  expect(run.code).toBe(143);
  expect(run.stderr).toBe("decant: error: interrupted; /nowhere/x.json was not written\n");
});

describe("the directory for temporary files", () => {
  const SOURCE = "sqlite3:///does/not/exist.db";

  test("is checked before anything is read", async () => {
    for (const [directory, reason] of [
      ["/does/not/exist", "no such file or directory"],
      [import.meta.filename, "not a directory"],
    ] as const) {
      const byOption = await runInMemory(["dump", SOURCE, "x.json", "--tmp-dir", directory]);
      const byEnvironment = await runInMemory(["dump", SOURCE, "x.json"], { env: { DECANT_TMP_DIR: directory } });
      for (const run of [byOption, byEnvironment]) {
        expect(run.stderr).toContain(`decant: error: Cannot write a temporary file in ${directory}: ${reason}\n`);
        expect(run.code).toBe(7);
      }
    }
  });

  test("is told to SQLite, which sorts indexes in files of its own", async () => {
    const directory = temporaryDirectory();
    const env: Record<string, string> = {};
    await runInMemory(["dump", SOURCE, "x.json", "--tmp-dir", directory], { env });
    expect(env).toEqual({ SQLITE_TMPDIR: directory });
    const given = { SQLITE_TMPDIR: "/elsewhere" };
    await runInMemory(["dump", SOURCE, "x.json", "--tmp-dir", directory], { env: given });
    expect(given).toEqual({ SQLITE_TMPDIR: "/elsewhere" });
  });
});
