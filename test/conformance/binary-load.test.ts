import { createReadStream, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DataError } from "../../src/base/errors.ts";
import { ExitCode, exitCodeOf } from "../../src/cli/exit-code.ts";
import { createContext } from "../../src/operations/context.ts";
import { load } from "../../src/operations/load.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import { type FlatKind, packBatch, type RecordBatch, type RecordTypes } from "../../src/volume/records.ts";
import { encodeSlices } from "../../src/volume/slices.ts";
import { decodeAll, encodeAll } from "../support/binary-segments.ts";
import { collectRecords } from "../support/collect-records.ts";
import { recordTexts } from "../support/reference-binary-dump.ts";
import { fixture } from "../support/repository.ts";
import { dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireEngines } from "../support/test-engines.ts";
import { streamOf } from "../support/volume-streams.ts";

/** Loads of binary dumps, where engines differ in what they refuse by themselves and in what they read back. */

const engines = await requireEngines();

async function recordsOf(bytes: Buffer): Promise<Map<FlatKind, RecordTypes[FlatKind][]>> {
  return collectRecords(streamOf((await decodeAll(bytes)).batches));
}

const slices = encodeSlices([{ pos: 0, id: 70n, size: 9, off: 0, len: 9 }]);
const otherSlices = encodeSlices([{ pos: 0, id: 71n, size: 9, off: 0, len: 9 }]);
const directory = (mode: number): Buffer => encodeAttribute(newDirectoryAttribute(mode, 1n));
const usage = (bytes: bigint): Omit<RecordTypes["quota"], "key"> => ({
  maxSpace: bytes,
  maxInodes: -1n,
  usedSpace: 0n,
  usedInodes: 0n,
});

/** Two records about one thing that differ. None of them is in the good dump that they are added to. */
const DIFFERING: Readonly<Record<string, readonly [RecordBatch, RecordBatch]>> = {
  "attribute record of inode 90": [
    packBatch("node", [{ inode: 90n, attribute: directory(0o755) }]),
    packBatch("node", [{ inode: 90n, attribute: directory(0o700) }]),
  ],
  "entry same of directory 1": [
    packBatch("edge", [{ parent: 1n, inode: 3n, type: 1, name: Buffer.from("same") }]),
    packBatch("edge", [{ parent: 1n, inode: 4n, type: 1, name: Buffer.from("same") }]),
  ],
  "chunk 0 of inode 90": [
    packBatch("chunk", [{ inode: 90n, index: 0, slices }]),
    packBatch("chunk", [{ inode: 90n, index: 0, slices: otherSlices }]),
  ],
  "chunk 7 of inode 90": [
    packBatch("chunk", [{ inode: 90n, index: 7, slices }]),
    packBatch("chunk", [{ inode: 90n, index: 7, slices: otherSlices }]),
  ],
  "link target of inode 90": [
    packBatch("symlink", [{ inode: 90n, target: Buffer.from("one") }]),
    packBatch("symlink", [{ inode: 90n, target: Buffer.from("two") }]),
  ],
  "extended attribute user.a of inode 90": [
    packBatch("xattr", [{ inode: 90n, name: Buffer.from("user.a"), value: Buffer.from("one") }]),
    packBatch("xattr", [{ inode: 90n, name: Buffer.from("user.a"), value: Buffer.from("two") }]),
  ],
  "references of slice 70": [
    packBatch("sliceRef", [{ id: 70n, size: 9, refs: 2n }]),
    packBatch("sliceRef", [{ id: 70n, size: 9, refs: 3n }]),
  ],
  "pending deletion of inode 90": [
    packBatch("delFile", [{ inode: 90n, length: 9n, expire: 1_700_000_000n }]),
    packBatch("delFile", [{ inode: 90n, length: 9n, expire: 1_700_000_001n }]),
  ],
  "link count of inode 90 in directory 1": [
    packBatch("parent", [{ inode: 90n, parent: 1n, count: 2n }]),
    packBatch("parent", [{ inode: 90n, parent: 1n, count: 3n }]),
  ],
  "ACL rule 90": [
    packBatch("acl", [{ id: 90, rule: Buffer.from("00070000000000000000000000000000", "hex") }]),
    packBatch("acl", [{ id: 90, rule: Buffer.from("00060000000000000000000000000000", "hex") }]),
  ],
  "statistics of directory 90": [
    packBatch("dirStat", [{ inode: 90n, dataLength: 1n, usedSpace: 4096n, usedInodes: 1n }]),
    packBatch("dirStat", [{ inode: 90n, dataLength: 2n, usedSpace: 4096n, usedInodes: 1n }]),
  ],
  "quota of directory 90": [
    packBatch("quota", [{ key: 90n, ...usage(1n) }]),
    packBatch("quota", [{ key: 90n, ...usage(2n) }]),
  ],
  "quota of user 90": [
    packBatch("userQuota", [{ key: 90n, ...usage(1n) }]),
    packBatch("userQuota", [{ key: 90n, ...usage(2n) }]),
  ],
  "quota of group 90": [
    packBatch("groupQuota", [{ key: 90n, ...usage(1n) }]),
    packBatch("groupQuota", [{ key: 90n, ...usage(2n) }]),
  ],
};
/** What is the same whenever it is there twice. */
const OPEN_FILE = packBatch("sustained", [{ sid: 90n, inode: 90n }]);

