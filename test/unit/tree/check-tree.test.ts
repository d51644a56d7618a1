import { describe, expect, test } from "vitest";
import type { Attribute } from "../../../src/volume/attribute.ts";
import { FileType } from "../../../src/volume/file-type.ts";
import { TRASH_INODE } from "../../../src/volume/inode.ts";
import { packBatch, type RecordBatch } from "../../../src/volume/records.ts";
import { type CheckCall, checkTree, summaryOf } from "../../support/check-records.ts";
import { TreeBuilder } from "../../support/tree-builder.ts";

/** Attributes that are not those of a missing record. */
const WHEN: Partial<Attribute> = { mode: 0o644, ctime: 1_700_000_000n };
const slice = (id: bigint, changes = {}) => ({ pos: 0, id, size: 10, off: 0, len: 10, ...changes });
const file = (attribute: Partial<Attribute> = {}, rest = {}) => ({ attribute: { ...WHEN, ...attribute }, ...rest });

function counters(inodes: bigint, space: bigint = inodes * 4096n): RecordBatch {
  return packBatch("counter", [
    { name: "usedSpace", value: space },
    { name: "totalInodes", value: inodes },
    { name: "nextInode", value: 1000n },
    { name: "nextChunk", value: 1000n },
    { name: "nextSession", value: 1n },
    { name: "nextTrash", value: 5n },
  ]);
}

/** The problems of a tree with an empty trash. */
async function found(
  content: (tree: TreeBuilder) => unknown,
  inodes: bigint,
  call: CheckCall & { links?: number; head?: RecordBatch[] } = {},
): Promise<string[]> {
  const tree = new TreeBuilder().root(content, { attribute: { nlink: call.links ?? 2 } }).trash();
  return summaryOf(await checkTree([...(call.head ?? []), counters(inodes), tree.batch()], call));
}

async function examplesOf(kind: string, content: (tree: TreeBuilder) => unknown, links: number): Promise<unknown> {
  const tree = new TreeBuilder().root(content, { attribute: { nlink: links } }).trash();
  return (await checkTree([counters(0n), tree.batch()])).find((problem) => problem.kind === kind)?.examples;
}

describe("files with several places", () => {
  const twice = (first: object, second: object) => (tree: TreeBuilder) =>
    tree.file("a", 2n, first).file("b", 2n, second);

  test("fit when each says so and all are described alike", async () => {
    const place = file({ nlink: 2, length: 10n }, { chunks: { 0: [slice(1n), slice(1n, { pos: 10 })] } });
    expect(await found(twice(place, place), 1n)).toEqual([]);
  });

  test("more or fewer places than links", async () => {
    expect(await found(twice(file(), file()), 1n)).toEqual(["link-count 1!"]);
    expect(await found(twice(file({ nlink: 3 }), file({ nlink: 3 })), 1n)).toEqual(["link-count 1!"]);
    expect(await found((tree) => tree.file("a", 2n, file({ nlink: 0 })), 1n)).toEqual(["link-count 1!"]);
    const clone = (tree: TreeBuilder) => tree.file("a", 2n, file({ nlink: 2 }, { target: "x" }), FileType.symlink);
    expect(await found(clone, 1n)).toEqual(["spare-links 1"]);
  });

  test("different attributes, xattrs or chunks at them", async () => {
    const one = file({ nlink: 2 }, { moreChunks: [{ 0: [slice(1n)] }] });
    for (const other of [
      file({ nlink: 2, mode: 0 }, { moreChunks: [{ 0: [slice(1n)] }] }),
      file({ nlink: 2 }, { moreChunks: [{ 0: [slice(2n)] }] }),
      file({ nlink: 2 }, { xattrs: { "user.a": "1" }, moreChunks: [{ 0: [slice(1n)] }] }),
    ]) {
      expect(await found(twice(one, other), 1n)).toEqual(["file-differs 1!"]);
    }
    expect(await examplesOf("file-differs", twice(one, file({ nlink: 2 })), 2)).toEqual(["/a"]);
  });

  test("places outside of a part of the volume are not missed", async () => {
    const part = new TreeBuilder().root((tree) => tree.file("a", 2n, file({ nlink: 2 })));
    expect(summaryOf(await checkTree([counters(7n), part.batch()]))).toEqual(["partial-dump 1"]);
  });
});

describe("directories", () => {
  const attribute = { nlink: 2, ...WHEN };

  test("in two places, in themselves, and as files elsewhere, with paths", async () => {
    const repeated = (tree: TreeBuilder) =>
      tree.directory("a", 2n, undefined, { attribute }).directory("b", 2n, (b) => b.file("x", 3n), { attribute });
    expect(await found(repeated, 1n, { links: 4 })).toEqual(["directory-repeated 1!"]);
    expect(await examplesOf("directory-repeated", repeated, 4)).toEqual(["/b"]);
    const cycle = (tree: TreeBuilder) =>
      tree.directory("a", 2n, (a) => a.directory("b", 2n), { attribute: { ...WHEN, nlink: 3 } });
    expect(await found(cycle, 1n, { links: 3 })).toEqual(["directory-cycle 1!"]);
    expect(await examplesOf("directory-cycle", cycle, 3)).toEqual(["/a/b"]);
    const mixed = (tree: TreeBuilder) => tree.directory("a", 2n, undefined, { attribute }).file("b", 2n, file());
    expect(await found(mixed, 1n, { links: 3 })).toEqual(["two-types 1!"]);
  });

  test("with a wrong link count", async () => {
    const tree = (builder: TreeBuilder) =>
      builder.directory("a", 2n, (a) => a.directory("b", 3n, undefined, { attribute }), { attribute });
    expect(await found(tree, 2n, { links: 3 })).toEqual(["link-count 1!"]);
    expect(await examplesOf("link-count", tree, 3)).toEqual(["/a: 2 links, 1 directories in it"]);
  });

  test("in the trash: hour directories have two links, whatever is in them", async () => {
    const builder = new TreeBuilder()
      .root()
      .trash((trash) =>
        trash.directory(
          "2026-01-01-00",
          TRASH_INODE + 1n,
          (hour) => hour.directory("1-2-a", 2n, undefined, { attribute }),
          { attribute },
        ),
      );
    expect(summaryOf(await checkTree([counters(2n), builder.batch()]))).toEqual([]);
  });

  test("with the numbers of others", async () => {
    expect(await found((tree) => tree.file("a", 0n, file()), 1n)).toEqual(["inode-place 1!"]);
    expect(await found((tree) => tree.file("a", TRASH_INODE + 1n, file()), 1n)).toEqual(["inode-place 1!"]);
    const roots = new TreeBuilder().root(undefined, {}, 55n).trash();
    expect(summaryOf(await checkTree([counters(0n), roots.batch()]))).toEqual(["root-inode 1!"]);
  });
});

