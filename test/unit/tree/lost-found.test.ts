import { describe, expect, test } from "vitest";
import { FileType } from "../../../src/volume/file-type.ts";
import { TRASH_INODE } from "../../../src/volume/inode.ts";
import { encodeSlices } from "../../../src/volume/slices.ts";
import { below, directory, edge, node, salvagedTree } from "./salvaged-tree.ts";

const CHUNK = encodeSlices([{ pos: 0, id: 1n, size: 10, off: 0, len: 10 }]);
const HOUR = TRASH_INODE + 3n;

describe("what no entry names", () => {
  test("stands in lost+found under its number, with all that belongs to it", async () => {
    const { lines, findings, told } = await salvagedTree({
      node: [directory(1n), node(2n), node(9n), node(10n, FileType.fifo)],
      edge: [edge(1n, "a", 2n), edge(1n, "z", 2n)],
      chunk: [{ inode: 9n, index: 0, slices: CHUNK }],
      xattr: [{ inode: 9n, name: Buffer.from("user.x"), value: Buffer.from("1") }],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/a 2 regular",
      "/lost+found 11 directory rebuilt 700 4096",
      "/lost+found/#10 10 fifo",
      "/lost+found/#9 9 regular @user.x +1",
      "/z 2 regular",
    ]);
    expect(findings.placedInodes).toBe(2);
    expect(findings.lostFound).toEqual({ inode: 11n, name: "lost+found" });
    expect(findings.examples.get("placed-inode")?.sort()).toEqual([10n, 9n]);
    expect(told.sort()).toEqual(["placed-inode 10 #10", "placed-inode 9 #9"]);
    expect([findings.nodesWithoutEntry, findings.remains, findings.rebuiltNodes]).toEqual([0, 0, 0]);
  });

  test("is rebuilt where it has no record, but chunks or a target", async () => {
    const { lines, findings } = await salvagedTree({
      node: [directory(1n)],
      chunk: [{ inode: 5n, index: 2, slices: CHUNK }],
      symlink: [{ inode: 6n, target: Buffer.from("there") }],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/lost+found 7 directory rebuilt 700 4096",
      `/lost+found/#5 5 regular rebuilt 600 ${2 * 64 * 1024 * 1024 + 10} +1`,
      "/lost+found/#6 6 symlink rebuilt 777 5 ->there",
    ]);
    expect([findings.placedInodes, findings.rebuiltNodes]).toEqual([2, 2]);
  });

  test("keeps what is below a directory, at all levels", async () => {
    const { lines, findings } = await salvagedTree({
      node: [directory(1n), directory(5n), directory(6n), node(7n), directory(8n)],
      edge: [below(5n, "b", 6n), edge(6n, "c", 7n), below(5n, "empty", 8n)],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/lost+found 9 directory rebuilt 700 4096",
      "/lost+found/#5 5 directory",
      "/lost+found/#5/b 6 directory",
      "/lost+found/#5/b/c 7 regular",
      "/lost+found/#5/empty 8 directory",
    ]);
    expect(findings.placedInodes).toBe(1);
    expect(findings.unreachableDirectories).toBe(0);
  });

  test("is counted and not placed when it only has extended attributes", async () => {
    const { lines, findings, told } = await salvagedTree({
      node: [directory(1n)],
      xattr: [{ inode: 5n, name: Buffer.from("user.x"), value: Buffer.from("1") }],
    });
    expect(lines).toEqual(["/ 1 directory"]);
    expect([findings.remains, findings.placedInodes]).toEqual([1, 0]);
    expect(told).toEqual(["remains 5 neither record nor entry"]);
    expect(findings.lostFound).toBeUndefined();
  });

  test("is left alone when a session holds it or it waits for deletion", async () => {
    const { lines, findings, told } = await salvagedTree({
      node: [directory(1n), node(5n)],
      sustained: [{ sid: 1n, inode: 5n }],
      delFile: [{ inode: 6n, length: 10n, expire: 0n }],
      chunk: [
        { inode: 5n, index: 0, slices: CHUNK },
        { inode: 6n, index: 0, slices: CHUNK },
      ],
    });
    expect(lines).toEqual(["/ 1 directory"]);
    expect([findings.nodesWithoutEntry, findings.remains, findings.placedInodes]).toEqual([0, 0, 0]);
    expect(told).toEqual([]);
  });

  test("has no place when its number is that of no file, and then what it is the directory of", async () => {
    const { lines, findings, told } = await salvagedTree({
      node: [directory(1n), directory(TRASH_INODE), directory(HOUR), directory(5n), node(6n), node(7n), node(0n)],
      edge: [below(HOUR, "1-5-old", 5n), edge(5n, "inside", 6n), edge(HOUR, "1-7-old", 7n), edge(0n, "x", 8n)],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/lost+found 9 directory rebuilt 700 4096",
      "/lost+found/#5 5 directory",
      "/lost+found/#5/inside 6 regular",
      "/lost+found/#7 7 regular",
      "/lost+found/#8 8 regular rebuilt 600 0",
      `/ ${TRASH_INODE} directory`,
    ]);
    expect(findings.unplacedInodes).toBe(2);
    expect(told.filter((line) => line.startsWith("unplaced")).sort()).toEqual([
      "unplaced-inode 0 no file can have this number",
      `unplaced-inode ${HOUR} no file can have this number`,
    ]);
  });
});

