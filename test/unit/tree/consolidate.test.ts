import { describe, expect, test } from "vitest";
import { DataError } from "../../../src/base/errors.ts";
import { FileType } from "../../../src/volume/file-type.ts";
import { TRASH_INODE } from "../../../src/volume/inode.ts";
import { packBatch } from "../../../src/volume/records.ts";
import { ENTRY_NODE_MISSING, ENTRY_TRASH_ROOT } from "../../../src/volume/tree-item.ts";
import { TreeBuilder } from "../../support/tree-builder.ts";
import { consolidated, counters, slice } from "./consolidated.ts";

const HOUR = TRASH_INODE + 7n;
const GIB = 1n << 30n;

/** The error that consolidating a tree throws. */
async function refusal(tree: TreeBuilder): Promise<{ code: string; message: string }> {
  const error: unknown = await consolidated(tree).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof DataError)) throw new Error(`expected a DataError, got ${error}`);
  return { code: error.code, message: error.message };
}

describe("links and parents", () => {
  test("a directory has 2 links and one for each subdirectory, whatever its source says", async () => {
    const tree = new TreeBuilder()
      .root((tree) => {
        tree.directory("a", 2n, (tree) => {
          tree
            .directory("b", 3n, undefined, { attribute: { nlink: 9 } })
            .directory("c", 4n)
            .file("d", 5n);
        });
      })
      .trash();
    const { nodes, edges, findings } = await consolidated(tree);
    expect(nodes).toEqual([
      "1: 3 1 4096",
      "2: 4 1 4096",
      "3: 2 2 4096",
      "4: 2 2 4096",
      "5: 1 2 0",
      `${TRASH_INODE}: 2 1 4096`,
    ]);
    expect(edges).toEqual(["1/a 2 2", "2/b 3 2", "2/c 4 2", "2/d 5 1"]);
    expect(findings).toEqual(["link-count 3 /a/b /a /"]);
  });

  test("the trash root and its hour directories have 2 links, directories below them count", async () => {
    const tree = new TreeBuilder().root().trash((tree) => {
      tree.directory("2026-01-01-00", HOUR, (tree) => {
        tree.directory("1-2-gone", 2n, (tree) => tree.directory("below", 3n));
      });
    });
    const { nodes } = await consolidated(tree);
    expect(nodes).toEqual([
      "1: 2 1 4096",
      `2: 3 ${HOUR} 4096`,
      "3: 2 2 4096",
      `${TRASH_INODE}: 2 1 4096`,
      `${HOUR}: 2 ${TRASH_INODE} 4096`,
    ]);
  });

  test("a file with several places has parent 0, a link for each, and a parent record for each directory", async () => {
    const tree = new TreeBuilder()
      .root((tree) => {
        tree.file("a", 5n, { attribute: { nlink: 4 } });
        tree.directory("b", 2n, (tree) => tree.file("c", 5n, { attribute: { nlink: 4 } }));
        tree.file("d", 5n, { attribute: { nlink: 4 } });
      })
      .trash((tree) => {
        tree.directory("2026-01-01-00", HOUR, (tree) => tree.file("1-5-e", 5n, { attribute: { nlink: 4 } }));
      });
    const { nodes, edges, all, findings } = await consolidated(tree);
    expect(nodes).toContain("5: 4 0 0");
    expect(edges.filter((edge) => edge.includes(" 5 "))).toEqual([
      "1/a 5 1",
      "2/c 5 1",
      "1/d 5 1",
      `${HOUR}/1-5-e 5 1`,
    ]);
    expect(all("parent")).toEqual([
      { inode: 5n, parent: 1n, count: 2n },
      { inode: 5n, parent: 2n, count: 1n },
      { inode: 5n, parent: HOUR, count: 1n },
    ]);
    expect(findings).toEqual(["link-count 1 /"]);
  });

  test("a file that says it has 1 link but stands in two places is written once and corrected", async () => {
    const tree = new TreeBuilder()
      .root((tree) => {
        tree.file("a", 5n, { chunks: { 0: [slice(1n)] }, attribute: { length: 10n } });
        tree.file("b", 5n, { chunks: { 0: [slice(1n)] }, attribute: { length: 10n } });
      })
      .trash();
    const { nodes, all, findings } = await consolidated(tree);
    expect(nodes).toContain("5: 2 0 10");
    expect(all("node").filter(({ inode }) => inode === 5n)).toHaveLength(1);
    expect(all("parent")).toEqual([{ inode: 5n, parent: 1n, count: 2n }]);
    expect(all("chunk")).toHaveLength(1);
    expect(findings).toEqual(["link-count 1 inode 5"]);
  });

  test("a symbolic link that says it has 1 link but stands in two places is the same at both", async () => {
    const tree = new TreeBuilder()
      .root((tree) => {
        tree.file("a", 5n, { target: "t" }, FileType.symlink).file("b", 5n, { target: "t" }, FileType.symlink);
      })
      .trash();
    const { nodes, findings } = await consolidated(tree);
    expect(nodes).toContain("5: 2 0 1");
    expect(findings).toEqual(["link-count 1 inode 5"]);
  });

  test("a file that says it has 1 link but is described differently in a second place is noticed", async () => {
    const tree = new TreeBuilder()
      .root((tree) => tree.file("a", 5n, { attribute: { uid: 1 } }).file("b", 5n, { attribute: { uid: 2 } }))
      .trash();
    const { node, findings } = await consolidated(tree);
    expect(node(5n).uid).toBe(1);
    expect(findings).toEqual(["link-count 1 inode 5", "file-differs 1 inode 5 in directory 1"]);
  });

  test("a file that says it has several places but has one gets its parent, and no parent record", async () => {
    const tree = new TreeBuilder().root((tree) => tree.file("a", 5n, { attribute: { nlink: 3 } })).trash();
    const { nodes, all, findings } = await consolidated(tree);
    expect(nodes).toContain("5: 1 1 0");
    expect(all("parent")).toEqual([]);
    expect(findings).toEqual(["link-count 1 inode 5"]);
  });

  test("a file described differently at its places keeps the first description, which is said", async () => {
    const tree = new TreeBuilder()
      .root((tree) => {
        tree.file("a", 5n, { attribute: { nlink: 2, mode: 0o644 } });
        tree.file("b", 5n, { attribute: { nlink: 2, mode: 0o600 } });
        tree.file("c", 6n, { attribute: { nlink: 2, length: 10n }, chunks: { 0: [slice(1n)] } });
        tree.file("d", 6n, { attribute: { nlink: 2, length: 10n }, chunks: { 0: [slice(2n)] } });
      })
      .trash();
    const { node, all, findings } = await consolidated(tree);
    expect(node(5n).mode).toBe(0o644);
    expect(all("sliceRef")).toEqual([{ id: 1n, size: 10, refs: 1n }]);
    expect(findings).toEqual(["file-differs 2 inode 5 in directory 1 inode 6 in directory 1"]);
  });

  test("chunks that come in items of their own belong to the file before them, and are compared too", async () => {
    const more = { attribute: { nlink: 2, length: GIB }, moreChunks: [{ 0: [slice(1n)] }, { 1: [slice(2n)] }] };
    const tree = new TreeBuilder()
      .root((tree) => {
        tree.file("a", 5n, more).file("b", 5n, more);
        tree.file("c", 6n, more).file("d", 6n, { ...more, moreChunks: [{ 0: [slice(1n)] }, { 1: [slice(3n)] }] });
      })
      .trash();
    const { all, findings } = await consolidated(tree);
    expect(all("chunk").map(({ inode, index }) => `${inode} ${index}`)).toEqual(["5 0", "5 1", "6 0", "6 1"]);
    expect(all("sliceRef").map(({ id, refs }) => `${id} ${refs}`)).toEqual(["1 2", "2 2"]);
    expect(findings).toEqual(["file-differs 1 inode 6 in directory 1"]);
  });

  test("lengths are those of the target for a symbolic link, and 0 for devices", async () => {
    const tree = new TreeBuilder()
      .root((tree) => {
        tree.file("link", 2n, { target: "12345", attribute: { length: 77n } }, FileType.symlink);
        tree.file("device", 3n, { attribute: { length: 77n, rdev: 259 } }, FileType.chardev);
        tree.file("empty link", 4n, { target: "" }, FileType.symlink);
      })
      .trash();
    const { nodes, all, node } = await consolidated(tree);
    expect(nodes.slice(1, 4)).toEqual(["2: 1 1 5", "3: 1 1 0", "4: 1 1 0"]);
    expect(node(3n).rdev).toBe(259);
    expect(all("symlink")).toEqual([
      { inode: 2n, target: Buffer.from("12345") },
      { inode: 4n, target: Buffer.alloc(0) },
    ]);
  });
});

