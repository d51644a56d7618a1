import { tmpdir } from "node:os";
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

async function pass(batches: RecordBatch[], limits: ValueLimits = LIMITS, maxBytes = 1 << 20) {
  const values: UnsupportedValue[] = [];
  const kept = await collectRecords(
    leaveOutUnsupportedFlat(
      streamOf(batches),
      limits,
      (value) => {
        values.push(value);
      },
      { maxBytes, tmpDir: tmpdir() },
    ),
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
    const { kept, values } = await pass([packBatch("node", nodes)]);
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
    const { kept, values } = await pass([
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
    ]);
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

describe("names of extended attributes that are judged beside the others of their inode", () => {
  /** Equal but for case: the first one can be stored. */
  function insensitive(): { limits: ValueLimits; asked: string[][] } {
    const asked: string[][] = [];
    const xattrNameProblems: ValueLimits["xattrNameProblems"] = async (lists) => {
      asked.push(...lists.map((names) => names.map(String)));
      return lists.map((names) => {
        const seen = new Set<string>();
        return new Map(
          names.flatMap((name, i) => {
            const folded = name.toString().toLowerCase();
            if (seen.has(folded)) return [[i, "its name is taken"]];
            seen.add(folded);
            return [];
          }),
        );
      });
    };
    return { limits: { ...LIMITS, maxXattrValueBytes: 1 << 20, xattrNameProblems }, asked };
  }
  const one = (inode: bigint, name: string, size = 1): RecordBatch =>
    packBatch("xattr", [{ inode, name: Buffer.from(name), value: Buffer.alloc(size) }]);

  test("meet wherever in the source they stand", async () => {
    const { kept, values } = await pass(
      [one(5n, "b"), one(6n, "A"), one(5n, "a"), one(6n, "b"), one(5n, "B"), one(6n, "a")],
      insensitive().limits,
    );
    expect(values).toEqual(["xattr inode 5: its name is taken", "xattr inode 6: its name is taken"]);
    expect((kept.get("xattr") as RecordTypes["xattr"][]).map(({ inode, name }) => `${inode} ${name}`)).toEqual([
      "5 B",
      "5 a",
      "6 A",
      "6 b",
    ]);
  });

  test("meet when they are more than fit into a batch, or into the memory", async () => {
    const names = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i));
    const batches = [...names, ...names.map((name) => name.toUpperCase())].map((name) => one(9n, name, 100_000));
    const { kept, values } = await pass(batches, insensitive().limits);
    expect(values).toHaveLength(26);
    expect(kept.get("xattr")!.map((record) => (record as RecordTypes["xattr"]).name.toString())).toEqual(
      names.map((name) => name.toUpperCase()),
    );
  });

  test("are asked about once, however many inodes have the same ones", async () => {
    const { limits, asked } = insensitive();
    const inodes = Array.from({ length: 20_000 }, (_, i) => BigInt(i + 2));
    await pass(
      inodes.map((inode) => one(inode, "user.same", 50)),
      limits,
    );
    expect(asked).toEqual([["user.same"]]);
  });

  test("keep their problems when so many lists are known that they are forgotten", async () => {
    const { limits } = insensitive();
    const inodes = Array.from({ length: 9000 }, (_, i) => BigInt(i + 2));
    const many = inodes.map((inode) => one(inode, `user.${inode}-${"x".repeat(500)}`));
    const pair = (inode: bigint): RecordBatch[] => [one(inode, "user.a"), one(inode, "user.A")];
    const { values } = await pass([...pair(1n), ...many, ...pair(20_000n)], limits, 64 << 20);
    expect(values).toEqual(["xattr inode 1: its name is taken", "xattr inode 20000: its name is taken"]);
  });
});
