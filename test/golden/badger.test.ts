import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bloomHash, buildBloomFilter } from "../../src/engines/badger/bloom-filter.ts";
import { COMPRESSION_SNAPPY } from "../../src/engines/badger/manifest.ts";
import { TableCursor } from "../../src/engines/badger/table-cursor.ts";
import { TableFiles } from "../../src/engines/badger/table-files.ts";
import { BADGER, newBadgerTarget, readBadgerLines, unpackBadger } from "../support/badger-directory.ts";
import { realClient } from "../support/real-client.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { type DumpOptions, dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { expectSameBytes } from "./compare-bytes.ts";
import { expectedPairs, expectGoldenTrees, expectRecordsOf, withoutTrashRoot } from "./kv-golden.ts";
import { REPLACEMENT_CHARACTERS, withPermittedDifferences } from "./permitted-differences.ts";
import { comparableLines, dumpFacts } from "./reference-load.ts";

const NATIVE = "golden/native/natbadger.badger.tar.gz";
const KEEP = { keepSecretKey: true };
const client = await realClient();

/** Names, sizes, times and content of all files; those with holes of gigabytes up to their first megabyte. */
function stateOf(directory: string): unknown[] {
  return readdirSync(directory)
    .sort()
    .map((name) => {
      const path = join(directory, name);
      const { size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
      const content = size > 200_000_000n ? "" : createHash("sha256").update(readFileSync(path)).digest("hex");
      return [name, size, mtimeNs, ctimeNs, content];
    });
}

describe("BadgerDB: a directory of the reference", () => {
  test.each([
    ["golden/engines/golden-json.badger.tar.gz", "golden/engines/golden-json.etcd.jsonl"],
    ["golden/engines/golden-bin.badger.tar.gz", "golden/engines/golden-bin.etcd.jsonl"],
  ])("has the keys and values that etcd has after the same load: %s", async (badger, etcd) => {
    const wanted = readFileSync(fixture(etcd), "utf8").trim().split("\n").map(pairLine);
    expect(await readBadgerLines(await unpackBadger(badger))).toEqual(wanted);
  });

  test("is not changed by those who read it", async () => {
    const directory = await unpackBadger(NATIVE);
    const before = stateOf(directory);
    await dumpVolume(BADGER + directory, KEEP);
    expect(stateOf(directory)).toEqual(before);
  });

  test("has tables whose filters are the ones that we make of their keys", async () => {
    const directory = await unpackBadger("golden/engines/golden-bin.badger.tar.gz");
    const files = new TableFiles();
    const table = files.summarize(directory, { id: 1, level: 0, compression: COMPRESSION_SNAPPY });
    const cursor = new TableCursor(files, [table], NOTHING, NOTHING);
    const hashes: number[] = [];
    while (cursor.next()) hashes.push(bloomHash(cursor.key, cursor.keyStart, cursor.keySize));
    expect(hashes.length).toBeGreaterThan(1000);
    expect(readFileSync(table.path).includes(buildBloomFilter(Uint32Array.from(hashes)))).toBe(true);
    cursor.close();
    files.close();
  });
});

const NOTHING = new Uint8Array(0);

describe("BadgerDB: a directory with what JuiceFS makes rarely or never", () => {
  // test/fixtures/badger/README.md
  test.each(["none", "snappy", "zstd"])("is read completely, compression %s", async (name) => {
    const lines = await readBadgerLines(await unpackBadger("badger/databases.tar.gz", name));
    const expired = Buffer.from("expired").toString("hex");
    expect(lines.filter((line) => line.startsWith(expired))).toEqual([]);
    expect(lines.length).toBe(8104);
    const text = `${lines.join("\n")}\n`;
    expect(createHash("sha256").update(text).digest("hex")).toBe(
      "d867ae7ccc11a3a9fd8a034f9c7d488fd7b98a2e86dd81b43b19667462ce8e84",
    );
  });

  test.each(["none", "snappy", "zstd"])("is read with checksums by XXH64, compression %s", async (name) => {
    const directory = await unpackBadger("badger/xxhash64.tar.gz", name);
    const table = readFileSync(join(directory, "000001.sst"));
    // the checksum of the index: algo 1, then a number of 64 bits
    const checksumSize = table.readUInt32BE(table.length - 4);
    expect(table.toString("hex", table.length - 4 - checksumSize).slice(0, 6)).toBe("080110");
    const lines = await readBadgerLines(directory);
    expect(lines.length).toBe(274);
    expect(
      createHash("sha256")
        .update(`${lines.join("\n")}\n`)
        .digest("hex"),
    ).toBe("89c4ed23f1cfd1eadcc4800dcee1142268ef9b7da07bd79571a5ad4738327a03");
    table[100]! ^= 1;
    writeFileSync(join(directory, "000001.sst"), table);
    await expect(readBadgerLines(directory)).rejects.toThrow(/000001\.sst is damaged at offset 0/);
  });
});

function pairLine(json: string): string {
  const { key_b64, value_b64 } = JSON.parse(json) as { key_b64: string; value_b64: string };
  const key = Buffer.from(key_b64, "base64");
  return `${key.subarray(key.indexOf(0xfd) + 1).toString("hex")} ${Buffer.from(value_b64, "base64").toString("hex")}`;
}

const DUMPS: readonly (readonly [reference: string, options: DumpOptions])[] = [
  ["golden/native/natbadger.keep.json", KEEP],
  ["golden/native/natbadger.fast.json", KEEP],
  ["golden/native/natbadger.skip-trash.json", { ...KEEP, skipTrash: true }],
];

describe("BadgerDB: a dump has the bytes of the reference's", () => {
  test.each(DUMPS)("%s", async (reference, options) => {
    const { bytes, report } = await dumpVolume(BADGER + (await unpackBadger(NATIVE)), options);
    expectSameBytes(bytes, withPermittedDifferences(readFileSync(fixture(reference)), REPLACEMENT_CHARACTERS));
    expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
    expect(report.consistency.pointInTime).toBe(true);
  });

  test.each([
    ["golden/engines/golden-json.badger.tar.gz", ["1369", "1377"]],
    ["golden/engines/golden-bin.badger.tar.gz", ['"symlink": "100%25-A-%25zz-%25"']],
  ])("of the reference's own load of it, but for what that load changes: %s", async (source, changed) => {
    const { bytes } = await dumpVolume(BADGER + (await unpackBadger(source)), KEEP);
    expectGoldenTrees(bytes, changed);
  });

  test("and the records of its binary dump", async () => {
    await expectRecordsOf(BADGER + (await unpackBadger(NATIVE)), "golden/native/natbadger.keep.bin");
  });
});

const JSON_DUMPS: readonly string[] = [
  "golden/dumps/golden.keep.json",
  "golden/dumps/golden.json.gz",
  "golden/dumps/golden.skip-trash.json",
  "golden/dumps/golden.subdir-docs.json",
  "golden/native/natbadger.keep.json",
  "golden/native/awkward.keep.json",
  "golden/changelog/chlogetcd.json",
  "legacy/legacy-1-3-0.keep.json",
  "legacy/ancient.by-1.4.2.json",
  "encrypted/encaes.json",
  "malformed/base.json",
];

describe.skipIf(client === undefined)("BadgerDB: a loaded volume", () => {
  test.each(JSON_DUMPS)("has the keys of the reference's load of %s, and its dump", async (dump) => {
    const [ours, theirs] = [newBadgerTarget(), newBadgerTarget()];
    await loadVolumeFile(ours.url, fixture(dump));
    await mustRun(client!, ["load", theirs.url, fixture(dump)]);
    const facts = dumpFacts(fixture(dump));
    const wanted = expectedPairs(await readBadgerLines(theirs.directory), facts);
    expect(withoutTrashRoot(await readBadgerLines(ours.directory), facts)).toEqual(wanted);
    const dumps = [await dumpByReference(ours.url), await dumpByReference(theirs.url)];
    const [got, expected] = dumps.map((bytes) => comparableLines(bytes, facts));
    expect(got).toEqual(expected);
  });

  test("has the keys of the reference's load of a binary dump", async () => {
    const dump = fixture("golden/dumps/golden.keep.bin");
    const [ours, theirs] = [newBadgerTarget(), newBadgerTarget()];
    await loadVolumeFile(ours.url, dump);
    await mustRun(client!, ["load", "--binary", theirs.url, dump]);
    expect(await readBadgerLines(ours.directory)).toEqual(await readBadgerLines(theirs.directory));
  });
});

describe("BadgerDB: without the reference client, a loaded volume", () => {
  test.each([
    ["golden/dumps/golden.keep.json", "golden/engines/golden-json.badger.tar.gz"],
    ["golden/dumps/golden.keep.bin", "golden/engines/golden-bin.badger.tar.gz"],
  ])("has the keys of the fixture that the reference made of %s", async (dump, badger) => {
    const { url, directory } = newBadgerTarget();
    await loadVolumeFile(url, fixture(dump));
    const theirs = await readBadgerLines(await unpackBadger(badger));
    const wanted = dump.endsWith(".json") ? expectedPairs(theirs, dumpFacts(fixture(dump))) : theirs;
    expect(await readBadgerLines(directory)).toEqual(wanted);
  });
});

async function dumpByReference(url: string): Promise<Buffer> {
  const file = join(temporaryDirectory(), "dump.json");
  await mustRun(client!, ["dump", "--keep-secret-key", url, file]);
  // the reference notes a load in the change log of the loaded volume
  return Buffer.from(readFileSync(file, "latin1").replace(/^ {2}"ChangeLog": \[.*?^ {2}\],\n/ms, ""), "latin1");
}
