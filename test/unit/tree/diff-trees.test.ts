import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import { differenceText } from "../../../src/cli/difference-text.ts";
import { type DiffTreesResult, diffTrees } from "../../../src/tree/diff-trees.ts";
import { DirectChanges } from "../../../src/tree/direct-changes.ts";
import type { FactName } from "../../../src/tree/fact-names.ts";
import { RenameJoin } from "../../../src/tree/rename-join.ts";
import { encodeAclRule } from "../../../src/volume/acl.ts";
import { FileType } from "../../../src/volume/file-type.ts";
import { packBatch, type RecordBatch } from "../../../src/volume/records.ts";
import { ENTRY_NODE_MISSING } from "../../../src/volume/tree-item.ts";
import { TreeBuilder } from "../../support/tree-builder.ts";
import { streamOf } from "../../support/volume-streams.ts";

type Build = (tree: TreeBuilder) => unknown;

interface Options {
  readonly renames?: boolean;
  readonly sameNumbers?: boolean;
  readonly ignored?: readonly FactName[];
  readonly maxBytes?: number;
}

const signal = new AbortController().signal;

function tree(build: Build): RecordBatch[] {
  return [new TreeBuilder().root(build as (tree: TreeBuilder) => unknown).batch()];
}

/** A copy in memory of its own: what reads a batch may give it to be written again. */
function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}

async function diffBatches(
  from: readonly RecordBatch[],
  to: readonly RecordBatch[],
  options: Options = {},
): Promise<{ lines: string[]; result: DiffTreesResult }> {
  const { renames = true, sameNumbers = true, maxBytes = 1024 * 1024 } = options;
  const ignored = new Set(options.ignored ?? []);
  const result: DiffTreesResult = { oldEntries: 0, newEntries: 0, equal: 0, missingTrash: undefined };
  const lines: string[] = [];
  const copies = (batches: readonly RecordBatch[]): RecordBatch[] =>
    batches.map((batch) => ({ ...batch, bytes: copyOf(batch.bytes) }));
  const streams = [streamOf(copies(from)), streamOf(copies(to))] as const;
  if (!renames) {
    const sink = new DirectChanges(ignored);
    for await (const _ of diffTrees(...streams, { signal, ignored, sameNumbers: false, sink }, result)) {
      lines.push(...sink.take().map(differenceText));
    }
    lines.push(...sink.take().map(differenceText));
    return { lines, result };
  }
  const sink = new RenameJoin({ maxBytes, tmpDir: tmpdir(), ignored });
  try {
    for await (const _ of diffTrees(...streams, { signal, ignored, sameNumbers, sink }, result));
    for (const change of sink.changes()) lines.push(differenceText(change));
  } finally {
    sink.close();
  }
  return { lines, result };
}

async function diffBuilt(from: Build, to: Build, options: Options = {}): Promise<string[]> {
  return (await diffBatches(tree(from), tree(to), options)).lines;
}

describe("paths", () => {
  test("equal trees have no difference", async () => {
    const build: Build = (t) => t.directory("d", 2n, (d) => d.file("f", 3n)).file("g", 4n);
    const { lines, result } = await diffBatches(tree(build), tree(build));
    expect(lines).toEqual([]);
    expect(result).toEqual({ oldEntries: 4, newEntries: 4, equal: 4, missingTrash: undefined });
  });

  test("what only one side has is listed entry by entry, in the order of names", async () => {
    const lines = await diffBuilt(
      (t) => t.directory("a", 2n, (d) => d.file("x", 3n)).file("c", 4n),
      (t) => t.directory("b", 5n, (d) => d.directory("y", 6n, (e) => e.file("z", 7n))).file("c", 4n),
    );
    expect(lines).toEqual(["D /a/", "D /a/x", "A /b/", "A /b/y/", "A /b/y/z"]);
  });

  test("names are compared as bytes, and shown escaped", async () => {
    const lines = await diffBuilt(
      (t) => t.file("a", 2n).file("\xff", 3n),
      (t) => t.file("a", 2n).file("b\n", 4n).file("\xfe", 5n),
    );
    expect(lines).toEqual(["A /b%0A", "A /%FE", "D /%FF"]);
  });

  test("a directory in place of a file is a change of type, and its entries are new", async () => {
    const lines = await diffBuilt(
      (t) => t.file("a", 2n).file("b", 3n),
      (t) => t.directory("a", 4n, (d) => d.file("x", 5n)).file("b", 3n),
    );
    expect(lines).toEqual(["M /a/ (inode 2 -> 4, type regular -> directory, nlink 1 -> 2)", "A /a/x"]);
  });

  test("another inode at the same path is a changed file", async () => {
    const from: Build = (t) => t.file("f", 2n, { attribute: { length: 5n } });
    const to: Build = (t) => t.file("f", 3n, { attribute: { length: 6n } });
    for (const renames of [true, false]) {
      expect(await diffBuilt(from, to, { renames })).toEqual(["M /f (inode 2 -> 3, size 5 -> 6)"]);
    }
  });
});

