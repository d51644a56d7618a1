import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DECANT_MAIN, NODE, runDecant } from "../support/decant.ts";
import { fixture } from "../support/repository.ts";
import { runCommand } from "../support/run-command.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const VOLUME = "golden/native/natsqlite.sqlite.db";
const UUID = "9b1d4157-8561-4b20-9f51-c2e3eb53f619";

/** A dump of the volume with its manifest, in a directory of its own. */
async function dumpWithManifest(name: string, ...flags: string[]): Promise<string> {
  const file = join(temporaryDirectory(), name);
  const run = await runDecant(["dump", copySqliteFixture(VOLUME).url, file, "--manifest", ...flags]);
  expect([run.code, run.out]).toEqual([0, ""]);
  return file;
}

describe("verify", () => {
  test("ends with 0 and says what is in a file that is whole", async () => {
    const run = await runDecant(["verify", fixture("malformed/base.json")]);
    expect(run.code).toBe(0);
    const lines = run.out.split("\n");
    expect(lines[0]).toBe(`${fixture("malformed/base.json")}: OK`);
    expect(lines[1]).toBe("  volume tiny (e369eebd-5538-4cc1-bfd4-6c1534d5c460)");
    expect(lines[2]).toMatch(/^ {2}json dump, plain; 3\.6 KiB read in /);
    expect(lines[3]).toBe("  5 directories, 5 files, 4 chunks, 1 symlink, 1 extended attribute");
    expect(lines.slice(4)).toEqual([""]);
    expect(run.err).toBe("");
  });

  test("ends with 6 and names problems and places", async () => {
    const run = await runDecant(["verify", fixture("malformed/j45-dup-dir-inode-2dirs.json"), "--quiet"]);
    expect(run.code).toBe(6);
    expect(run.out).toContain(": DAMAGED\n");
    expect(run.out).toContain("  error: A directory stands in more than one place: 1\n      /d2/d1-too\n");
  });

  test("ends with 6 for what cannot be read, with the hint", async () => {
    const run = await runDecant(["verify", fixture("malformed/j20-crc.json.gz")]);
    expect(run.code).toBe(6);
    expect(run.out).toMatch(/\n {2}error: The file cannot be read to its end: 1\n {6}Cannot decompress .*\n {2}hint: /);
    const missing = await runDecant(["verify", "/no/such/file"]);
    expect([missing.code, missing.out]).toEqual([4, ""]);
  });

  test("reads stdin, of either format", async () => {
    for (const [name, format] of [
      ["golden/dumps/golden.json.gz", "json dump, gzip"],
      ["golden/dumps/golden.bin", "binary dump, plain"],
    ] as const) {
      const run = await runCommand("bash", ["-c", `"$0" "$1" verify < "$2"`, NODE, DECANT_MAIN, fixture(name)]);
      expect(run.code).toBe(0);
      expect(run.out).toMatch(new RegExp(`^STDIN: OK\n.*\n  ${format};`));
    }
  });

  test("takes what lags behind for damage with --strict", async () => {
    const file = fixture("golden/native/natsqlite.keep.json");
    expect((await runDecant(["verify", file])).code).toBe(0);
    const strict = await runDecant(["verify", file, "--strict", "--json"]);
    expect(strict.code).toBe(6);
    const { ok, problems } = JSON.parse(strict.out) as { ok: boolean; problems: object[] };
    expect(ok).toBe(false);
    expect(problems[0]).toEqual({
      kind: "usage-differs",
      text: "The counters of used space and inodes differ from the sum, as they may while clients write",
      severity: "error",
      count: 1,
      examples: ["totalInodes 282, the sum is 284"],
    });
  });

  test("decrypts with a key, and says what to give without one", async () => {
    const folder = "encrypted/objects/encaes/meta";
    const file = fixture(join(folder, readdirSync(fixture(folder)).sort()[0]!));
    const env = {
      ...process.env,
      JFS_RSA_PASSPHRASE: readFileSync(fixture("encrypted/passphrase.txt"), "utf8").trim(),
    };
    const key = fixture("encrypted/key-pkcs8-encrypted.pem");
    const run = await runDecant(["verify", file, "--encrypt-rsa-key", key], { env });
    expect(run.code).toBe(0);
    expect(run.out).toContain("json dump, encrypted gzip;");
    const without = await runDecant(["verify", file]);
    expect(without.code).toBe(6);
    expect(without.out).toContain("hint: Give --encrypt-rsa-key to decrypt it");
  });
});