describe("entries without a directory", () => {
  test("stand in a directory that is rebuilt, where none of that number is known", async () => {
    const { lines, findings, told } = await salvagedTree({
      node: [directory(1n), node(6n), directory(7n), node(8n)],
      edge: [edge(5n, "a", 6n), below(5n, "b", 7n), edge(7n, "c", 8n)],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/lost+found 9 directory rebuilt 700 4096",
      "/lost+found/#5 5 directory rebuilt 700 4096",
      "/lost+found/#5/a 6 regular",
      "/lost+found/#5/b 7 directory",
      "/lost+found/#5/b/c 8 regular",
    ]);
    expect([findings.placedInodes, findings.rebuiltNodes]).toEqual([1, 1]);
    expect(told).toEqual(["rebuilt-node 5 directory", "placed-inode 5 #5"]);
  });

  test("keep the extended attributes that are left of their directory", async () => {
    const { lines } = await salvagedTree({
      node: [directory(1n), node(6n)],
      edge: [edge(5n, "a", 6n)],
      xattr: [{ inode: 5n, name: Buffer.from("user.x"), value: Buffer.from("1") }],
    });
    expect(lines.slice(2)).toEqual([
      "/lost+found/#5 5 directory rebuilt 700 4096 @user.x",
      "/lost+found/#5/a 6 regular",
    ]);
  });

  test("are given another name when they stand in a file, and only when nothing else names them", async () => {
    const { lines, findings, told } = await salvagedTree({
      node: [directory(1n), node(2n), node(3n), node(4n), directory(5n), node(6n), directory(7n)],
      edge: [
        edge(1n, "file", 2n),
        edge(1n, "named", 4n),
        edge(2n, "alone", 3n),
        edge(2n, "named-elsewhere", 4n),
        below(2n, "sub", 5n),
        edge(5n, "inside", 6n),
        edge(2n, "also-inside", 6n),
        below(2n, "empty", 7n),
        below(2n, "up", 1n),
      ],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/file 2 regular",
      "/lost+found 8 directory rebuilt 700 4096",
      "/lost+found/#3 3 regular",
      "/lost+found/#5 5 directory",
      "/lost+found/#5/inside 6 regular",
      "/lost+found/#7 7 directory",
      "/named 4 regular",
    ]);
    expect([findings.placedInodes, findings.entriesLeftOut]).toEqual([3, 3]);
    expect(told.filter((line) => line.startsWith("entry-left-out")).sort()).toEqual([
      "entry-left-out 1 up in directory 2",
      "entry-left-out 4 named-elsewhere in directory 2",
      "entry-left-out 6 also-inside in directory 2",
    ]);
  });

  test("of a file with several of them are one in lost+found", async () => {
    const { lines, findings } = await salvagedTree({
      node: [directory(1n), node(2n), node(3n)],
      edge: [edge(1n, "file", 2n), edge(2n, "a", 3n), edge(2n, "b", 3n)],
    });
    expect(lines.slice(2)).toEqual(["/lost+found 4 directory rebuilt 700 4096", "/lost+found/#3 3 regular"]);
    expect(findings.placedInodes).toBe(1);
  });

  test("whose name another has in their directory are given another name", async () => {
    const { lines, findings, told } = await salvagedTree({
      node: [directory(1n), node(2n), node(3n), directory(4n), node(5n)],
      edge: [edge(1n, "a", 2n), edge(1n, "a", 3n), below(1n, "a", 4n), edge(4n, "in", 5n)],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/a 2 regular",
      "/lost+found 6 directory rebuilt 700 4096",
      "/lost+found/#3 3 regular",
      "/lost+found/#4 4 directory",
      "/lost+found/#4/in 5 regular",
    ]);
    expect(findings.differing.get("edge")).toBe(2);
    expect(told.sort()).toEqual([
      "duplicate-differs 3 a in directory 1",
      "duplicate-differs 4 a in directory 1",
      "placed-inode 3 #3",
      "placed-inode 4 #4",
    ]);
  });

  test("all survive of a file that is named below lost directories and in the tree", async () => {
    const { lines } = await salvagedTree({
      node: [directory(1n), directory(5n), node(6n)],
      edge: [edge(1n, "a", 6n), edge(5n, "b", 6n), edge(5n, "c", 6n)],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/a 6 regular",
      "/lost+found 7 directory rebuilt 700 4096",
      "/lost+found/#5 5 directory",
      "/lost+found/#5/b 6 regular",
      "/lost+found/#5/c 6 regular",
    ]);
  });
});

