import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { DataError } from "../../src/base/errors.ts";
import { ExitCode, exitCodeOf } from "../../src/cli/exit-code.ts";
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

/** Engines whose dumps list the open files of registered sessions only (docs/spec/binary-dump.md §4), and how one is registered. */
const REGISTER: Readonly<Record<string, (url: string, sid: bigint) => Promise<void>>> = {
  async Redis(url, sid) {
    const client = new Redis(url);
    await client.zadd("allSessions", 9_999_999_999, String(sid));
    client.disconnect();
  },
};

const twice = <T>(one: T): T[] => [one, one];
const slices = encodeSlices([{ pos: 0, id: 70n, size: 9, off: 0, len: 9 }]);
const edge = (inode: bigint): RecordTypes["edge"] => ({ parent: 1n, inode, type: 1, name: Buffer.from("same") });

/** What is there twice, each in a batch of its own at the end of a good dump. */
const DUPLICATES: Readonly<Record<string, readonly RecordBatch[]>> = {
  "attribute record of inode 90": twice(
    packBatch("node", [{ inode: 90n, attribute: encodeAttribute(newDirectoryAttribute(0o755, 1n)) }]),
  ),
  "entry same of directory 1": [packBatch("edge", [edge(3n)]), packBatch("edge", [edge(4n)])],
  "chunk 0 of inode 90": twice(packBatch("chunk", [{ inode: 90n, index: 0, slices }])),
  "chunk 7 of inode 90": twice(packBatch("chunk", [{ inode: 90n, index: 7, slices }])),
  "link target of inode 90": twice(packBatch("symlink", [{ inode: 90n, target: Buffer.from("target") }])),
  "extended attribute user.a of inode 3": ["one", "other"].map((value) =>
    packBatch("xattr", [{ inode: 3n, name: Buffer.from("user.a"), value: Buffer.from(value) }]),
  ),
};

describe.each(engines)("loading a binary dump into $name", (engine) => {
  test.each(Object.entries(DUPLICATES))("refuses two records for one thing and names it: %s", async (what, more) => {
    const { batches } = await decodeAll(readFileSync(fixture("malformed/base.bin")));
    const file = join(temporaryDirectory(), "twice.bin");
    writeFileSync(file, await encodeAll([...batches, ...more]));
    const url = await engine.createDatabase();
    const error: unknown = await loadVolumeFile(url, file).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DataError);
    expect(error).toMatchObject({ code: "DECANT_E_DUPLICATE", message: `The dump has the ${what} twice` });
    expect(exitCodeOf(error, new AbortController().signal)).toBe(ExitCode.badData);
    // Nothing is left of it, so a good dump can be loaded now.
    await loadVolumeFile(url, fixture("malformed/base.bin"));
  });

  test("12: open files that were deleted stay in the volume, with their session", async () => {
    const file = fixture("golden/native/natsqlite.keep.bin");
    const before = await recordsOf(readFileSync(file));
    const [sustained] = before.get("sustained") as RecordTypes["sustained"][];
    const url = await engine.createDatabase();
    await loadVolumeFile(url, file);
    const again = async (): Promise<Map<FlatKind, RecordTypes[FlatKind][]>> =>
      recordsOf((await dumpVolume(url, { format: "binary", keepSecretKey: true }, "dump.bin")).bytes);
    const after = await again();
    for (const kind of ["node", "chunk"] as const) {
      expect(recordTexts(after.get(kind)!)).toEqual(recordTexts(before.get(kind)!));
    }
    const register = REGISTER[engine.name];
    if (register !== undefined) {
      expect(after.get("sustained") ?? []).toEqual([]);
      await register(url, sustained!.sid);
    }
    expect(recordTexts((await again()).get("sustained")!)).toEqual(recordTexts(before.get("sustained")!));
  });
});
