import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createContext } from "../../src/operations/context.ts";
import { type VerifyReport, type VerifyRequest, verify } from "../../src/operations/verify.ts";
import { summaryOf } from "../support/check-records.ts";
import { fixture } from "../support/repository.ts";
import { dumpVolume } from "../support/run-operations.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const PASSPHRASE = readFileSync(fixture("encrypted/passphrase.txt"), "utf8").trim();

function check(file: string, options: Omit<VerifyRequest, "source"> = {}): Promise<VerifyReport> {
  return verify({ source: { file }, ...options }, createContext({ env: { JFS_RSA_PASSPHRASE: PASSPHRASE } }));
}

function filesIn(folder: string, pattern: RegExp): string[] {
  return readdirSync(fixture(folder))
    .filter((name) => pattern.test(name) && !/expected|status|stat\.txt/.test(name))
    .sort()
    .map((name) => `${folder}/${name}`);
}

const HEALTHY: readonly string[] = [
  ...filesIn("golden/dumps", /\.(json|bin|gz|zstd)$/),
  ...filesIn("golden/native", /\.(json|bin)$/),
  ...filesIn("golden/changelog", /\.(json|bin)$/),
  ...filesIn("legacy", /\.(json|bin)$/),
  ...filesIn("encrypted", /\.(json|bin)$/),
  "malformed/base.json",
  "malformed/base.bin",
];

describe("a dump by the reference", () => {
  test.each(HEALTHY)("%s is found undamaged", async (name) => {
    const report = await check(fixture(name));
    expect(report.problems.filter(({ severity }) => severity === "error")).toEqual([]);
    expect(report.ok).toBe(true);
    expect(report.damage).toBeUndefined();
    expect(report.format).toBe(name.endsWith(".bin") ? "binary" : "json");
    expect(report.volume?.uuid).toMatch(/^[0-9a-f-]{36}$/);
  });

  test.each([
    ["encaes", "aes256gcm-rsa"],
    ["encchacha", "chacha20-rsa"],
  ])("is found undamaged in the encrypted backups of %s", async (volume, algorithm) => {
    const decryption = { keyFile: fixture("encrypted/key-pkcs8-encrypted.pem"), algorithm };
    for (const name of readdirSync(fixture(`encrypted/objects/${volume}/meta`))) {
      const report = await check(fixture(`encrypted/objects/${volume}/meta/${name}`), { decryption });
      expect([report.ok, report.container, summaryOf(report.problems)]).toEqual([true, "encrypted gzip", []]);
    }
  });

  test("notes say what is not damage", async () => {
    const json = await check(fixture("golden/dumps/golden.json"));
    expect(summaryOf(json.problems)).toEqual(["spare-links 2", "open-files 1", "pending-deletion 1"]);
    const binary = await check(fixture("golden/dumps/golden.keep.bin"));
    expect(summaryOf(binary.problems)).toEqual([
      "statistics-differ 4",
      "spare-links 2",
      "symlink-length 2",
      "spare-references 4",
      "open-files 1",
      "pending-deletion 1",
    ]);
    expect([...binary.problems.find(({ kind }) => kind === "symlink-length")!.examples].sort()).toEqual([
      "/clones/links/percent-target",
      "/links/percent-target",
    ]);
    const part = await check(fixture("golden/dumps/golden.subdir-docs.json"));
    expect(summaryOf(part.problems)).toEqual(["partial-dump 1", "open-files 1", "pending-deletion 1"]);
  });

  test("a dump by decant is found undamaged too", async () => {
    const { bytes } = await dumpVolume(copySqliteFixture("golden/native/natsqlite.sqlite.db").url);
    const file = join(temporaryDirectory(), "dump.json");
    writeFileSync(file, bytes);
    const report = await check(file);
    expect(summaryOf(report.problems)).toEqual(["usage-differs 1", "spare-links 2", "open-files 1"]);
  });
});

/** By content they are whole: a name or an option would be wrong, or they test tolerance. */
const VALID: readonly string[] = [
  "b02-json-as-bin.bin",
  "b03-bin-as-json.json",
  "b04-gzipped.bin",
  "j12-bom.json",
  "j27-reordered.json",
];

/** What decant reads as juicefs does, and reports without calling it damage; what `--strict` says of it. */
const NOTED: Readonly<Record<string, readonly [notes: readonly string[], strictOk: boolean]>> = {
  "j14-raw-control.json": [["odd-text 1"], false],
  "j18-bad-percent.json": [["odd-text 1"], false],
  "j21-plain-named.json.gz": [["compression-name 1"], true],
  "j22-gzip-named.json": [["compression-name 1"], true],
  "j23-not-zstd.json.zstd": [["compression-name 1"], true],
  "j28-unknown-fields.json": [["unknown-member 4"], true],
  "j36-length-2p53.json": [["usage-differs 1"], false],
  "j58-name-percent-slash.json": [["usage-differs 2", "odd-text 1"], false],
};