describe("directories that contain each other", () => {
  test("are cut at the one with the lowest number", async () => {
    const { lines, findings, told } = await salvagedTree({
      node: [directory(1n), directory(7n), directory(5n), directory(6n), directory(3n), node(2n)],
      edge: [
        below(5n, "six", 6n),
        below(6n, "seven", 7n),
        below(7n, "five", 5n),
        below(6n, "side", 3n),
        edge(3n, "file", 2n),
      ],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/lost+found 8 directory rebuilt 700 4096",
      "/lost+found/#5 5 directory",
      "/lost+found/#5/six 6 directory",
      "/lost+found/#5/six/seven 7 directory",
      "/lost+found/#5/six/side 3 directory",
      "/lost+found/#5/six/side/file 2 regular",
    ]);
    expect([findings.placedInodes, findings.repeatedDirectories]).toEqual([1, 1]);
    expect(told).toEqual(["placed-inode 5 #5", "directory-repeated 5 left out as five"]);
  });

  test("and a directory that contains itself, end, however many circles there are", async () => {
    const pairs = Array.from({ length: 300 }, (_, i) => [BigInt(1000 + i * 2), BigInt(1001 + i * 2)] as const);
    const { lines, findings } = await salvagedTree(
      {
        node: [directory(1n), directory(5n), ...pairs.flat().map(directory)],
        edge: [below(5n, "me", 5n), ...pairs.flatMap(([a, b]) => [below(a, "b", b), below(b, "a", a)])],
      },
      { maxBytes: 256 * 1024 },
    );
    expect(lines).toEqual([
      "/ 1 directory",
      "/lost+found 1600 directory rebuilt 700 4096",
      ...pairs.flatMap(([a, b]) => [`/lost+found/#${a} ${a} directory`, `/lost+found/#${a}/b ${b} directory`]),
      "/lost+found/#5 5 directory",
    ]);
    expect(findings.repeatedDirectories).toBe(301);
  });

  test("end when an entry in a file leads to them", async () => {
    const { lines } = await salvagedTree({
      node: [directory(1n), node(2n), directory(5n), directory(6n)],
      edge: [edge(1n, "file", 2n), below(2n, "to", 6n), below(5n, "b", 6n), below(6n, "a", 5n)],
    });
    expect(lines.slice(2)).toEqual([
      "/lost+found 7 directory rebuilt 700 4096",
      "/lost+found/#5 5 directory",
      "/lost+found/#5/b 6 directory",
    ]);
  });
});

describe("a lost directory that the tree reaches, too", () => {
  test("stays in the tree, though lost+found is walked before", async () => {
    const { lines, findings } = await salvagedTree({
      node: [directory(1n), directory(2n), directory(3n), directory(5n), node(6n)],
      edge: [below(1n, "z", 2n), below(2n, "d", 3n), edge(3n, "f", 6n), below(5n, "d", 3n)],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/lost+found 7 directory rebuilt 700 4096",
      "/lost+found/#5 5 directory",
      "/z 2 directory",
      "/z/d 3 directory",
      "/z/d/f 6 regular",
    ]);
    expect(findings.repeatedDirectories).toBe(1);
  });
});

