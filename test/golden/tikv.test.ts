import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { realClient } from "../support/real-client.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { type DumpOptions, dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { readTikvLines, restoreTikv } from "../support/tikv-keys.ts";
import { requireTikvCluster } from "../support/tikv-server.ts";
import { expectSameBytes } from "./compare-bytes.ts";
import { expectedPairs, withoutTrashRoot } from "./kv-golden.ts";
import { REPLACEMENT_CHARACTERS, withPermittedDifferences } from "./permitted-differences.ts";
import { comparableLines, dumpFacts } from "./reference-load.ts";

const server = await requireTikvCluster({ stores: 2 });
const client = server === undefined ? undefined : await realClient();
const KEEP = { keepSecretKey: true };
let count = 0;

/** A prefix of its own, empty, that regions divide. */
async function newUrl(): Promise<string> {
  const prefix = `golden-${count++}`;
  for (const key of ["A\x02", "A\x80", "C", "K"]) await server!.split(Buffer.from(`${prefix}\xfd${key}`, "latin1"));
  return server!.url(prefix);
}

/** A dump whose extended attributes all have a value, as they must in TiKV, with empty ones filled. */
function withoutEmptyValues(dump: string): string {
  const file = join(temporaryDirectory(), "dump.json");
  const text = readFileSync(fixture(dump), "latin1");
  writeFileSync(file, text.replaceAll('"value":""', '"value":"0"'), "latin1");
  return file;
}

async function restored(source: string): Promise<string> {
  const url = await newUrl();
  await restoreTikv(url, fixture(source));
  return url;
}

const NATIVE = "golden/native/natetcd.etcd.jsonl";
const DUMPS: readonly (readonly [string, DumpOptions])[] = [
  ["golden/native/natetcd.keep.json", KEEP],
  ["golden/native/natetcd.skip-trash.json", { ...KEEP, skipTrash: true }],
];

describe.skipIf(server === undefined)("TiKV: a dump of what clients stored", () => {
  test.each(DUMPS)("has the bytes of the reference's: %s", async (reference, options) => {
    const { bytes, report } = await dumpVolume(await restored(NATIVE), options);
    const wanted = withPermittedDifferences(readFileSync(fixture(reference)), REPLACEMENT_CHARACTERS);
    expectSameBytes(bytes, wanted);
    expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
    expect(report.consistency.pointInTime).toBe(true);
  });
});

const JSON_DUMPS: readonly string[] = [
  "golden/dumps/golden.keep.json",
  "golden/dumps/golden.skip-trash.json",
  "golden/native/natetcd.keep.json",
  "golden/native/natpg.keep.json",
  "golden/native/awkward.keep.json",
  "legacy/legacy-1-3-0.keep.json",
  "encrypted/encaes.json",
];

describe.skipIf(client === undefined)("TiKV: a loaded volume", () => {
  test.each(JSON_DUMPS)("has the keys of the reference's load of %s, and its dump", async (dump) => {
    const file = withoutEmptyValues(dump);
    const [ours, theirs] = [await newUrl(), await newUrl()];
    await loadVolumeFile(ours, file);
    await mustRun(client!, ["load", theirs, file]);
    const facts = dumpFacts(file);
    const wanted = expectedPairs(await readTikvLines(theirs), facts);
    expect(withoutTrashRoot(await readTikvLines(ours), facts)).toEqual(wanted);
    const dumps = [await dumpByReference(ours), await dumpByReference(theirs)];
    const [got, expected] = dumps.map((bytes) => comparableLines(bytes, facts));
    expect(got).toEqual(expected);
    const own = await dumpVolume(theirs, KEEP);
    expect(comparableLines(own.bytes, facts)).toEqual(expected);
  });
});

describe.skipIf(server === undefined)("TiKV: an extended attribute without a value", () => {
  test("is found before anything is written", async () => {
    const url = await newUrl();
    const error = await loadVolumeFile(url, fixture("golden/native/awkward.keep.json")).then(
      () => undefined,
      (reason: unknown) => reason as Error,
    );
    expect(error?.message).toContain("TiKV");
    expect(error).toMatchObject({ code: "DECANT_E_UNSUPPORTED_VALUE" });
    expect(await readTikvLines(url)).toEqual([]);
  });
});

async function dumpByReference(url: string): Promise<Buffer> {
  const file = join(temporaryDirectory(), "dump.json");
  await mustRun(client!, ["dump", "--keep-secret-key", url, file]);
  return readFileSync(file);
}
