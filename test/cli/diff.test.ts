import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DECANT_MAIN, NODE, runDecant } from "../support/decant.ts";
import { fixture } from "../support/repository.ts";
import { runCommand } from "../support/run-command.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const DUMP = fixture("golden/dumps/golden.json");
const NATIVE_DUMP = fixture("golden/native/natsqlite.keep.json");
const NATIVE = "golden/native/natsqlite.sqlite.db";

/** A copy of the golden dump with one text in place of another, which must be there. */
function changed(...replacements: readonly (readonly [text: string, other: string])[]): string {
  let text = readFileSync(DUMP, "latin1");
  for (const [from, to] of replacements) {
    expect(text.includes(from)).toBe(true);
    text = text.replace(from, to);
  }
  const file = join(temporaryDirectory(), "changed.json");
  writeFileSync(file, text, "latin1");
  return file;
}

describe("diff", () => {
  test("ends with 0 and prints nothing on stdout when there is no difference", async () => {
    const run = await runDecant(["diff", fixture("golden/dumps/golden.json.gz"), DUMP, "--atime"]);
    expect(run.code).toBe(0);
    expect(run.out).toBe("");
    expect(run.err).toContain("are equal\n");
  });

  test("ends with 1 and prints a line for each difference, values first", async () => {
    const file = changed(['"TrashDays": 3', '"TrashDays": 7'], ['"plain": {', '"plain2": {']);
    const run = await runDecant(["diff", DUMP, file, "--quiet"]);
    expect(run.out.split("\n")).toEqual(["M setting TrashDays (3 -> 7)", "R /acl/plain -> /acl/plain2", ""]);
    expect(run.err).toBe("");
    expect(run.code).toBe(1);
  });

  test("a live volume is compared with its dump, a part of it too, and stdin is a side", async () => {
    const { url } = copySqliteFixture(NATIVE);
    // The reference writes a real U+FFFD as one byte (docs/spec/json-dump.md §13.2).
    const lost = ["R /names/%EF%BF%BD -> /names/%EF", "R /names/%EF%BF%BD%EF%BF%BDx -> /names/%EF%EFx", ""];
    const whole = await runDecant(["diff", url, NATIVE_DUMP, "--atime"]);
    expect([whole.out.split("\n"), whole.code]).toEqual([lost, 1]);
    const part = await runDecant(["diff", url, NATIVE_DUMP, "--subdir", "/docs", "--atime"]);
    expect([part.out, part.code]).toEqual(["", 0]);
    const program = `"$0" "$1" diff - "$2" --atime --quiet < "$3"`;
    const stdin = await runCommand("bash", ["-c", program, NODE, DECANT_MAIN, url, NATIVE_DUMP]);
    expect([stdin.out.split("\n").length, stdin.code]).toEqual([3, 1]);
  });

  test("--json prints one object per line, the report last", async () => {
    const file = changed(['"TrashDays": 3', '"TrashDays": 7'], ['"mode":511', '"mode":509']);
    const run = await runDecant(["diff", DUMP, file, "--json"]);
    expect(run.code).toBe(1);
    const lines = run.out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines).toMatchObject([
      { change: "setting", name: "TrashDays", from: "3", to: "7", secret: false },
      { change: "changed", path: "/", type: "directory", facts: [{ fact: "mode", from: 511, to: 509 }] },
      { operation: "diff", equal: false, complete: true, counts: { changed: 1, values: 1 } },
    ]);
  });

  test("--summary counts only", async () => {
    const run = await runDecant(["diff", DUMP, changed(['"plain": {', '"plain2": {']), "--summary", "--quiet"]);
    expect(run.out).toMatch(
      /^0 added, 0 removed, 1 renamed, 0 changed, \d+ the same, 0 settings, counters or quotas\n$/,
    );
    expect(run.code).toBe(1);
  });

  test("secrets are compared where both sides have them, and never printed", async () => {
    const keep = readFileSync(fixture("golden/dumps/golden.keep.json"), "utf8");
    const secret = /"SecretKey": "([^"]+)"/.exec(keep)![1]!;
    expect((await runDecant(["diff", DUMP, fixture("golden/dumps/golden.keep.json")])).code).toBe(0);
    const file = join(temporaryDirectory(), "other.json");
    writeFileSync(file, keep.replace(secret, `${"A".repeat(16)}${secret.slice(16)}`));
    for (const options of [[], ["--json"]]) {
      const run = await runDecant(["diff", fixture("golden/dumps/golden.keep.json"), file, ...options]);
      expect(run.code).toBe(1);
      expect(run.out).toContain("SecretKey");
      expect(run.out + run.err).not.toContain(secret.slice(16));
    }
  });

  test("trouble never ends with 1", async () => {
    const cut = join(temporaryDirectory(), "cut.json");
    writeFileSync(cut, readFileSync(DUMP).subarray(0, 50_000));
    const cases: readonly (readonly [args: string[], code: number])[] = [
      [[DUMP, "nosuch.json"], 4],
      [[DUMP, cut], 6],
      [[cut, DUMP, "--json"], 6],
      [[DUMP], 2],
      [["-", "-"], 2],
      [[DUMP, DUMP, "--ignore", "nothing"], 2],
      [[DUMP, DUMP, "--subdir", "/no/such"], 4],
      [[DUMP, "nosuch://x"], 2],
      [[DUMP, DUMP, "--subdir", "/acl/plain"], 2],
    ];
    for (const [args, code] of cases) {
      const run = await runDecant(["diff", ...args]);
      expect([args, run.code]).toEqual([args, code]);
    }
  });

  test("a reader that goes away early has seen a difference", async () => {
    const program = `"$0" "$1" diff "$2" "$3" --quiet | head -c 1; exit "\${PIPESTATUS[0]}"`;
    const other = fixture("golden/native/natpg.keep.json");
    const run = await runCommand("bash", ["-c", program, NODE, DECANT_MAIN, NATIVE_DUMP, other]);
    expect(run.code).toBe(1);
  });

  test.each([
    ["that is caught", "throw new TypeError('planted');"],
    ["that nobody catches", "process.nextTick(() => { throw new TypeError('planted'); });"],
  ])("a fault of decant %s ends with 70", async (_, statement) => {
    // The comparison of counters goes through a list that begins with this one.
    const fault = join(temporaryDirectory(), "fault.mjs");
    const patch = `const flatMap = Array.prototype.flatMap;
      Array.prototype.flatMap = function (...args) {
        if (this[0]?.[0] === "usedSpace") { ${statement} }
        return flatMap.apply(this, args);
      };`;
    writeFileSync(fault, patch);
    const run = await runCommand(NODE, ["--import", fault, DECANT_MAIN, "diff", DUMP, DUMP]);
    expect(run.err).toContain("planted");
    expect(run.code).toBe(70);
  });
});