describe("what cannot be stored", () => {
  test("a directory in a second place is left out with everything below, which is a loss", async () => {
    const tree = new TreeBuilder()
      .root((tree) => {
        tree.directory("a", 2n, (tree) => tree.file("x", 5n));
        tree.directory("b", 2n, (tree) =>
          tree.directory("c", 3n, (tree) => tree.file("y", 6n, { moreChunks: [{ 0: [slice(9n)] }] })),
        );
        tree.file("d", 7n);
      })
      .trash();
    const { edges, nodes, all, findings } = await consolidated(tree);
    expect(edges).toEqual(["1/a 2 2", "2/x 5 1", "1/d 7 1"]);
    expect(nodes).toHaveLength(5);
    expect(all("chunk")).toEqual([]);
    expect(findings).toEqual(["directory-repeated 1 /b", "link-count 1 /"]);
  });

  test("an inode that is a directory here and a file there is refused, in both orders", async () => {
    const directoryFirst = new TreeBuilder().root((tree) => tree.directory("a", 2n).file("b", 2n));
    expect(await refusal(directoryFirst)).toEqual({
      code: "DECANT_E_TREE",
      message: "Inode 2 is a directory at one place and a file at another: /b",
    });
    const fileFirst = new TreeBuilder().root((tree) => tree.file("a", 2n).directory("b", 2n));
    expect((await refusal(fileFirst)).message).toBe("Inode 2 is a directory at one place and a file at another: /b");
  });

  test.each([0n, 1n])("inode %s below the root is refused", async (inode) => {
    const tree = new TreeBuilder().root((tree) => tree.directory("d", 2n, (tree) => tree.file("a%", inode)));
    expect((await refusal(tree)).message).toBe(`Inode ${inode} cannot stand below the root: /d/a%25`);
  });

  test("an inode of the trash outside of it, and the trash root inside of it, are refused", async () => {
    const outside = new TreeBuilder().root((tree) => tree.directory("a", HOUR));
    expect((await refusal(outside)).message).toBe(`Inode ${HOUR} belongs to the trash and cannot stand here: /a`);
    const inside = new TreeBuilder().root().trash((tree) => tree.directory("a", TRASH_INODE));
    expect((await refusal(inside)).message).toBe(
      `Inode ${TRASH_INODE} belongs to the trash and cannot stand here: /.trash/a`,
    );
  });

  test("an entry without a record gets empty attributes, which is a loss", async () => {
    const tree = new TreeBuilder()
      .root((tree) => {
        tree.file("gone", 5n, { flags: ENTRY_NODE_MISSING });
        tree.directory("d", 6n, (tree) => tree.file("below", 7n), { flags: ENTRY_NODE_MISSING });
      })
      .trash();
    const { nodes, node, findings } = await consolidated(tree);
    expect(nodes.slice(1, 4)).toEqual(["5: 1 1 0", "6: 2 1 4096", "7: 1 6 0"]);
    expect(node(6n)).toMatchObject({ mode: 0, uid: 0, mtime: 0n, type: FileType.directory });
    expect(findings).toEqual(["missing-node 2 /gone /d", "link-count 1 /"]);
  });

  test("a slice that has two sizes is refused with both files", async () => {
    const tree = new TreeBuilder().root((tree) => {
      tree.file("a", 2n, { chunks: { 0: [slice(7n, 10)] } }).file("b", 3n, { chunks: { 0: [slice(7n, 11)] } });
    });
    expect(await refusal(tree)).toEqual({
      code: "DECANT_E_SLICE_SIZE",
      message: "Slice 7 has two sizes: 10 bytes in the file with inode 2, 11 bytes in that with inode 3",
    });
  });

  test("the empty dump and a root that is no directory are refused", async () => {
    const file = new TreeBuilder();
    file.file("", 1n, { flags: 4 });
    expect((await refusal(file)).message).toBe("The root of the tree is not a directory: /");
  });
});