describe("the trash", () => {
  const set = {
    node: [directory(1n), directory(TRASH_INODE), directory(HOUR), directory(5n), node(6n)],
    edge: [below(TRASH_INODE, "2026-01-01-01", HOUR), below(HOUR, "1-5-old", 5n), edge(5n, "f", 6n)],
  };

  test("and what it reaches are not lost when only the tree is asked for", async () => {
    const { lines, findings } = await salvagedTree(set, { roots: [1n] });
    expect(lines).toEqual(["/ 1 directory"]);
    expect([findings.placedInodes, findings.unplacedInodes, findings.unreachableDirectories]).toEqual([0, 0, 0]);
  });

  test("keeps its files", async () => {
    const { lines } = await salvagedTree(set);
    expect(lines).toEqual([
      "/ 1 directory",
      `/ ${TRASH_INODE} directory`,
      `/2026-01-01-01 ${HOUR} directory`,
      "/2026-01-01-01/1-5-old 5 directory",
      "/2026-01-01-01/1-5-old/f 6 regular",
    ]);
  });

  test("is rebuilt below its root", async () => {
    const { lines } = await salvagedTree({ ...set, node: [directory(1n), directory(TRASH_INODE), node(6n)] });
    expect(lines).toEqual([
      "/ 1 directory",
      `/ ${TRASH_INODE} directory`,
      `/2026-01-01-01 ${HOUR} directory rebuilt 700 4096`,
      "/2026-01-01-01/1-5-old 5 directory rebuilt 700 4096",
      "/2026-01-01-01/1-5-old/f 6 regular",
    ]);
  });
});

test("a directory without a record whose only entry cannot be is rebuilt", async () => {
  const { lines } = await salvagedTree({
    node: [directory(1n), directory(TRASH_INODE)],
    edge: [below(TRASH_INODE, "strange", 5n)],
  });
  expect(lines).toEqual([
    "/ 1 directory",
    "/lost+found 6 directory rebuilt 700 4096",
    "/lost+found/#5 5 directory rebuilt 700 4096",
    `/ ${TRASH_INODE} directory`,
  ]);
});

describe("a part of a volume", () => {
  test("has lost+found below its top, and takes nothing for lost that the rest reaches", async () => {
    const { lines } = await salvagedTree(
      {
        node: [directory(1n), directory(2n), node(3n), directory(4n), node(5n), node(9n)],
        edge: [below(1n, "part", 2n), edge(2n, "in", 3n), below(1n, "rest", 4n), edge(4n, "out", 5n)],
      },
      { roots: [2n] },
    );
    expect(lines).toEqual([
      "/ 2 directory",
      "/in 3 regular",
      "/lost+found 10 directory rebuilt 700 4096",
      "/lost+found/#9 9 regular",
    ]);
  });
});

