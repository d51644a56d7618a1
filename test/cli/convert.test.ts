import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { packBatch } from "../../src/volume/records.ts";
import { decodeAll, encodeAll } from "../support/binary-segments.ts";
import { DECANT_MAIN, NODE, runDecant } from "../support/decant.ts";
import { fixture } from "../support/repository.ts";
import { runCommand } from "../support/run-command.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const DUMP = fixture("golden/dumps/golden.json");

describe("convert", () => {
  test("tells the formats by content and by the name of OUT, and back gives the same file", async () => {
    const directory = temporaryDirectory();
    const binary = join(directory, "x.bin.zst");
    const first = await runDecant(["convert", DUMP, binary]);
    expect([first.code, first.out]).toEqual([0, ""]);
    expect(first.err).toContain(`decant: Converted "${DUMP}" to "${binary}": json to binary\n`);
    const back = join(directory, "back.json");
    expect((await runDecant(["convert", binary, back, "--quiet"])).err).toBe("");
    expect(readFileSync(back).equals(readFileSync(DUMP))).toBe(true);
  });

  test("reads stdin and writes stdout, the report of --json to stderr", async () => {
    const program = `"$0" "$1" convert - - --json --log-level error < "$2"`;
    const run = await runCommand("bash", ["-c", program, NODE, DECANT_MAIN, fixture("golden/dumps/golden.json.gz")]);
    expect(run.stdout.equals(readFileSync(DUMP))).toBe(true);
    expect(JSON.parse(run.err)).toMatchObject({
      operation: "convert",
      source: "STDIN",
      file: null,
      format: "json",
      counts: { directory: 69, file: 327 },
    });
  });

  test("ends with 3 when something is lost, and with 6 and no file when the dump is damaged", async () => {
    const directory = temporaryDirectory();
    const target = join(directory, "x.json");
    const lossy = await runDecant(["convert", fixture("golden/dumps/golden.bin"), target, "--quiet"]);
    expect([lossy.code, existsSync(target)]).toEqual([3, true]);
    expect(lossy.err).toContain("lost: Inodes that no directory names");
    const cut = join(directory, "cut.json");
    writeFileSync(cut, readFileSync(DUMP).subarray(0, 50_000));
    const refused = await runDecant(["convert", cut, join(directory, "y.json")]);
    expect([refused.code, existsSync(join(directory, "y.json"))]).toEqual([6, false]);
    const saved = await runDecant(["convert", cut, join(directory, "y.json"), "--keep-going"]);
    expect([saved.code, existsSync(join(directory, "y.json"))]).toEqual([3, true]);
    expect(saved.err).toContain("lost: The dump is damaged");
  });

  test("keeps names of extended attributes that are not UTF-8 when it is told to", async () => {
    const directory = temporaryDirectory();
    const [raw, out] = [join(directory, "raw.bin"), join(directory, "out.bin")];
    const { batches } = await decodeAll(readFileSync(fixture("malformed/base.bin")));
    const odd = packBatch("xattr", [{ inode: 2n, name: Buffer.from([0x75, 0xff]), value: Buffer.from("v") }]);
    const whole = await encodeAll([...batches, odd], { rawXattrNames: true });
    writeFileSync(raw, Buffer.concat([whole, Buffer.from("more")]));
    const without = await runDecant(["convert", raw, out, "--keep-going"]);
    expect(without.code).toBe(3);
    expect(without.err).toContain("lost: The name of an extended attribute is not UTF-8");
    const kept = await runDecant(["convert", raw, out, "--keep-going", "--raw-xattr-names"]);
    expect([kept.code, kept.err.includes("extended attribute is not UTF-8")]).toEqual([3, false]);
    writeFileSync(raw, whole);
    expect((await runDecant(["diff", raw, out])).code).toBe(0);
  });

  test("knows its options", async () => {
    for (const options of [
      ["--format", "xml"],
      ["--compress", "lz4"],
      ["--out-encrypt-rsa-key", "k", "--out-encrypt-algo", "rot13"],
    ]) {
      expect((await runDecant(["convert", DUMP, join(temporaryDirectory(), "x"), ...options])).code).toBe(2);
    }
  });
});
