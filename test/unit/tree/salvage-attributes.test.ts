import { describe, expect, test } from "vitest";
import { TreeFindings } from "../../../src/tree/tree-findings.ts";
import { decodeAttribute } from "../../../src/volume/attribute.ts";
import { FileType } from "../../../src/volume/file-type.ts";
import { CHUNK_BYTES, TRASH_INODE } from "../../../src/volume/inode.ts";
import { encodeSlices } from "../../../src/volume/slices.ts";
import { consolidateRecords } from "../../support/volume-streams.ts";
import { below, directory, edge, NOW, node, salvagedOrder, salvagedTree } from "./salvaged-tree.ts";

const slices = (...ends: [pos: number, len: number][]): Buffer =>
  encodeSlices(ends.map(([pos, len], i) => ({ pos, id: BigInt(i + 1), size: len, off: 0, len })));

describe("an entry whose inode has no record", () => {
  test("is a file as long as its chunks describe, of the superuser and for nobody else", async () => {
    const { lines, findings, told } = await salvagedTree({
      node: [directory(1n)],
      edge: [edge(1n, "a", 2n), edge(1n, "b", 3n)],
      chunk: [
        { inode: 2n, index: 3, slices: slices([4096, 100], [0, 5000], [10, 20]) },
        { inode: 2n, index: 0, slices: slices([0, CHUNK_BYTES]) },
      ],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      `/a 2 regular rebuilt 600 ${3 * CHUNK_BYTES + 5000} +2`,
      "/b 3 regular rebuilt 600 0",
    ]);
    expect(findings.rebuiltNodes).toBe(2);
    expect(told.sort()).toEqual([
      `rebuilt-node 2 regular, ${3 * CHUNK_BYTES + 5000} bytes`,
      "rebuilt-node 3 regular, 0 bytes",
    ]);
  });

  test("has the length up to the last chunk with slices, and none beyond the end of a chunk", async () => {
    const { lines } = await salvagedTree({
      node: [directory(1n)],
      edge: [edge(1n, "empty-end", 2n), edge(1n, "far", 3n), edge(1n, "last", 4n)],
      chunk: [
        { inode: 2n, index: 1, slices: slices([0, 7]) },
        { inode: 2n, index: 9, slices: Buffer.alloc(0) },
        { inode: 3n, index: 0, slices: slices([CHUNK_BYTES - 1, 4_000_000_000]) },
        { inode: 4n, index: 0xffff_ffff, slices: slices([0, 1]) },
      ],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      `/empty-end 2 regular rebuilt 600 ${CHUNK_BYTES + 7} +2`,
      `/far 3 regular rebuilt 600 ${CHUNK_BYTES} +1`,
      `/last 4 regular rebuilt 600 ${0xffff_ffffn * BigInt(CHUNK_BYTES) + 1n} +1`,
    ]);
  });

  test("keeps a list of chunks that is longer than an entry, and its xattrs", async () => {
    const chunk = Array.from({ length: 5000 }, (_, index) => ({ inode: 2n, index, slices: slices([0, 10]) }));
    const xattr = [{ inode: 2n, name: Buffer.from("user.x"), value: Buffer.from("1") }];
    const { lines } = await salvagedTree({
      node: [directory(1n)],
      edge: [edge(1n, "a", 2n), edge(1n, "b", 2n)],
      chunk,
      xattr,
    });
    expect(lines).toEqual([
      "/ 1 directory",
      `/a 2 regular [2] rebuilt 600 ${4999 * CHUNK_BYTES + 10} @user.x`,
      `/b 2 regular [2] rebuilt 600 ${4999 * CHUNK_BYTES + 10} @user.x`,
    ]);
  });

  test("has the type that its entry says, where nothing else speaks against it", async () => {
    const { lines } = await salvagedTree({
      node: [directory(1n)],
      edge: [
        below(1n, "directory", 2n),
        edge(1n, "link", 3n, FileType.symlink),
        edge(1n, "pipe", 4n, FileType.fifo),
        below(1n, "with-chunks", 5n),
        below(1n, "with-target", 6n),
      ],
      symlink: [
        { inode: 3n, target: Buffer.from("to") },
        { inode: 6n, target: Buffer.from("there") },
      ],
      chunk: [{ inode: 5n, index: 0, slices: slices([0, 1]) }],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/directory 2 directory rebuilt 700 4096",
      "/link 3 symlink rebuilt 777 2 ->to",
      "/pipe 4 fifo rebuilt 600 0",
      "/with-chunks 5 regular rebuilt 600 1 +1",
      "/with-target 6 symlink rebuilt 777 5 ->there",
    ]);
  });

  test("has the type that follows from what hangs on it, where its entry knows none", async () => {
    const { lines } = await salvagedTree({
      node: [directory(1n), node(5n)],
      edge: [edge(1n, "a", 2n, 0), edge(1n, "b", 3n, 9), edge(1n, "c", 4n, 0), edge(3n, "inside", 5n)],
      symlink: [{ inode: 2n, target: Buffer.from("to") }],
    });
    expect(lines).toEqual([
      "/ 1 directory",
      "/a 2 symlink rebuilt 777 2 ->to",
      "/b 3 directory rebuilt 700 4096",
      "/b/inside 5 regular",
      "/c 4 regular rebuilt 600 0",
    ]);
  });

  test("is rebuilt, too, when its record is too short to be read", async () => {
    const { lines, findings, told } = await salvagedTree({
      node: [directory(1n), { inode: 2n, attribute: Buffer.alloc(20) }],
      edge: [edge(1n, "a", 2n)],
    });
    expect(lines).toEqual(["/ 1 directory", "/a 2 regular rebuilt 600 0"]);
    expect(findings.damagedNodes).toBe(1);
    expect(told).toEqual(["damaged-node 2 its record is too short to be read", "rebuilt-node 2 regular, 0 bytes"]);
  });

  test("is the same at all places of a file with several, and loaded with the link count of all", async () => {
    const set = { node: [directory(1n)], edge: [edge(1n, "a", 2n), edge(1n, "b", 2n, 0), edge(1n, "c", 2n, 2)] };
    const { lines, findings } = await salvagedTree(set);
    expect(lines).toEqual([
      "/ 1 directory",
      "/a 2 regular rebuilt 600 0",
      "/b 2 regular rebuilt 600 0",
      "/c 2 regular rebuilt 600 0",
    ]);
    expect(findings.rebuiltNodes).toBe(1);
  });

  test("keeps what was rebuilt when the tree is loaded", async () => {
    const { records, findings } = await consolidateRecords(
      salvagedOrder(
        {
          node: [],
          edge: [edge(1n, "a", 2n), below(1n, "d", 3n), edge(3n, "b", 2n)],
          chunk: [{ inode: 2n, index: 0, slices: slices([0, 5]) }],
        },
        new TreeFindings(),
      ),
      1024 * 1024,
    );
    const nodes = (records.get("node") ?? []) as { inode: bigint; attribute: Buffer }[];
    const text = nodes.map(({ inode, attribute }) => {
      const { mode, nlink, length, mtime } = decodeAttribute(attribute);
      return `${inode} ${mode.toString(8)} ${nlink} ${length} ${inode === TRASH_INODE || mtime === NOW}`;
    });
    expect(text.sort()).toEqual([
      "1 700 3 4096 true",
      "2 600 2 5 true",
      "3 700 2 4096 true",
      `${TRASH_INODE} 555 2 4096 true`,
    ]);
    expect(findings.all.map(({ kind }) => kind).sort()).toEqual(["link-count", "trash-created"]);
  });

  test("is left as it is when nothing is to be salvaged", async () => {
    const { lines } = await salvagedTree(
      { node: [directory(1n)], edge: [edge(1n, "a", 2n)] },
      { lostFound: undefined },
    );
    expect(lines).toEqual(["/ 1 directory", "/a 2 regular [1]"]);
  });
});

