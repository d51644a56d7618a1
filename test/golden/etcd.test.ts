import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { volumePrefix } from "../support/etcd-gateway.ts";
import { requireEtcd } from "../support/etcd-server.ts";
import { realClient } from "../support/real-client.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { type DumpOptions, dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { expectSameBytes } from "./compare-bytes.ts";
import { expectedPairs, expectGoldenTrees, expectRecordsOf, withoutTrashRoot } from "./kv-golden.ts";
import { type PermittedDifference, REPLACEMENT_CHARACTERS, withPermittedDifferences } from "./permitted-differences.ts";
import { comparableLines, dumpFacts } from "./reference-load.ts";

const server = await requireEtcd();
const client = server === undefined ? undefined : await realClient();
const KEEP = { keepSecretKey: true };

let count = 0;

/** A prefix of its own, empty. */
async function newPath(): Promise<string> {
  const path = `/golden-${process.pid}-${count++}`;
  await server!.gateway.remove(volumePrefix(path));
  return path;
}

async function restored(source: string): Promise<string> {
  const path = await newPath();
  await server!.gateway.restore(fixture(source), path);
  return path;
}

const NATIVE = "golden/native/natetcd.etcd.jsonl";

const DUMPS: readonly [
  source: string,
  reference: string,
  options: DumpOptions,
  permitted: readonly PermittedDifference[],
][] = [
  [NATIVE, "golden/native/natetcd.keep.json", KEEP, REPLACEMENT_CHARACTERS],
  [NATIVE, "golden/native/natetcd.fast.json", KEEP, REPLACEMENT_CHARACTERS],
  [NATIVE, "golden/native/natetcd.skip-trash.json", { ...KEEP, skipTrash: true }, REPLACEMENT_CHARACTERS],
  ["golden/changelog/chlogetcd.etcd.jsonl", "golden/changelog/chlogetcd.json", {}, []],
];

describe.skipIf(server === undefined)("etcd: a dump has the bytes of the reference's", () => {
  test.each(DUMPS)("%s: %s", async (source, reference, options, permitted) => {
    const { bytes, report } = await dumpVolume(server!.url(await restored(source)), options);
    expectSameBytes(bytes, withPermittedDifferences(readFileSync(fixture(reference)), permitted));
    expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
    expect(report.consistency.pointInTime).toBe(true);
  });

  test.each([
    ["golden/engines/golden-json.etcd.jsonl", ["1369", "1377"]],
    ["golden/engines/golden-bin.etcd.jsonl", ['"symlink": "100%25-A-%25zz-%25"']],
  ])("of the reference's own load of it, but for what that load changes: %s", async (source, changed) => {
    const { bytes } = await dumpVolume(server!.url(await restored(source)), KEEP);
    expectGoldenTrees(bytes, changed);
  });

  test.each([
    [NATIVE, "golden/native/natetcd.keep.bin"],
    ["golden/changelog/chlogetcd.etcd.jsonl", "golden/changelog/chlogetcd.bin"],
  ])("and the records of its binary dump: %s", async (source, reference) => {
    await expectRecordsOf(server!.url(await restored(source)), reference);
  });
});

const JSON_DUMPS: readonly string[] = [
  "golden/dumps/golden.keep.json",
  "golden/dumps/golden.json.gz",
  "golden/dumps/golden.skip-trash.json",
  "golden/dumps/golden.subdir-docs.json",
  "golden/native/natetcd.keep.json",
  "golden/native/natpg.keep.json",
  "golden/native/natbadger.skip-trash.json",
  "golden/native/awkward.keep.json",
  "golden/changelog/chlogetcd.json",
  "legacy/legacy-1-3-0.keep.json",
  "legacy/ancient.by-1.4.2.json",
  "encrypted/encaes.json",
  "malformed/base.json",
];

describe.skipIf(client === undefined)("etcd: a loaded volume", () => {
  test.each(JSON_DUMPS)("has the keys of the reference's load of %s, and its dump", async (dump) => {
    const [ours, theirs] = [await newPath(), await newPath()];
    await loadVolumeFile(server!.url(ours), fixture(dump));
    await mustRun(client!, ["load", server!.url(theirs), fixture(dump)]);
    const facts = dumpFacts(fixture(dump));
    const wanted = expectedPairs(await server!.gateway.readLines(theirs), facts);
    expect(withoutTrashRoot(await server!.gateway.readLines(ours), facts)).toEqual(wanted);
    const dumps = [await dumpByReference(server!.url(ours)), await dumpByReference(server!.url(theirs))];
    const [got, expected] = dumps.map((bytes) => comparableLines(bytes, facts));
    expect(got).toEqual(expected);
  });

  test("has the keys of the reference's load of a binary dump", async () => {
    const dump = fixture("golden/dumps/golden.keep.bin");
    const [ours, theirs] = [await newPath(), await newPath()];
    await loadVolumeFile(server!.url(ours), dump);
    await mustRun(client!, ["load", "--binary", server!.url(theirs), dump]);
    expect(await server!.gateway.readLines(ours)).toEqual(await server!.gateway.readLines(theirs));
  });
});

describe.skipIf(server === undefined)("etcd: without the reference client, a loaded volume", () => {
  test("has the keys of the fixture that the reference made of the same JSON dump", async () => {
    const [ours, theirs] = [await newPath(), await restored("golden/engines/golden-json.etcd.jsonl")];
    const dump = fixture("golden/dumps/golden.keep.json");
    await loadVolumeFile(server!.url(ours), dump);
    const wanted = expectedPairs(await server!.gateway.readLines(theirs), dumpFacts(dump));
    expect(await server!.gateway.readLines(ours)).toEqual(wanted);
  });

  test("has the keys of the fixture that the reference made of the same binary dump", async () => {
    const [ours, theirs] = [await newPath(), await restored("golden/engines/golden-bin.etcd.jsonl")];
    await loadVolumeFile(server!.url(ours), fixture("golden/dumps/golden.keep.bin"));
    expect(await server!.gateway.readLines(ours)).toEqual(await server!.gateway.readLines(theirs));
  });
});

async function dumpByReference(url: string): Promise<Buffer> {
  const file = join(temporaryDirectory(), "dump.json");
  await mustRun(client!, ["dump", "--keep-secret-key", url, file]);
  return readFileSync(file);
}
