import { expect, test } from "vitest";
import { leaveOutUnsupported } from "../../../src/tree/unsupported-values.ts";
import { FileType } from "../../../src/volume/file-type.ts";
import type { RecordBatch } from "../../../src/volume/records.ts";
import type { Slice } from "../../../src/volume/slices.ts";
import type { UnsupportedValue, ValueLimits } from "../../../src/volume/value-limits.ts";
import { TreeBuilder } from "../../support/tree-builder.ts";

/** Up to 100; targets of 4 bytes, values of 3 bytes, 2 slices; names may not begin with `x`. */
const LIMITS: ValueLimits = {
  engineName: "Small",
  maxNumber: 100,
  maxSymlinkBytes: 4,
  maxXattrValueBytes: 3,
  maxSlicesBytes: 48,
  maxSettingBytes: 1000,
  xattrNameProblems: async (lists) =>
    lists.map(
      (names) => new Map(names.flatMap((name, i) => (name[0] === 0x78 ? [[i, "its name begins with x"]] : []))),
    ),
};

const slices = (count: number): Slice[] =>
  Array.from({ length: count }, (_, i) => ({ pos: i, id: 7n, size: 1, off: 0, len: 1 }));

async function filter(batches: readonly RecordBatch[], limits: ValueLimits = LIMITS) {
  const values: UnsupportedValue[] = [];
  const kept: RecordBatch[] = [];
  async function* source(): AsyncGenerator<RecordBatch> {
    yield* batches;
  }
  for await (const batch of leaveOutUnsupported(source(), limits, (value) => values.push(value))) {
    kept.push({ ...batch, bytes: Buffer.from(batch.bytes) });
  }
  return { kept, values };
}

const tree = (content: (tree: TreeBuilder) => unknown): RecordBatch => new TreeBuilder().root(content).batch();

test("hands on what can be held as it is", async () => {
  const make = () =>
    tree((t) =>
      t
        .directory("d", 2n, (d) => d.file("f", 3n, { chunks: { 0: slices(2) }, xattrs: { a: "123" } }), {
          attribute: { uid: 100, gid: 100 },
        })
        .file("l", 4n, { target: "1234" }, FileType.symlink),
    );
  const { kept, values } = await filter([make()]);
  expect(values).toEqual([]);
  expect(kept).toEqual([make()]);
});

test("gives files whose owner cannot be held to nobody, without the bits that give away rights", async () => {
  const make = (uid: number, gid: number, mode: number, directoryUid: number) =>
    tree((t) =>
      t.directory("d", 2n, (d) => d.file("f", 3n, { attribute: { uid, gid, mode } }), {
        attribute: { uid: directoryUid, mode: 0o6755 },
      }),
    );
  const { kept, values } = await filter([make(4294967294, 101, 0o6755, 4294967295)]);
  // The bits of a directory mean something else.
  expect(kept).toEqual([make(65534, 65534, 0o755, 65534)]);
  const reason = "the largest number is 100";
  expect(values).toEqual([
    { kind: "uid", path: "/d", inode: 2n, value: 4294967295, reason },
    { kind: "uid", path: "/d/f", inode: 3n, value: 4294967294, reason },
    { kind: "gid", path: "/d/f", inode: 3n, value: 101, reason },
  ]);
});

test("keeps the set-id bit of the owner that can be held", async () => {
  const make = (gid: number, mode: number) => tree((t) => t.file("f", 3n, { attribute: { uid: 5, gid, mode } }));
  expect((await filter([make(101, 0o6755)])).kept).toEqual([make(65534, 0o4755)]);
});

test("leaves out devices whose number cannot be held, and only drops the number of what is no device", async () => {
  const rdev = { attribute: { rdev: 101 } };
  const { kept, values } = await filter([
    tree((t) =>
      t.file("b", 2n, rdev, FileType.blockdev).file("c", 3n, rdev, FileType.chardev).file("f", 4n, rdev).file("g", 5n),
    ),
  ]);
  expect(kept).toEqual([tree((t) => t.file("f", 4n).file("g", 5n))]);
  expect(values.map(({ path, kind, value }) => [path, kind, value])).toEqual([
    ["/b", "rdev", 101],
    ["/c", "rdev", 101],
    ["/f", "rdev", 101],
  ]);
});