describe("renames", () => {
  test("a file of the same inode under another name is renamed", async () => {
    const lines = await diffBuilt(
      (t) => t.directory("d", 2n, (d) => d.file("old", 3n)).directory("e", 4n),
      (t) => t.directory("d", 2n).directory("e", 4n, (e) => e.file("new", 3n, { attribute: { mode: 0o644 } })),
    );
    expect(lines).toEqual(["R /d/old -> /e/new (mode 0000 -> 0644)"]);
  });

  test("a renamed directory is one line; what is below it is compared there", async () => {
    const lines = await diffBuilt(
      (t) => t.directory("a", 2n, (d) => d.directory("sub", 3n, (s) => s.file("x", 4n).file("y", 5n)).file("z", 6n)),
      (t) =>
        t.directory("b", 2n, (d) =>
          d.directory("sub", 3n, (s) => s.file("x", 4n, { attribute: { uid: 7 } }).file("x2", 8n)).file("z", 6n),
        ),
    );
    expect(lines).toEqual(["D /a/sub/y", "R /a -> /b/", "M /b/sub/x (uid 0 -> 7)", "A /b/sub/x2"]);
  });

  test("a rotated log is a rename and a new file, not a change", async () => {
    const lines = await diffBuilt(
      (t) => t.file("log", 2n),
      (t) => t.file("log", 3n).file("log.1", 2n),
    );
    expect(lines).toEqual(["A /log", "R /log -> /log.1"]);
  });

  test("two names that were swapped are two renames", async () => {
    const lines = await diffBuilt(
      (t) => t.file("a", 2n).file("b", 3n),
      (t) => t.file("a", 3n).file("b", 2n),
    );
    expect(lines).toEqual(["R /b -> /a", "R /a -> /b"]);
  });

  test("a directory that moved aside and a new one at its place", async () => {
    const lines = await diffBuilt(
      (t) => t.directory("d", 2n, (d) => d.file("x", 3n)),
      (t) => t.directory("d", 4n, (d) => d.file("new", 5n)).directory("e", 2n, (d) => d.file("x", 3n)),
    );
    expect(lines).toEqual(["A /d/", "A /d/new", "R /d -> /e/"]);
  });

  test("a further hard link is an addition, a missing one a removal", async () => {
    const one: Build = (t) => t.file("a", 2n).file("b", 2n);
    const three: Build = (t) => t.file("a", 2n).file("c", 2n).file("d", 2n);
    expect(await diffBuilt(one, three)).toEqual(["R /b -> /c", "A /d"]);
    expect(await diffBuilt(three, one)).toEqual(["R /c -> /b", "D /d"]);
  });

  test("a number that is a directory on one side and a file on the other is no rename", async () => {
    const lines = await diffBuilt(
      (t) => t.directory("a", 2n),
      (t) => t.file("b", 2n),
    );
    expect(lines).toEqual(["D /a/", "A /b"]);
  });

  test("without --renames, and between volumes that number apart, paths alone count", async () => {
    const from: Build = (t) => t.file("a", 2n).file("c", 9n);
    const to: Build = (t) => t.file("b", 2n).file("c", 8n);
    expect(await diffBuilt(from, to, { renames: false, ignored: ["inode"] })).toEqual(["D /a", "A /b"]);
  });

  test("many places of one inode on both sides end within bounded memory", async () => {
    const names = (letter: string): Build => {
      return (t) => {
        for (let i = 0; i < 3000; i++) t.file(`${letter}${String(i).padStart(5, "0")}`, 2n);
      };
    };
    const lines = await diffBuilt(names("a"), names("b"), { maxBytes: 256 * 1024 });
    const count = (letter: string): number => lines.filter((line) => line.startsWith(letter)).length;
    expect(count("D") + count("R")).toBe(3000);
    expect(count("A") + count("R")).toBe(3000);
    expect(count("R")).toBe(1000);
  });
});