describe("the two roots", () => {
  test("the top of a part of a volume becomes inode 1, and a trash root is made", async () => {
    const tree = new TreeBuilder().root((tree) => tree.file("a", 5n), { attribute: { mode: 0o750 } }, 77n);
    const { nodes, node, edges, findings, raw } = await consolidated(tree);
    expect(nodes).toEqual(["1: 2 1 4096", "5: 1 1 0", `${TRASH_INODE}: 2 1 4096`]);
    expect(node(1n).mode).toBe(0o750);
    expect(node(TRASH_INODE)).toMatchObject({ mode: 0o555, uid: 0, gid: 0, type: FileType.directory });
    expect(edges).toEqual(["1/a 5 1"]);
    expect(findings).toEqual(["root-renumbered 1 inode 77", "trash-created 1"]);
    expect(raw.result).toMatchObject({ entries: 1, directories: 1, roots: 1 });
  });

  test("the inode that the top had before may stand below it again", async () => {
    const tree = new TreeBuilder().root((tree) => tree.file("a", 77n), {}, 77n).trash();
    const { nodes, counters: values } = await consolidated(tree);
    expect(nodes.slice(0, 2)).toEqual(["1: 2 1 4096", "77: 1 1 0"]);
    expect(values.nextInode).toBe(78n);
  });

  test("a trash under another number gets the right one", async () => {
    const tree = new TreeBuilder().root().root((tree) => tree.directory("h", HOUR), { flags: ENTRY_TRASH_ROOT }, 99n);
    const { edges, nodes, findings } = await consolidated(tree);
    expect(edges).toEqual([`${TRASH_INODE}/h ${HOUR} 2`]);
    expect(nodes).toContain(`${TRASH_INODE}: 2 1 4096`);
    expect(findings).toEqual(["trash-renumbered 1 inode 99"]);
  });

  test("a trash root without a record, as of a volume that never had a trash, is made like a new one", async () => {
    const tree = new TreeBuilder().root().trash(undefined, { flags: ENTRY_NODE_MISSING });
    const { node, findings } = await consolidated(tree);
    const { mtime } = node(1n)!; // not the time of the load: one that goes on would write something else
    expect(node(TRASH_INODE)).toMatchObject({ mode: 0o555, nlink: 2, parent: 1n, length: 4096n, mtime, ctime: mtime });
    expect(findings).toEqual(["trash-created 1"]);
  });
});

