import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { sortTree } from "../../../src/tree/sort-tree.ts";
import { packBatch, type RecordBatch } from "../../../src/volume/records.ts";
import { ENTRY_TRASH_ROOT } from "../../../src/volume/tree-item.ts";
import { TreeBuilder } from "../../support/tree-builder.ts";
import { streamOf } from "../../support/volume-streams.ts";

const signal = new AbortController().signal;

async function sorted(tree: TreeBuilder | RecordBatch[], maxBytes = 1024 * 1024): Promise<Buffer> {
  const batches = tree instanceof TreeBuilder ? [tree.batch()] : tree;
  const pieces: Buffer[] = [];
  for await (const batch of sortTree(streamOf(batches), { maxBytes, tmpDir: tmpdir(), signal })) {
    if (batch.kind === "tree") pieces.push(Buffer.from(batch.bytes));
  }
  return withoutPadding(Buffer.concat(pieces));
}

/** Bytes 5 to 7 of an item mean something in entries alone. */
function withoutPadding(bytes: Buffer): Buffer {
  for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at))
    if (bytes[at + 4] !== 1) bytes.fill(0, at + 5, at + 8);
  return bytes;
}

const slice = (id: number) => ({ pos: 0, id: BigInt(id), size: 1, off: 0, len: 1 });

/** A list of chunks of about a quarter of a megabyte, from index `first` on. */
function manyChunks(first: number): Record<number, ReturnType<typeof slice>[]> {
  return Object.fromEntries(Array.from({ length: 8000 }, (_, i) => [first + i, [slice(i + 1)]]));
}

test("entries come in the order of their names, the trash last, and nothing else is changed", async () => {
  const xattrs = { "user.b": "2", "user.a": "1" };
  const file = { xattrs, chunks: { 1: [slice(2)], 0: [slice(1)] }, attribute: { nlink: 7, length: 9n } };
  const other = new TreeBuilder()
    .trash((t) => t.file("z", 9n).file("y", 8n), { flags: ENTRY_TRASH_ROOT })
    .root((t) =>
      t
        .directory("d", 5n, (d) => d.file("2", 7n).file("10", 6n))
        .file("c", 2n, file)
        .file("a", 2n),
    );
  const inOrder = new TreeBuilder()
    .root((t) =>
      t
        .file("a", 2n)
        .file("c", 2n, file)
        .directory("d", 5n, (d) => d.file("10", 6n).file("2", 7n)),
    )
    .trash((t) => t.file("y", 8n).file("z", 9n), { flags: ENTRY_TRASH_ROOT });
  expect(await sorted(other)).toEqual(inOrder.batch().bytes);
});

test("a part of a volume, whose root has any number, stays one, and empty directories too", async () => {
  const part = (): TreeBuilder => new TreeBuilder().root((t) => t.directory("empty", 78n), {}, 77n);
  expect(await sorted(part())).toEqual(part().batch().bytes);
});

test("members that stand behind the entries of a directory go before them", async () => {
  const late = { accessAclId: 3, defaultAclId: 4, xattrs: { "user.late": "x" } };
  const other = new TreeBuilder()
    .enter("", 1n, { flags: 4, xattrs: { "user.early": "y" } })
    .file("f", 2n)
    .leave(late);
  const inOrder = new TreeBuilder()
    .enter("", 1n, {
      flags: 4,
      xattrs: { "user.early": "y", "user.late": "x" },
      attribute: { accessAclId: 3, defaultAclId: 4 },
    })
    .file("f", 2n)
    .leave();
  expect(await sorted(other)).toEqual(inOrder.batch().bytes);
});

test("long lists of chunks stay with their file, whatever stands between and below any ceiling", async () => {
  const long = (first: number) => ({ chunks: manyChunks(first), moreChunks: [manyChunks(first + 8000), {}] });
  const tree = new TreeBuilder().root((t) => {
    t.directory("z", 2n, (d) => d.file("b", 3n, long(0)).file("a", 4n, long(5)));
    for (let i = 0; i < 3000; i++) t.file(`f${i}`, BigInt(100 + i), { chunks: { 0: [slice(i)] } });
    t.file("a", 5n, long(1));
  });
  const bytes = await sorted(tree, 512 * 1024);
  const again = await sorted([{ kind: "tree", count: 0, bytes: Buffer.from(bytes) }]);
  expect(again.equals(bytes)).toBe(true);
  const found: { name: string; indexes: number[] }[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
    const tag = bytes[at + 4];
    if (tag === 1) {
      const name = bytes.toString("latin1", at + 32, at + 32 + bytes.readUInt16BE(at + 16));
      found.push({ name, indexes: [] });
    } else if (tag === 2) {
      const end = at + bytes.readUInt32BE(at);
      for (let chunk = at + 8; chunk < end; chunk += 8 + bytes.readUInt32BE(chunk + 4)) {
        found.at(-1)!.indexes.push(bytes.readUInt32BE(chunk));
      }
    }
  }
  const count = (first: number): number[] => Array.from({ length: 16000 }, (_, i) => first + i);
  expect(found.map(({ name }) => name).slice(0, 3)).toEqual(["", "a", "f0"]);
  expect(found.filter(({ indexes }) => indexes.length > 0)).toEqual([
    { name: "a", indexes: count(1) },
    { name: "a", indexes: count(5) },
    { name: "b", indexes: count(0) },
  ]);
});

test("what is no tree passes before it", async () => {
  const tree = new TreeBuilder().root().batch();
  const setting = packBatch("setting", [{ json: Buffer.from("{}") }]);
  const kinds: string[] = [];
  const stream = sortTree(streamOf([tree, setting]), { maxBytes: 1024 * 1024, tmpDir: tmpdir(), signal });
  for await (const { kind } of stream) kinds.push(kind);
  expect(kinds).toEqual(["setting", "tree"]);
});

test("a directory in two places cannot be sorted", async () => {
  const tree = new TreeBuilder().root((t) => t.directory("b", 2n, (d) => d.directory("c", 3n)).directory("a", 3n));
  await expect(sorted(tree)).rejects.toMatchObject({
    code: "DECANT_E_TREE",
    message: "The directory with inode 3 stands in two places, in a dump that is not in the order of its names",
  });
});