describe("a manifest", () => {
  test.each([
    ["json", "meta.json.gz", [] as string[]],
    ["binary", "meta.bin.zst", ["--binary"]],
  ])("of a %s dump says what the file is, and verify finds it so", async (format, name, flags) => {
    const file = await dumpWithManifest(name, ...flags);
    const manifest = JSON.parse(readFileSync(`${file}.manifest.json`, "utf8")) as Record<string, unknown>;
    const bytes = readFileSync(file);
    expect(manifest).toMatchObject({
      manifestVersion: 1,
      decantVersion: "0.1.0",
      file: name,
      format,
      compression: format === "json" ? "gzip" : "zstd",
      writtenBytes: bytes.length,
      sha256: createHash("sha256").update(bytes).digest("hex"),
      volume: { name: "natsqlite", uuid: UUID },
      source: { engine: "SQLite", address: expect.stringMatching(/^sqlite3:\/\/.*natsqlite/) },
      consistency: { pointInTime: true, method: "one read transaction", asOf: expect.stringMatching(/^20\d\d-/) },
      whole: true,
    });
    const counts = manifest.counts as Record<string, number>;
    if (format === "json") expect(counts).toEqual({ directory: 69, file: 222, symlink: 21, xattr: 15, chunk: 172 });
    else expect(counts).toMatchObject({ node: 286, edge: 289, chunk: 168, symlink: 20, dirStat: 67 });
    const run = await runDecant(["verify", file]);
    expect([run.code, run.out.includes(`  compared with ${file}.manifest.json\n`)]).toEqual([0, true]);
  });

  test("shows that a file was changed, although it is whole", async () => {
    const file = await dumpWithManifest("meta.json");
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace('"TrashDays": 2', '"TrashDays": 3'));
    expect(readFileSync(file, "utf8")).not.toBe(text);
    const run = await runDecant(["verify", file, "--json"]);
    expect(run.code).toBe(6);
    const { problems, manifest } = JSON.parse(run.out) as { problems: { kind: string }[]; manifest: string };
    expect(problems[0]?.kind).toBe("manifest-hash");
    expect(manifest).toBe(`${file}.manifest.json`);
  });

  test("shows that a file holds something else, and of another volume", async () => {
    const file = await dumpWithManifest("meta.json");
    const other = fixture("golden/dumps/golden.json");
    const run = await runDecant(["verify", other, "--manifest", `${file}.manifest.json`, "--json"]);
    const { problems } = JSON.parse(run.out) as { problems: { kind: string; examples: string[] }[] };
    expect(problems.slice(0, 4).map(({ kind }) => kind)).toEqual([
      "manifest-hash",
      "manifest-size",
      "manifest-counts",
      "manifest-volume",
    ]);
    expect(problems[2]?.examples).toContain("file: 327 instead of 222");
    expect(problems[3]?.examples).toEqual([`natsqlite (${UUID})`]);
  });

  test("goes with its file, and is gone when the file is replaced without one", async () => {
    const file = await dumpWithManifest("meta.json");
    const moved = join(temporaryDirectory(), "meta.json");
    renameSync(file, moved);
    renameSync(`${file}.manifest.json`, `${moved}.manifest.json`);
    expect((await runDecant(["verify", moved])).code).toBe(0);
    const run = await runDecant(["dump", copySqliteFixture("encrypted/plain.sqlite.db").url, moved]);
    expect(run.code).toBe(0);
    expect(run.err).toContain(`Removed the manifest of the file that was replaced: ${moved}\n`);
    expect(existsSync(`${moved}.manifest.json`)).toBe(false);
    expect((await runDecant(["verify", moved])).code).toBe(0);
  });

  test("is refused for stdout, and must be one", async () => {
    const { url } = copySqliteFixture(VOLUME);
    const run = await runDecant(["dump", url, "--manifest"]);
    expect([run.code, run.out]).toEqual([2, ""]);
    expect(run.err).toContain("A manifest stands beside a file");
    const file = join(temporaryDirectory(), "other.json");
    for (const text of ["{", "{}", '{"manifestVersion":2}', '{"manifestVersion":1}']) {
      writeFileSync(file, text);
      const wrong = await runDecant(["verify", fixture("malformed/base.json"), "--manifest", file]);
      expect([wrong.code, wrong.out]).toEqual([6, ""]);
      expect(wrong.err).toContain(`${file} cannot be used as a manifest: `);
    }
  });
});