describe("counters", () => {
  const tree = (): TreeBuilder => {
    const builder = new TreeBuilder();
    builder
      .root((tree) => {
        tree
          .directory("d", 40n)
          .file("f", 30n, { attribute: { length: 4097n }, chunks: { 0: [slice(12n), slice(0n, 0)] } });
        tree.file("link", 31n, { target: "t" }, FileType.symlink);
      })
      .trash((tree) => {
        tree.directory("2026-01-01-00", HOUR, (tree) => tree.file("1-9-x", 9n, { attribute: { length: 1n } }));
      });
    return builder;
  };

  test("are computed from what is there", async () => {
    const { counters: values, raw } = await consolidated(tree());
    expect(values).toEqual({
      usedSpace: 4096n * (1n + 2n + 1n + 1n + 1n),
      totalInodes: 5n,
      nextInode: 41n,
      nextChunk: 13n,
      nextSession: 0n,
      nextTrash: 7n,
    });
    expect(raw.result).toMatchObject({ entries: 5, directories: 4, roots: 2 });
  });

  test("are never below those of the source, whose numbers may be in use outside of the tree", async () => {
    const source = {
      usedSpace: 1n,
      totalInodes: 99n,
      nextInode: 1026n,
      nextChunk: 4097n,
      nextSession: 5n,
      nextTrash: 9n,
    };
    const { counters: values, raw, findings } = await consolidated(tree(), { before: [counters(source)] });
    expect(values).toMatchObject({ usedSpace: 24576n, totalInodes: 5n, nextSession: 0n });
    expect(values).toMatchObject({ nextInode: 1026n, nextChunk: 4097n, nextTrash: 9n });
    expect(Object.fromEntries(raw.result.source)).toEqual(source);
    expect(findings).toEqual(["link-count 1 /"]);
  });

  test("of the source that cannot be right are not taken over", async () => {
    const source = { nextInode: -5n, nextChunk: (1n << 62n) + 1n, nextTrash: 1n << 62n };
    const { counters: values, findings } = await consolidated(tree(), { after: [counters(source)] });
    expect(values).toMatchObject({ nextInode: 41n, nextChunk: 13n, nextTrash: 1n << 62n });
    expect(findings.at(-1)).toBe(`counter-ignored 2 nextInode -5 nextChunk ${(1n << 62n) + 1n}`);
  });

  test("of an empty volume are the least that there are", async () => {
    const { counters: values } = await consolidated(new TreeBuilder().root().trash());
    expect(values).toEqual({
      usedSpace: 0n,
      totalInodes: 0n,
      nextInode: 2n,
      nextChunk: 1n,
      nextSession: 0n,
      nextTrash: 0n,
    });
  });

  test("take the largest inode also where several are just below the trash", async () => {
    const top = TRASH_INODE - 1n;
    const builder = new TreeBuilder();
    builder
      .root((tree) =>
        tree
          .file("a", top)
          .file("b", top - 5n)
          .file("c", 5n),
      )
      .trash();
    expect((await consolidated(builder)).counters.nextInode).toBe(TRASH_INODE);
  });
});

test("what a JSON dump cannot bring back is counted", async () => {
  const before = [
    packBatch("sustained", [{ sid: 1n, inode: 2n }]),
    packBatch("delFile", [{ inode: 3n, length: 4n, expire: 5n }]),
    packBatch("changeLog", [{ version: 1n, entry: Buffer.from("x") }]),
  ];
  const { all, findings } = await consolidated(new TreeBuilder().root().trash(), { before });
  expect(all("delFile")).toEqual([{ inode: 3n, length: 4n, expire: 5n }]);
  expect(all("sustained")).toEqual([]);
  expect(all("changeLog")).toEqual([]);
  expect(findings).toEqual(["sustained-dropped 1", "pending-deletion 1", "change-log-dropped 1"]);
});