describe("lost+found", () => {
  test("is not there when nothing is lost", async () => {
    const { lines, findings } = await salvagedTree({
      node: [directory(1n), directory(2n), node(3n)],
      edge: [below(1n, "a", 2n), edge(2n, "b", 3n)],
    });
    expect(lines).toEqual(["/ 1 directory", "/a 2 directory", "/a/b 3 regular"]);
    expect(findings.examples).toEqual(new Map());
  });

  test("is the only entry of a root without any, also of one without a record", async () => {
    const { lines } = await salvagedTree({ node: [node(9n)] });
    expect(lines).toEqual([
      "/ 1 directory rebuilt 700 4096",
      "/lost+found 10 directory rebuilt 700 4096",
      "/lost+found/#9 9 regular",
    ]);
  });

  test("stands first or last, as its name comes", async () => {
    const names = async (...entries: string[]) => {
      const set = { node: [directory(1n), node(2n), node(9n)], edge: entries.map((name) => edge(1n, name, 2n)) };
      return (await salvagedTree(set)).lines.map((line) => line.split(" ")[0]);
    };
    expect(await names("z")).toEqual(["/", "/lost+found", "/lost+found/#9", "/z"]);
    expect(await names("a")).toEqual(["/", "/a", "/lost+found", "/lost+found/#9"]);
    expect(await names("lost+foun", "lost+found\x00")).toEqual([
      "/",
      "/lost+foun",
      "/lost+found",
      "/lost+found/#9",
      "/lost+found\x00",
    ]);
  });

  test("has a number at its end when the root has an entry of that name", async () => {
    const taken = ["lost+found", "lost+found.2", "lost+found.01", "lost+found.1"];
    const { lines, findings } = await salvagedTree({
      node: [directory(1n), node(2n), node(9n)],
      edge: taken.map((name) => edge(1n, name, 2n)),
    });
    expect(lines.map((line) => line.split(" ")[0])).toEqual([
      "/",
      "/lost+found",
      "/lost+found.01",
      "/lost+found.1",
      "/lost+found.2",
      "/lost+found.3",
      "/lost+found.3/#9",
    ]);
    expect(findings.lostFound?.name).toBe("lost+found.3");
  });

  test("finds a name among thousands that are taken", async () => {
    const taken = Array.from({ length: 5000 }, (_, i) => (i === 0 ? "lost+found" : `lost+found.${i}`));
    const { findings } = await salvagedTree({
      node: [directory(1n), node(2n), node(9n)],
      edge: taken.map((name) => edge(1n, name, 2n)),
    });
    expect(findings.lostFound?.name).toBe("lost+found.5000");
  });

  test("has an inode that nothing has: above all records, entries and the counter, below the trash", async () => {
    const inodeFor = async (set: Parameters<typeof salvagedTree>[0]) => {
      const { findings } = await salvagedTree({ ...set, node: [directory(1n), node(9n), ...(set.node ?? [])] });
      return findings.lostFound?.inode;
    };
    expect(await inodeFor({})).toBe(10n);
    expect(await inodeFor({ edge: [edge(1n, "a", 20n)] })).toBe(21n);
    expect(await inodeFor({ edge: [edge(30n, "a", 20n)] })).toBe(31n);
    expect(await inodeFor({ chunk: [{ inode: 40n, index: 0, slices: CHUNK }] })).toBe(41n);
    expect(await inodeFor({ symlink: [{ inode: 41n, target: Buffer.from("x") }] })).toBe(42n);
    expect(await inodeFor({ xattr: [{ inode: 42n, name: Buffer.from("x"), value: Buffer.from("x") }] })).toBe(43n);
    expect(await inodeFor({ delFile: [{ inode: 50n, length: 0n, expire: 0n }] })).toBe(51n);
    expect(await inodeFor({ counter: [{ name: "nextInode", value: 1000n }] })).toBe(1001n);
    expect(await inodeFor({ counter: [{ name: "nextInode", value: -5n }] })).toBe(10n);
    expect(await inodeFor({ counter: [{ name: "nextInode", value: (1n << 62n) | 1n }] })).toBe(10n);
    expect(await inodeFor({ node: [node(1n << 60n)] })).toBe((1n << 60n) + 1n);
    expect(await inodeFor({ node: [node(1n << 62n)] })).toBe((1n << 62n) + 1n);
    expect(await inodeFor({ node: [node(TRASH_INODE - 1n)] })).toBe(10n);
    expect(await inodeFor({ node: [node((1n << 63n) + 5n)] })).toBe(10n);
  });

  test("takes no entry of a damaged parent for a root", async () => {
    const { lines } = await salvagedTree({
      node: [directory(1n), node(9n)],
      edge: [edge(0xffff_ffff_ffff_ffffn, "x", 9n)],
    });
    expect(lines.slice(1)).toEqual(["/lost+found 10 directory rebuilt 700 4096", "/lost+found/#9 9 regular"]);
  });
});

describe("without lost+found", () => {
  test("what is lost is counted as ever", async () => {
    const { lines, findings, told } = await salvagedTree(
      {
        node: [directory(1n), node(9n), directory(5n)],
        edge: [below(5n, "me", 5n)],
        chunk: [{ inode: 8n, index: 0, slices: CHUNK }],
      },
      { lostFound: false },
    );
    expect(lines).toEqual(["/ 1 directory"]);
    expect([findings.nodesWithoutEntry, findings.remains, findings.unreachableDirectories]).toEqual([1, 1, 1]);
    expect(told.sort()).toEqual([
      "node-without-entry 9 no entry names it",
      "remains 8 neither record nor entry",
      "unreachable-directory 5 1 entries",
    ]);
  });
});

describe("millions of lost inodes", () => {
  test("need no more than the ceiling: a directory with many entries, and many inodes without any", async () => {
    const count = 30_000;
    const inodes = Array.from({ length: count }, (_, i) => BigInt(10 + ((i * 7919) % count)));
    const lost = inodes.map((inode) => inode + BigInt(count));
    const { lines, findings } = await salvagedTree(
      {
        node: [directory(1n), ...inodes.map((inode) => node(inode)), ...lost.map((inode) => node(inode))],
        edge: inodes.map((inode) => edge(5n, `f${inode}`, inode)),
      },
      { maxBytes: 1024 * 1024 },
    );
    const byName = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
    const names = ["5", ...lost.map(String)].sort(byName);
    const inside = inodes.map((inode) => `f${inode}`).sort(byName);
    expect(lines.slice(2)).toEqual(
      names.flatMap((name) =>
        name === "5"
          ? [
              "/lost+found/#5 5 directory rebuilt 700 4096",
              ...inside.map((f) => `/lost+found/#5/${f} ${f.slice(1)} regular`),
            ]
          : [`/lost+found/#${name} ${name} regular`],
      ),
    );
    expect(findings.placedInodes).toBe(count + 1);
  });
});