describe("facts of a file", () => {
  const one = { pos: 0, id: 1n, size: 10, off: 0, len: 10 };
  const other = { pos: 0, id: 2n, size: 10, off: 0, len: 10 };
  const file = { length: 10n };

  test.each([
    ["mode", { mode: 0o600 }, "mode 0000 -> 0600"],
    ["uid", { uid: 4294967295 }, "uid 0 -> 4294967295"],
    ["gid", { gid: 1 }, "gid 0 -> 1"],
    ["size", { length: 1n << 62n }, "size 0 -> 4611686018427387904"],
    ["nlink", { nlink: 2 }, "nlink 1 -> 2"],
    ["seconds", { mtime: 5n }, "mtime"],
    ["nanoseconds", { ctimensec: 1 }, "ctime"],
    ["atime", { atime: -1n }, "atime"],
    ["rdev", { rdev: 259 }, "rdev 0 -> 259"],
    ["flags", { flags: 3 }, "flags 0 -> 3"],
    ["tier", { tier: 2 }, "tier 0 -> 2"],
  ])("%s", async (_, attribute, text) => {
    const base = { mtime: 0n, mtimensec: 0, ctime: 0n, ctimensec: 0, atime: 0n, atimensec: 0 };
    const from: Build = (t) => t.file("f", 2n, { attribute: base });
    const to: Build = (t) => t.file("f", 2n, { attribute: { ...base, ...attribute } });
    expect(await diffBuilt(from, to)).toEqual([`M /f (${text})`]);
  });

  test("a fact that is ignored is no difference, alone or beside another", async () => {
    const from: Build = (t) => t.file("f", 2n, { attribute: { atime: 1n } });
    const to: Build = (t) => t.file("f", 2n, { attribute: { atime: 2n, uid: 5 } });
    expect(await diffBuilt(from, to, { ignored: ["atime", "uid"] })).toEqual([]);
    expect(await diffBuilt(from, to, { ignored: ["atime"] })).toEqual(["M /f (uid 0 -> 5)"]);
  });

  test("parent and the length of a directory, which not every source has, do not count", async () => {
    const from: Build = (t) => t.directory("d", 2n, (d) => d.file("f", 3n, { attribute: { parent: 2n } }));
    const to: Build = (t) => t.directory("d", 2n, (d) => d.file("f", 3n), { attribute: { length: 4096n, parent: 1n } });
    expect(await diffBuilt(from, to)).toEqual([]);
  });

  test("targets of symbolic links", async () => {
    const from: Build = (t) => t.file("l", 2n, { target: "a" }, FileType.symlink);
    const to: Build = (t) => t.file("l", 2n, { target: "b%" }, FileType.symlink);
    expect(await diffBuilt(from, to)).toEqual(["M /l (target a -> b%25)"]);
  });

  test("extended attributes by name and value, in whatever order they come", async () => {
    const from: Build = (t) => t.file("f", 2n, { xattrs: { "user.b": "1", "user.a": "2", "user.c": "" } });
    const to: Build = (t) => t.file("f", 2n, { xattrs: { "user.a": "3", "user.b": "1", "user.d": "" } });
    expect(await diffBuilt(from, to)).toEqual([
      "M /f (xattr user.a changed, xattr user.c removed, xattr user.d added)",
    ]);
    const sorted: Build = (t) => t.file("f", 2n, { xattrs: { "user.a": "2", "user.b": "1", "user.c": "" } });
    expect(await diffBuilt(from, sorted)).toEqual([]);
  });

  test("slices within the length of the file; chunks without slices and beyond the end do not count", async () => {
    const from: Build = (t) => t.file("f", 2n, { attribute: file, chunks: { 0: [one] } });
    const more: Build = (t) => t.file("f", 2n, { attribute: file, chunks: { 0: [one, other] } });
    const changed: Build = (t) => t.file("f", 2n, { attribute: file, chunks: { 0: [other] } });
    const same: Build = (t) => t.file("f", 2n, { attribute: file, chunks: { 0: [one], 1: [other], 2: [] } });
    expect(await diffBuilt(from, more)).toEqual(["M /f (slices 1 -> 2)"]);
    expect(await diffBuilt(from, changed)).toEqual(["M /f (slices)"]);
    expect(await diffBuilt(from, same)).toEqual([]);
  });

  test("chunks in several items are the same as in one", async () => {
    const attribute = { length: 1n << 40n };
    const inOne: Build = (t) =>
      t.file("f", 2n, { attribute, chunks: { 0: [one], 3: [other], 9: [one] } }).file("g", 3n);
    const inMany: Build = (t) =>
      t.file("f", 2n, { attribute, chunks: { 0: [one] }, moreChunks: [{ 3: [other] }, { 9: [one] }] }).file("g", 3n);
    const differ: Build = (t) =>
      t.file("f", 2n, { attribute, chunks: { 0: [one] }, moreChunks: [{ 3: [other] }, { 9: [other] }] }).file("g", 3n);
    expect(await diffBuilt(inOne, inMany)).toEqual([]);
    expect(await diffBuilt(differ, inOne)).toEqual(["M /f (slices)"]);
    const last: Build = (t) => t.file("f", 2n, { attribute, moreChunks: [{ 0: [one] }, { 3: [other], 9: [one] }] });
    expect(await diffBuilt(inMany, last)).toEqual(["D /g"]);
  });

  test("ACLs by their rules, whatever their numbers are", async () => {
    const rule = (owner: number): Buffer =>
      encodeAclRule({ owner, group: 5, mask: 7, other: 0, users: [{ id: 1000, perm: 7 }], groups: [] });
    const rules = (...owners: number[]): RecordBatch =>
      packBatch(
        "acl",
        owners.map((owner, i) => ({ id: i + 1, rule: rule(owner) })),
      );
    const files = (id: number): RecordBatch[] =>
      tree((t) => t.file("f", 2n, { attribute: { accessAclId: id } }).directory("g", 3n));
    const from = [rules(6, 7), ...files(2)];
    expect((await diffBatches(from, [rules(7), ...files(1)])).lines).toEqual([]);
    expect((await diffBatches(from, [rules(6), ...files(1)])).lines).toEqual(["M /f (acl changed)"]);
    expect((await diffBatches(from, files(0))).lines).toEqual(["M /f (acl removed)"]);
  });

  test("an inode without a record is what a dump writes in its place", async () => {
    const missing: Build = (t) => t.file("f", 2n, { flags: ENTRY_NODE_MISSING });
    const times = { atime: 0n, mtime: 0n, ctime: 0n, atimensec: 0, mtimensec: 0, ctimensec: 0 };
    const zeros: Build = (t) => t.file("f", 2n, { attribute: { ...times, nlink: 1 } });
    const real: Build = (t) => t.file("f", 2n, { attribute: { ...times, nlink: 1, mode: 0o644 } });
    expect(await diffBuilt(missing, zeros)).toEqual([]);
    expect(await diffBuilt(missing, real)).toEqual(["M /f (mode 0000 -> 0644)"]);
  });
});