describe("entries that cannot be", () => {
  test("are left out: of number 0, of the trash outside of it, of ordinary directories in its root", async () => {
    const hour = TRASH_INODE + 3n;
    const { lines, findings, told } = await salvagedTree(
      {
        node: [directory(1n), directory(TRASH_INODE), directory(hour), directory(4n), node(5n)],
        edge: [
          edge(1n, "zero", 0n),
          below(1n, "hour", hour),
          below(1n, "trash", TRASH_INODE),
          below(TRASH_INODE, "2026-01-01-01", hour),
          below(TRASH_INODE, "strange", 4n),
          edge(hour, "1-5-x", 5n),
        ],
      },
      { lostFound: false },
    );
    expect(lines).toEqual([
      "/ 1 directory",
      `/ ${TRASH_INODE} directory`,
      `/2026-01-01-01 ${hour} directory`,
      "/2026-01-01-01/1-5-x 5 regular",
    ]);
    expect(findings.entriesLeftOut).toBe(4);
    expect(told.filter((line) => line.startsWith("entry-left-out")).sort()).toEqual(
      [
        "entry-left-out 0 zero in directory 1",
        `entry-left-out ${hour} hour in directory 1`,
        `entry-left-out ${TRASH_INODE} trash in directory 1`,
        `entry-left-out 4 strange in directory ${TRASH_INODE}`,
      ].sort(),
    );
  });

  test("are left out at all but the first place of a directory, with or without entries", async () => {
    const { lines, findings, told } = await salvagedTree(
      {
        node: [directory(1n), directory(2n), directory(3n), node(4n)],
        edge: [
          below(1n, "a", 2n),
          below(1n, "b", 2n),
          below(1n, "c", 3n),
          below(2n, "d", 3n),
          edge(2n, "e", 4n),
          below(2n, "up", 1n),
        ],
      },
      { lostFound: false },
    );
    expect(lines).toEqual(["/ 1 directory", "/a 2 directory", "/a/d 3 directory", "/a/e 4 regular"]);
    expect(findings.repeatedDirectories).toBe(3);
    expect(told).toEqual([
      "directory-repeated 1 left out as up",
      "directory-repeated 2 left out as b",
      "directory-repeated 3 left out as c",
    ]);
  });
});