/** What is read to its end and then found damaged: the kind, and a place. */
const DAMAGED: Readonly<Record<string, readonly [kind: string, example: string]>> = {
  "b19-bit-flips.bin": ["impossible-time", "/d1/a.txt"],
  "b23-edge-missing-inode.bin": ["missing-node", "/ghost"],
  "b24-cycle.bin": ["directory-cycle", "/d1/up"],
  "b25-name-slash.bin": ["bad-name", ""],
  "b27-dup-name.bin": ["duplicate-name", "/"],
  "b28-edge-missing-parent.bin": ["missing-directory", ""],
  "b29-edge-type-9.bin": ["entry-type", ""],
  "j40-inode-2p53.json": ["counter-too-small", "nextInode 1026, inode 9007199254740993 is in use"],
  "j43-counter-small.json": ["counter-too-small", "nextChunk 1, slice 4 is in use"],
  "j44-dup-file-inode-2dirs.json": ["link-count", "/d1/a.txt: 1 links, 2 entries"],
  "j45-dup-dir-inode-2dirs.json": ["directory-repeated", "/d2/d1-too"],
  "j46-inode-two-types.json": ["two-types", "/d2/x"],
  "j47-cycle-self.json": ["directory-cycle", "/d1/self"],
  "j49-root-not-1.json": ["root-inode", "/: inode 55"],
  "j51-deep-5000.json": ["counter-too-small", "nextInode 1026, inode 104999 is in use"],
  "j61-chunk-id-beyond.json": ["counter-too-small", "nextChunk 4097, slice 1099511627776 is in use"],
  "j63-symlink-no-target.json": ["missing-target", "/d2/sl"],
  "j64-acl-odd.json": ["bad-acl", "rule 1"],
  "j65-parentless-trash.json": ["root-inode", "/.trash: inode 777"],
  "j68-setting-wrong-types.json": [
    "bad-setting",
    "Cannot read the volume setting: BlockSize must be a 64-bit integer, got a text",
  ],
  "j69-setting-meta-version.json": [
    "bad-setting",
    "check version: incompatible metadata version: 99; please upgrade the client",
  ],
  "j70-setting-no-uuid.json": ["bad-setting", "it has no Name or no UUID"],
  "j73-sustained-missing2.json": ["counter-too-small", "nextInode 1026, inode 4243 is in use"],
  "j74-quota-odd2.json": ["quota-without-directory", "inode 4242"],
};

describe("a malformed dump", () => {
  const files = readdirSync(fixture("malformed")).filter((name) => /^[jb]\d\d/.test(name));
  const damaged = files.filter((name) => !VALID.includes(name) && !(name in NOTED));

  test.each(damaged)("%s is found damaged", async (name) => {
    const report = await check(fixture(`malformed/${name}`));
    expect(report.ok).toBe(false);
    const errors = report.problems.filter(({ severity }) => severity === "error");
    const expected = DAMAGED[name];
    if (expected === undefined) {
      expect(errors.map(({ kind }) => kind)).toContain("unreadable");
      expect(report.damage?.message).toMatch(/^[A-Z"]/);
      expect(report.damage?.hint).toMatch(/^[A-Z"]/);
      return;
    }
    const problem = errors.find(({ kind }) => kind === expected[0]);
    expect(
      problem?.examples.some((example) => example.includes(expected[1])),
      JSON.stringify(errors),
    ).toBe(true);
  });

  test.each(Object.entries(NOTED))("%s is read, and noted", async (name, [notes, strictOk]) => {
    const report = await check(fixture(`malformed/${name}`));
    expect([report.ok, summaryOf(report.problems)]).toEqual([true, notes]);
    expect((await check(fixture(`malformed/${name}`), { strict: true })).ok).toBe(strictOk);
  });

  test.each(VALID)("%s is whole by its content", async (name) => {
    const report = await check(fixture(`malformed/${name}`), { strict: true });
    expect([report.ok, summaryOf(report.problems).filter((line) => !line.startsWith("compression-name"))]).toEqual([
      true,
      [],
    ]);
  });
});

test.each(["malformed/base.json", "malformed/base.bin"])("%s cut off anywhere is never found whole", async (name) => {
  const bytes = readFileSync(fixture(name));
  const file = join(temporaryDirectory(), "cut");
  const last = bytes.length - (name.endsWith(".json") ? 2 : 1); // a line end behind the last brace is no part of a document
  for (let size = 0; size <= last; size += 17) {
    writeFileSync(file, bytes.subarray(0, size));
    expect((await check(file)).ok, `cut at ${size}`).toBe(false);
  }
});