describe("trees that are not whole, or not in order", () => {
  test("the number of a root is not compared, its attributes are", async () => {
    const part = [new TreeBuilder().root(() => undefined, { attribute: { mode: 0o700 } }, 77n).batch()];
    expect(
      (
        await diffBatches(
          tree(() => undefined),
          part,
        )
      ).lines,
    ).toEqual(["M / (mode 0000 -> 0700)"]);
  });

  test("the trash is a tree of its own: a file moved there is removed and added", async () => {
    const from = [
      new TreeBuilder()
        .root((t) => t.file("f", 2n))
        .trash()
        .batch(),
    ];
    const to = [
      new TreeBuilder()
        .root()
        .trash((t) => t.directory("2026-01-01-00", 99n, (d) => d.file("1-2-f", 2n)))
        .batch(),
    ];
    expect((await diffBatches(from, to)).lines).toEqual([
      "D /f",
      "A /.trash/2026-01-01-00/",
      "A /.trash/2026-01-01-00/1-2-f",
    ]);
  });

  test("a side without trash has an empty one", async () => {
    const without = tree((t) => t.file("f", 2n));
    const empty = [
      new TreeBuilder()
        .root((t) => t.file("f", 2n))
        .trash()
        .batch(),
    ];
    const full = [
      new TreeBuilder()
        .root((t) => t.file("f", 2n))
        .trash((t) => t.file("x", 3n))
        .batch(),
    ];
    const first = await diffBatches(without, empty);
    expect([first.lines, first.result.missingTrash]).toEqual([[], 0]);
    expect((await diffBatches(full, without)).lines).toEqual(["D /.trash/x"]);
  });

  test.each([
    ["names that descend", tree((t) => t.file("b", 2n).file("a", 3n)), 'The directory / has the name "a" behind "b"'],
    [
      "names that descend behind a directory",
      tree((t) => t.directory("b", 2n, (d) => d.file("z", 4n)).file("a", 3n)),
      'The directory / has the name "a" behind "b"',
    ],
    ["the trash first", [new TreeBuilder().trash().root().batch()], "The trash stands before the tree of files"],
    [
      "members behind the entries",
      [new TreeBuilder().enter("", 1n, { flags: 4 }).enter("d", 2n).leave({ accessAclId: 1 }).leave().batch()],
      "The directory /d has members behind its entries",
    ],
  ])("%s are refused", async (_, batches, message) => {
    await expect(diffBatches(batches, batches)).rejects.toMatchObject({ code: "DECANT_E_TREE_ORDER", message });
  });

  test("batches may end anywhere between items", async () => {
    const whole = new TreeBuilder()
      .root((t) =>
        t.directory("d", 2n, (d) =>
          d.file("f", 3n, { attribute: { length: 1n << 40n }, moreChunks: [{ 0: [] }, { 1: [] }] }),
        ),
      )
      .batch();
    const pieces: RecordBatch[] = [];
    for (let at = 0; at < whole.bytes.length; ) {
      const end = at + whole.bytes.readUInt32BE(at);
      pieces.push({ kind: "tree", count: 1, bytes: whole.bytes.subarray(at, end) });
      at = end;
    }
    const { lines, result } = await diffBatches(pieces, [whole]);
    expect(lines).toEqual([]);
    expect(result.equal).toBe(3);
  });
});