test("leaves out links whose target is too long", async () => {
  const { kept, values } = await filter([
    tree((t) => t.file("long", 2n, { target: "12345" }, FileType.symlink).file("f", 3n)),
  ]);
  expect(kept).toEqual([tree((t) => t.file("f", 3n))]);
  expect(values).toEqual([
    {
      kind: "symlink",
      path: "/long",
      inode: 2n,
      value: Buffer.from("12345"),
      reason: "it has 5 bytes, 4 are possible",
    },
  ]);
});

test("leaves out extended attributes by value and by name, wherever their source gave them", async () => {
  const make = (lost: Record<string, string>, late: Record<string, string>) =>
    new TreeBuilder()
      .enter("", 1n, { flags: 4, xattrs: { a: "1", ...lost, z: "26" } })
      .file("f", 3n, { xattrs: { ...lost, b: "2" }, chunks: { 0: slices(1) } })
      .enter("d", 2n)
      .leave({ xattrs: { ...late, c: "3" } })
      .leave()
      .batch();
  const { kept, values } = await filter([make({ long: "1234", x1: "" }, { x2: "v" })]);
  expect(kept).toEqual([make({}, {})]);
  expect(values.map(({ path, inode, name, reason }) => [path, inode, name!.toString(), reason])).toEqual([
    ["/", 1n, "long", "it has 4 bytes, 3 are possible"],
    ["/", 1n, "x1", "its name begins with x"],
    ["/f", 3n, "long", "it has 4 bytes, 3 are possible"],
    ["/f", 3n, "x1", "its name begins with x"],
    ["/d", 2n, "x2", "its name begins with x"],
  ]);
});

test("leaves out lists of too many slices, also where a list of chunks goes on in the next batch", async () => {
  const make = (parts: { chunks?: Record<number, Slice[]>; moreChunks: Record<number, Slice[]>[] }) =>
    new TreeBuilder()
      .enter("", 1n, { flags: 4 })
      .enter("d", 2n)
      .file("f", 3n, parts)
      .file("g", 4n)
      .leave()
      .leave()
      .batch();
  const whole = make({ chunks: { 0: slices(3), 1: slices(2) }, moreChunks: [{ 2: slices(4) }, { 3: slices(1) }] });
  const expected = make({ chunks: { 1: slices(2) }, moreChunks: [{}, { 3: slices(1) }] });
  const cut = cutBeforeTag(whole, 2);
  const { kept, values } = await filter(cut);
  expect(Buffer.concat(kept.map(({ bytes }) => bytes))).toEqual(expected.bytes);
  expect(values.map(({ path, inode, index, reason }) => [path, inode, index, reason])).toEqual([
    ["/d/f", 3n, 0, "it has 3 slices, 2 are possible"],
    ["/d/f", 3n, 2, "it has 4 slices, 2 are possible"],
  ]);
});

test("shows the trash where clients see it", async () => {
  const uid = { attribute: { uid: 101 } };
  const batch = new TreeBuilder()
    .root((t) => t.file("f", 2n))
    .trash((t) => t.directory("2026-11-23-06", 9223372032828243969n, (d) => d.file("1-3-f", 3n, uid)))
    .batch();
  expect((await filter([batch])).values.map(({ path }) => path)).toEqual(["/.trash/2026-11-23-06/1-3-f"]);
});

test("asks once for each list of names, whatever their bytes", async () => {
  const asked: string[][] = [];
  const limits: ValueLimits = {
    ...LIMITS,
    xattrNameProblems: async (lists) => {
      asked.push(...lists.map((names) => names.map((name) => name.toString("latin1"))));
      return lists.map(() => new Map());
    },
  };
  const batch = () =>
    tree((t) =>
      t
        .file("f", 2n, { xattrs: { a: "", b: "" } })
        .file("g", 3n, { xattrs: { a: "1", b: "2" } })
        .file("h", 4n, { xattrs: { "a1:b": "" } })
        .file("i", 5n, { xattrs: { "\u00ff\0": "" } }),
    );
  await filter([batch(), batch()], limits);
  expect(asked).toEqual([["a", "b"], ["a1:b"], ["\u00ff\0"]]);
});

/** Two batches, of which the second begins with the first item of that tag. */
function cutBeforeTag(batch: RecordBatch, tag: number): RecordBatch[] {
  let at = 0;
  let count = 0;
  for (; batch.bytes[at + 4] !== tag; at += batch.bytes.readUInt32BE(at)) count++;
  return [
    { kind: "tree", count, bytes: Buffer.from(batch.bytes.subarray(0, at)) },
    { kind: "tree", count: batch.count - count, bytes: Buffer.from(batch.bytes.subarray(at)) },
  ];
}