describe("inodes", () => {
  test("with faults of their own", async () => {
    expect(await found((tree) => tree.file("a", 2n, { attribute: { ctime: 0n } }), 1n)).toEqual(["empty-node 1!"]);
    expect(await found((tree) => tree.file("a", 2n, file(), FileType.symlink), 1n)).toEqual(["missing-target 1!"]);
    expect(await found((tree) => tree.file("a", 2n, file({ accessAclId: 4 })), 1n)).toEqual(["missing-acl 1!"]);
    expect(await found((tree) => tree.file("a", 2n, file({}, { xattrs: { "": "x" } })), 1n)).toEqual(["bad-xattr 1!"]);
    const late = (tree: TreeBuilder) =>
      tree.enter("d", 2n, file({ nlink: 2 })).leave({ accessAclId: 4, xattrs: { "": "x" } });
    expect(await found(late, 1n, { links: 3 })).toEqual(["bad-xattr 1!", "missing-acl 1!"]);
  });

  test("with slices of two sizes, or too large ones", async () => {
    const sizes = (tree: TreeBuilder) =>
      tree
        .file("a", 2n, file({}, { chunks: { 0: [slice(1n)] } }))
        .file("b", 3n, file({}, { moreChunks: [{ 0: [slice(1n, { size: 20 })] }] }));
    expect(await found(sizes, 2n)).toEqual(["slice-size 1!"]);
    expect(await examplesOf("slice-size", sizes, 2)).toEqual(["/b: slice 1 with 20 bytes, elsewhere 10"]);
    const beyond = (tree: TreeBuilder) => tree.file("a", 2n, file({}, { chunks: { 0: [slice(1n, { off: 5 })] } }));
    expect(await found(beyond, 1n)).toEqual(["slice-bounds 1!"]);
  });
});

describe("counters and pointers", () => {
  const one = (tree: TreeBuilder) => tree.file("a", 2n, file());

  test("open files are counted although they are not in the dump", async () => {
    const head = [packBatch("sustained", [{ sid: 1n, inode: 9n }])];
    expect(await found(one, 2n, { head, strict: true })).toEqual(["open-files 1"]);
    expect(await found(one, 1n, { head })).toEqual(["usage-differs 1", "open-files 1"]);
    const named = [packBatch("sustained", [{ sid: 1n, inode: 2n }])];
    expect(await found(one, 2n, { head: named })).toEqual(["sustained-with-entry 1!", "open-files 1"]);
  });

  test("files that wait for deletion are not in the tree, and their numbers are taken", async () => {
    const deletion = (inode: bigint) => [packBatch("delFile", [{ inode, length: 1n, expire: 1n }])];
    expect(await found(one, 1n, { head: deletion(9n) })).toEqual(["pending-deletion 1"]);
    expect(await found(one, 1n, { head: deletion(2n) })).toEqual(["deletion-of-inode 1!", "pending-deletion 1"]);
    expect(await found(one, 1n, { head: deletion(1000n) })).toEqual(["counter-too-small 1!", "pending-deletion 1"]);
  });

  test("quotas of directories that are not there, unless the dump is of a part", async () => {
    const quota = { key: 77n, maxSpace: 1n, maxInodes: 1n, usedSpace: 0n, usedInodes: 0n };
    const head = [packBatch("quota", [quota])];
    expect(await found(one, 1n, { head })).toEqual(["quota-without-directory 1!"]);
    const part = new TreeBuilder().root(one, {}, 55n);
    expect(summaryOf(await checkTree([...head, counters(9n), part.batch()]))).toEqual(["partial-dump 1"]);
  });

  test("usage that differs is in doubt", async () => {
    expect(await found(one, 2n)).toEqual(["usage-differs 2"]);
    expect(await found(one, 2n, { strict: true })).toEqual(["usage-differs 2!"]);
  });
});

test("paths of the trash, and of names that are no text, are shown as clients see them", async () => {
  const builder = new TreeBuilder().root().trash((trash) =>
    trash.directory("2026-01-01-00", TRASH_INODE + 1n, (hour) => hour.file("\xff%", 2n, file({ nlink: 0 })), {
      attribute: { nlink: 2, ...WHEN },
    }),
  );
  const [problem] = await checkTree([counters(2n), builder.batch()]);
  expect(problem?.examples).toEqual(["/.trash/2026-01-01-00/%FF%25: 0 links, 1 entries"]);
});
