import { readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { newFoundationdbUrl, readFoundationdbLines, restoreFoundationdb } from "../support/foundationdb-keys.ts";
import { fixture } from "../support/repository.ts";
import { type DumpOptions, dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { expectSameBytes } from "./compare-bytes.ts";
import { expectedPairs, expectGoldenTrees, expectRecordsOf } from "./kv-golden.ts";
import { REPLACEMENT_CHARACTERS, withPermittedDifferences } from "./permitted-differences.ts";
import { dumpFacts } from "./reference-load.ts";

/**
 * No released client of the reference speaks to FoundationDB, and no server can be had: the keys are those that it wrote to etcd, which
 * are the same (docs/spec/kv.md §2), and the package is replaced by one in memory (test/support/foundationdb-stand-in.ts).
 */
vi.mock("../../src/engines/foundationdb/foundationdb-package.ts", async (original) => {
  const real = await original<typeof import("../../src/engines/foundationdb/foundationdb-package.ts")>();
  const { standIn } = await import("../support/foundationdb-stand-in.ts");
  return { ...real, loadFoundationdb: async () => real.preparePackage(standIn) };
});

const KEEP = { keepSecretKey: true };
const NATIVE = "golden/native/natetcd.etcd.jsonl";

const DUMPS: readonly [reference: string, options: DumpOptions][] = [
  ["golden/native/natetcd.keep.json", KEEP],
  ["golden/native/natetcd.fast.json", KEEP],
  ["golden/native/natetcd.skip-trash.json", { ...KEEP, skipTrash: true }],
];

describe("FoundationDB (a stand-in): a dump has the bytes of the reference's of the same keys in etcd", () => {
  test.each(DUMPS)("%s", async (reference, options) => {
    const { bytes, report } = await dumpVolume(await restoreFoundationdb(fixture(NATIVE)), options);
    expectSameBytes(bytes, withPermittedDifferences(readFileSync(fixture(reference)), REPLACEMENT_CHARACTERS));
    expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
    expect(report.consistency.pointInTime).toBe(true);
  });

  test.each([
    ["golden/engines/golden-json.etcd.jsonl", ["1369", "1377"]],
    ["golden/engines/golden-bin.etcd.jsonl", ['"symlink": "100%25-A-%25zz-%25"']],
  ])("of the reference's own load of it, but for what that load changes: %s", async (source, changed) => {
    const { bytes } = await dumpVolume(await restoreFoundationdb(fixture(source)), KEEP);
    expectGoldenTrees(bytes, changed);
  });

  test("and the records of its binary dump", async () => {
    await expectRecordsOf(await restoreFoundationdb(fixture(NATIVE)), "golden/native/natetcd.keep.bin");
  });
});

describe("FoundationDB (a stand-in): a loaded volume has the keys of the reference's load into etcd", () => {
  test("of the same JSON dump", async () => {
    const ours = newFoundationdbUrl();
    const dump = fixture("golden/dumps/golden.keep.json");
    await loadVolumeFile(ours, dump);
    const theirs = await readFoundationdbLines(
      await restoreFoundationdb(fixture("golden/engines/golden-json.etcd.jsonl")),
    );
    expect(await readFoundationdbLines(ours)).toEqual(expectedPairs(theirs, dumpFacts(dump)));
  });

  test("of the same binary dump", async () => {
    const ours = newFoundationdbUrl();
    await loadVolumeFile(ours, fixture("golden/dumps/golden.keep.bin"));
    const theirs = await restoreFoundationdb(fixture("golden/engines/golden-bin.etcd.jsonl"));
    expect(await readFoundationdbLines(ours)).toEqual(await readFoundationdbLines(theirs));
  });
});
