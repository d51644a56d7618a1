import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AclTable } from "../../../src/tree/acl-table.ts";
import { DirectoryIndex } from "../../../src/tree/directory-index.ts";
import { InodeKeys } from "../../../src/tree/inode-key.ts";
import { InodeMarks } from "../../../src/tree/inode-marks.ts";
import { InodeSet } from "../../../src/tree/inode-set.ts";
import { MemoryBudget } from "../../../src/tree/memory-budget.ts";
import { TRASH_INODE } from "../../../src/volume/inode.ts";

function bytesOf(inode: bigint): Buffer {
  const bytes = Buffer.alloc(9);
  bytes.writeBigUInt64BE(inode, 1);
  return bytes;
}

/** Inodes near each other, scattered ones, and those that no JavaScript number can hold. */
const inodes = fc.oneof(
  fc.bigInt(1n, 2000n),
  fc.bigInt((1n << 25n) - 3n, (1n << 25n) + 3n),
  fc.bigInt((1n << 32n) - 3n, (1n << 32n) + 3n),
  fc.bigInt((1n << 53n) - 3n, (1n << 53n) + 3n),
  fc.bigInt(TRASH_INODE - 2n, TRASH_INODE + 40n),
  fc.bigInt(0n, (1n << 64n) - 1n),
);

describe("InodeKeys", () => {
  test("gives each inode a number of its own, always the same, that leads back to it", () => {
    fc.assert(
      fc.property(fc.array(inodes, { maxLength: 100 }), (list) => {
        const keys = new InodeKeys();
        const known = new Map<number, bigint>();
        for (const inode of [...list, ...list]) {
          const key = keys.read(bytesOf(inode), 1);
          expect(known.get(key) ?? inode).toBe(inode);
          expect(keys.of(inode)).toBe(key);
          expect(keys.inodeOf(key)).toBe(inode);
          known.set(key, inode);
        }
        expect(known.size).toBe(new Set(list).size);
      }),
    );
  });

  test("does not know a key that it has not given", () => {
    expect(new InodeKeys().inodeOf(2 ** 54)).toBe(0n);
  });
});

describe("InodeSet", () => {
  test("knows what was added, for dense, scattered and trash inodes alike", () => {
    fc.assert(
      fc.property(fc.array(inodes, { maxLength: 300 }), fc.array(inodes, { maxLength: 50 }), (list, others) => {
        const set = new InodeSet();
        const model = new Set<bigint>();
        for (const inode of list) {
          expect(set.has(bytesOf(inode), 1)).toBe(model.has(inode));
          expect(set.add(bytesOf(inode), 1)).toBe(model.has(inode));
          model.add(inode);
        }
        for (const inode of [...list, ...others]) expect(set.has(bytesOf(inode), 1)).toBe(model.has(inode));
      }),
    );
  });

  test("grows to many pages and forgets nothing", () => {
    const set = new InodeSet();
    const inodeOf = (i: number): bigint => (i % 2 === 0 ? BigInt(i) : BigInt(i) * 0x1_0001_0001n);
    for (let i = 1; i < 20_000; i++) expect(set.add(bytesOf(inodeOf(i)), 1)).toBe(false);
    for (let i = 1; i < 20_000; i++) expect(set.has(bytesOf(inodeOf(i)), 1)).toBe(true);
    expect(set.has(bytesOf(20_000n), 1)).toBe(false);
  });
});

describe("InodeMarks", () => {
  test("keeps the marks of each inode apart, and visits every marked one once", () => {
    const marks = fc.integer({ min: 1, max: 255 });
    fc.assert(
      fc.property(fc.array(fc.tuple(inodes, marks), { maxLength: 300 }), (list) => {
        const kept = new InodeMarks();
        const model = new Map<bigint, number>();
        for (const [inode, mark] of list) {
          const before = model.get(inode) ?? 0;
          expect(kept.set(Number(inode >> 32n), Number(inode & 0xffff_ffffn), mark)).toBe(before);
          model.set(inode, before | mark);
        }
        const visited = new Map<bigint, number>();
        kept.forEach((mark, inode) => {
          expect(visited.has(inode())).toBe(false);
          visited.set(inode(), mark);
        });
        expect(visited).toEqual(model);
      }),
    );
  });

  test("grows to many pages and forgets nothing", () => {
    const kept = new InodeMarks();
    for (let low = 0; low < 400_000; low += 7) expect(kept.set(low & 1, low, 1 + (low % 200))).toBe(0);
    for (let low = 0; low < 400_000; low += 7) expect(kept.set(low & 1, low, 0)).toBe(1 + (low % 200));
  });
});

describe("DirectoryIndex", () => {
  test("finds blocks by directory and partition, whatever the order within a partition", () => {
    const index = new DirectoryIndex(new MemoryBudget(0));
    const keys = Array.from({ length: 3000 }, (_, i) => ((i * 7919) % 3000) * 2);
    keys.forEach((key, i) => {
      index.add(key, i * 10);
    });
    index.endPartition(30_000);
    index.add(7, 30_000);
    index.endPartition(30_005);
    keys.forEach((key, i) => {
      expect(index.find(key, 0)).toMatchObject({ address: i * 10, end: i * 10 + 10 });
    });
    expect(index.find(7, 1)).toMatchObject({ address: 30_000, end: 30_005 });
    expect([index.find(7, 0), index.find(2, 1), index.find(6001, 0)]).toEqual([undefined, undefined, undefined]);
  });

  test("visits a directory once and lists those that were never visited", () => {
    const index = new DirectoryIndex(new MemoryBudget(0));
    index.add(9, 0);
    index.add(4, 10);
    index.add(5, 30);
    index.endPartition(60);
    const { position } = index.find(4, 0)!;
    expect([index.markVisited(position), index.markVisited(position)]).toEqual([true, false]);
    expect([...index.unvisited()]).toEqual([
      { key: 5, address: 30, end: 60 },
      { key: 9, address: 0, end: 10 },
    ]);
  });

  test("counts its memory", () => {
    const budget = new MemoryBudget(0);
    const index = new DirectoryIndex(budget);
    for (let i = 0; i < 100_000; i++) index.add(i, i);
    expect(budget.used).toBeGreaterThan(100_000 * 25);
  });
});

describe("AclTable", () => {
  test("numbers rules in the order in which they are asked for, equal ones once", () => {
    const table = new AclTable();
    for (const [id, rule] of [
      [5, "b"],
      [6, "a"],
      [7, "b"],
    ] as const) {
      table.define(id, Buffer.from(rule));
    }
    expect([0, 6, 5, 7, 6, 8].map((id) => table.assign(id))).toEqual([0, 1, 2, 2, 1, undefined]);
    expect(table.records()).toEqual([
      { id: 1, rule: Buffer.from("a") },
      { id: 2, rule: Buffer.from("b") },
    ]);
  });
});
