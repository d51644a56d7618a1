import { describe, expect, test } from "vitest";
import { leaveOutUnsupportedFlat } from "../../../src/tree/unsupported-flat.ts";
import { decodeAttribute, encodeAttribute, newDirectoryAttribute } from "../../../src/volume/attribute.ts";
import { packBatch, type RecordBatch, type RecordTypes } from "../../../src/volume/records.ts";
import type { UnsupportedValue, ValueLimits } from "../../../src/volume/value-limits.ts";
import { collectRecords } from "../../support/collect-records.ts";
import { streamOf } from "../../support/volume-streams.ts";

const LIMITS: ValueLimits = {
  engineName: "A database",
  maxNumber: 1000,
  maxSymlinkBytes: 10,
  maxXattrValueBytes: 4,
  maxSlicesBytes: 48,
  maxSettingBytes: 1000,
  xattrNameProblems: async (lists) =>
    lists.map((names) => new Map(names.flatMap((name, i) => (name[0] === 0xff ? [[i, "it is not UTF-8"]] : [])))),
};

async function pass(...batches: RecordBatch[]) {
  const values: UnsupportedValue[] = [];
  const kept = await collectRecords(
    leaveOutUnsupportedFlat(streamOf(batches), LIMITS, (value) => {
      values.push(value);
    }),
  );
  return { kept, values: values.map(({ kind, path, reason }) => `${kind} ${path}: ${reason}`) };
}

function file(
  inode: bigint,
  changes: { uid?: number; gid?: number; rdev?: number; mode?: number },
): RecordTypes["node"] {
  return { inode, attribute: encodeAttribute({ ...newDirectoryAttribute(0o644, 5n), type: 1, ...changes }) };
}

describe("flat records that a database cannot hold", () => {
  test("get owners that it can, without the bit that would give away their rights", async () => {
    const nodes = [file(2n, { uid: 5 }), file(3n, { uid: 2000, mode: 0o6755 }), file(4n, { gid: 3000, rdev: 4000 })];
    const { kept, values } = await pass(packBatch("node", nodes));
    const attributes = (kept.get("node") as RecordTypes["node"][]).map(({ attribute }) => decodeAttribute(attribute));
    expect(attributes.map(({ uid, gid, rdev, mode }) => [uid, gid, rdev, mode])).toEqual([
      [5, 0, 0, 0o644],
      [65534, 0, 0, 0o2755],
      [0, 65534, 0, 0o644],
    ]);
    expect(values).toEqual([
      "uid inode 3: the largest number is 1000",
      "gid inode 4: the largest number is 1000",
      "rdev inode 4: the largest number is 1000",
    ]);
  });

  test("are left out one by one, and what stands around them stays", async () => {
    const xattr = (inode: bigint, name: string, size: number): RecordTypes["xattr"] => ({
      inode,
      name: Buffer.from(name, "latin1"),
      value: Buffer.alloc(size, 1),
    });
    const { kept, values } = await pass(
      packBatch("symlink", [
        { inode: 2n, target: Buffer.from("short") },
        { inode: 3n, target: Buffer.from("much too long") },
        { inode: 4n, target: Buffer.from("short too") },
      ]),
      packBatch("chunk", [
        { inode: 5n, index: 0, slices: Buffer.alloc(72) },
        { inode: 5n, index: 1, slices: Buffer.alloc(48) },
      ]),
      packBatch("xattr", [xattr(6n, "good", 4), xattr(6n, "\xff", 1), xattr(7n, "large", 5), xattr(7n, "last", 0)]),
    );
    expect((kept.get("symlink") as RecordTypes["symlink"][]).map(({ inode }) => inode)).toEqual([2n, 4n]);
    expect((kept.get("chunk") as RecordTypes["chunk"][]).map(({ index }) => index)).toEqual([1]);
    expect((kept.get("xattr") as RecordTypes["xattr"][]).map(({ name }) => name.toString())).toEqual(["good", "last"]);
    expect(values).toEqual([
      "symlink inode 3: it has 13 bytes, 10 are possible",
      "chunk inode 5: it has 3 slices, 2 are possible",
      "xattr inode 6: it is not UTF-8",
      "xattr inode 7: it has 5 bytes, 4 are possible",
    ]);
  });
});
