import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { volumePrefix } from "../support/etcd-gateway.ts";
import { requireEtcd } from "../support/etcd-server.ts";
import { realClient } from "../support/real-client.ts";
import { readReferenceDump, recordTexts } from "../support/reference-binary-dump.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { type DumpOptions, dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { expectSameBytes } from "./compare-bytes.ts";
import { type PermittedDifference, REPLACEMENT_CHARACTERS, withPermittedDifferences } from "./permitted-differences.ts";
import { comparableLines, dumpFacts, TRASH_ROOT } from "./reference-load.ts";

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

  // Listed in test/fixtures/golden/README.md: link counts of a cloned hard-linked symlink, a target that the binary dump
  // unescaped.
  test.each([
    ["golden/engines/golden-json.etcd.jsonl", ["1369", "1377"]],
    ["golden/engines/golden-bin.etcd.jsonl", ['"symlink": "100%25-A-%25zz-%25"']],
  ])("of the reference's own load of it, but for what that load changes: %s", async (source, changed) => {
    const { bytes } = await dumpVolume(server!.url(await restored(source)), KEEP);
    const got = treeLines(bytes);
    const wanted = treeLines(readFileSync(fixture("golden/dumps/golden.keep.json")));
    expect(got.length).toBe(wanted.length);
    const differing = got.filter((line, i) => line !== wanted[i]).filter((line) => !/^ *"%EF/.test(line));
    expect(new Set(differing.map((line) => /"inode":(\d+)/.exec(line)?.[1] ?? line.trim()))).toEqual(new Set(changed));
  });

  test.each([
    [NATIVE, "golden/native/natetcd.keep.bin"],
    ["golden/changelog/chlogetcd.etcd.jsonl", "golden/changelog/chlogetcd.bin"],
  ])("and the records of its binary dump: %s", async (source, reference) => {
    const store = await openStore(server!.url(await restored(source)), { logger: silentLogger, signal, env: {} });
    const snapshot = await store.openSnapshot({ signal, logger: silentLogger });
    const got = await collectRecords(snapshot.records({ kinds: ENGINE_KINDS }));
    const wanted = readReferenceDump(fixture(reference));
    for (const kind of new Set([...got.keys(), ...wanted.keys()])) {
      if (kind === "symlink") continue; // the reference unescapes targets: docs/spec/kv.md §8
      const [ours, theirs] = [got, wanted].map((records) => recordTexts(records.get(kind) ?? []));
      expect([kind, ours]).toEqual([kind, theirs]);
    }
    await snapshot.close();
    await store.close();
  });
});

const signal = new AbortController().signal;

function treeLines(bytes: Buffer): string[] {
  const lines = bytes.toString("latin1").split("\n");
  return lines.slice(lines.indexOf('  "FSTree": {'));
}

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

/** Keys of the reference's load, as lines in hex, as decant must have them (docs/compatibility.md). */
function expectedPairs(theirs: readonly string[], { counters }: ReturnType<typeof dumpFacts>): string[] {
  const uselessReference = `4b${"00".repeat(12)}`; // of the slice 0, which is a hole
  return theirs
    .filter((line) => !line.startsWith(uselessReference))
    .map((line) => {
      const [key, value] = line.split(" ") as [string, string];
      const name = Buffer.from(key, "hex").toString("latin1");
      const ofFile = name.startsWith("C") ? counters.get(name.slice(1)) : undefined;
      if (ofFile === undefined) return line;
      const stored = Buffer.from(value, "hex").readBigInt64LE();
      if (ofFile <= stored) return line;
      const larger = Buffer.alloc(8);
      larger.writeBigInt64LE(ofFile);
      return `${key} ${larger.toString("hex")}`;
    });
}

/** The trash root that decant adds where a dump has none. */
function withoutTrashRoot(lines: string[], { hasTrash }: ReturnType<typeof dumpFacts>): string[] {
  if (hasTrash) return lines;
  const inode = Buffer.alloc(8);
  inode.writeBigUInt64LE(BigInt(TRASH_ROOT));
  const keys = [`41${inode.toString("hex")}49 `, `55${inode.toString("hex")} `];
  return lines.filter((line) => !keys.some((key) => line.startsWith(key)));
}