async function fileOf(more: readonly RecordBatch[]): Promise<string> {
  const { batches } = await decodeAll(readFileSync(fixture("malformed/base.bin")));
  const file = join(temporaryDirectory(), "more.bin");
  writeFileSync(file, await encodeAll([...batches, ...more]));
  return file;
}

describe.each(engines)("loading a binary dump into $name", (engine) => {
  test.each(Object.entries(DIFFERING))("refuses two records of one thing that differ: %s", async (what, pair) => {
    const file = await fileOf(pair);
    const url = await engine.createDatabase();
    const error: unknown = await loadVolumeFile(url, file).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DataError);
    expect(error).toMatchObject({ code: "DECANT_E_DUPLICATE", message: `The dump has the ${what} twice` });
    expect(exitCodeOf(error, new AbortController().signal)).toBe(ExitCode.badData);
    // Nothing is left of it, so a good dump can be loaded now.
    await loadVolumeFile(url, fixture("malformed/base.bin"));
  });

  test("loads records once that are there twice and the same, of every kind, and counts them", async () => {
    const ones = [...Object.values(DIFFERING).map(([one]) => one), OPEN_FILE];
    const { batches } = await decodeAll(readFileSync(fixture("malformed/base.bin")));
    const single = await engine.createDatabase();
    const expected = await loadVolumeFile(single, await fileOf(ones));
    const all = [...batches.filter(({ kind }) => kind !== "setting" && kind !== "counter"), ...ones];
    const double = await engine.createDatabase();
    const report = await loadVolumeFile(double, await fileOf([...all, ...ones]));
    const repeated = all.reduce((sum, { count }) => sum + count, 0);
    expect(report.findings.find(({ kind }) => kind === "repeated-record")).toMatchObject({
      count: repeated,
      loss: false,
    });
    expect(report.findings.filter(({ kind }) => kind !== "repeated-record")).toEqual(expected.findings);
    expect({ ...report.counts, counter: 0 }).toEqual({ ...expected.counts, counter: 0 });
    expect(await engine.readContent(double)).toEqual(await engine.readContent(single));
  });

  test("loads entries once where its own index meets the second of two before all have been read", async () => {
    const entries = Array.from({ length: 50_000 }, (_, i) => ({
      parent: 1n,
      inode: 3n,
      type: 1,
      name: Buffer.from(`entry-${i}`),
    }));
    const batch = packBatch("edge", entries);
    const [single, double] = [await engine.createDatabase(), await engine.createDatabase()];
    const expected = await loadVolumeFile(single, await fileOf([batch]));
    const report = await loadVolumeFile(double, await fileOf([batch, batch]));
    expect(report.findings.find(({ kind }) => kind === "repeated-record")?.count).toBe(entries.length);
    expect(report.counts).toEqual(expected.counts);
    expect(await engine.readContent(double)).toEqual(await engine.readContent(single));
  });

  test("loads what the reference dumps while a scan gives every key twice as if it had not", async () => {
    const [single, double] = [await engine.createDatabase(), await engine.createDatabase()];
    await loadVolumeFile(single, fixture("golden/scan-twice/once.bin.gz"));
    const { findings } = await loadVolumeFile(double, fixture("golden/scan-twice/twice.bin.gz"));
    expect(findings.find(({ kind }) => kind === "repeated-record")).toMatchObject({ count: 785, loss: false });
    expect(await engine.readContent(double)).toEqual(await engine.readContent(single));
  });

  test("says of a stream with records twice that only a file can be loaded", async () => {
    const url = await engine.createDatabase();
    const [what, [one]] = Object.entries(DIFFERING)[0]!;
    const source = { stream: createReadStream(await fileOf([one, one])) };
    const error: unknown = await load({ target: url, source }, createContext({ env: {} })).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "DECANT_E_DUPLICATE", message: `The dump has the ${what} twice` });
    expect((error as DataError).hint).toContain("load it from a file");
    await loadVolumeFile(url, fixture("malformed/base.bin"));
  });

  test("12: open files that were deleted stay in the volume, with their session", async () => {
    const file = fixture("golden/native/natsqlite.keep.bin");
    const before = await recordsOf(readFileSync(file));
    const [sustained] = before.get("sustained") as RecordTypes["sustained"][];
    const url = await engine.createDatabase();
    await loadVolumeFile(url, file);
    const dumped = await dumpVolume(url, { format: "binary", keepSecretKey: true }, "dump.bin");
    const after = await recordsOf(dumped.bytes);
    for (const kind of ["node", "chunk"] as const) {
      expect(recordTexts(after.get(kind)!)).toEqual(recordTexts(before.get(kind)!));
    }
    expect(recordTexts(after.get("sustained")!)).toEqual(recordTexts(before.get("sustained")!));
    const { bytes } = await dumpVolume(url, { keepSecretKey: true });
    const { Sustained } = JSON.parse(bytes.toString()) as { Sustained: readonly { sid: number; inodes: number[] }[] };
    expect(Sustained).toEqual([{ sid: Number(sustained!.sid), inodes: [Number(sustained!.inode)] }]);
  });
});
