import { readdirSync } from "node:fs";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { FileError } from "../../../src/base/errors.ts";
import { BlockStore } from "../../../src/tree/block-store.ts";
import { MemoryBudget, PAGE_BYTES } from "../../../src/tree/memory-budget.ts";
import { PartitionStore } from "../../../src/tree/partition-store.ts";
import { type CompareRecords, PieceSorter, type WriteKey } from "../../../src/tree/piece-sorter.ts";
import { compareWhole, keyOfLeadingUint64, RecordSorter } from "../../../src/tree/record-sorter.ts";
import { RunMerger } from "../../../src/tree/run-merger.ts";
import { SpillFile } from "../../../src/tree/spill-file.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const KIB = 1024;
const spills: SpillFile[] = [];

function spillFile(directory: string = temporaryDirectory()): SpillFile {
  const spill = new SpillFile(directory);
  spills.push(spill);
  return spill;
}

afterEach(() => {
  for (const spill of spills.splice(0)) spill.close();
});

/** A record of `size` bytes that begins with its size and a number. */
function record(number: bigint, size: number = 16): Buffer {
  const bytes = Buffer.alloc(size, Number(number & 0xffn));
  bytes.writeUInt32BE(size, 0);
  bytes.writeBigUInt64BE(number, 4);
  return bytes;
}

const numberOf = (bytes: Buffer, start: number): bigint => bytes.readBigUInt64BE(start + 4);

/** Numbers on both sides of every boundary of the keys. */
const numbers = fc.oneof(
  fc.bigInt(0n, 300n),
  fc.bigInt((1n << 38n) - 3n, (1n << 38n) + 3n),
  fc.bigInt((1n << 53n) - 3n, (1n << 53n) + 3n),
  fc.bigInt(0n, (1n << 64n) - 1n),
);

const byNumber = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

describe("SpillFile", () => {
  test("has no name on the disk, gives back what was appended, and ends with `close`", () => {
    const directory = temporaryDirectory();
    const spill = spillFile(directory);
    expect(spill.append(Buffer.from("abcdef"), 1, 4)).toBe(0);
    expect(spill.append(Buffer.from("xyz"), 0, 3)).toBe(3);
    expect(readdirSync(directory)).toEqual([]);
    const target = Buffer.alloc(6, "-");
    spill.read(2, target, 1, 5);
    expect(target.toString()).toBe("-dxyz-");
    expect(spill.length).toBe(6);
  });

  test("writes pages that were given back again, and does not grow meanwhile", () => {
    const spill = spillFile();
    const page = (fill: string): Buffer => Buffer.alloc(PAGE_BYTES, fill);
    const [first, second] = [spill.writePage(page("a"), PAGE_BYTES), spill.writePage(page("b"), 10)];
    const run = spill.append(Buffer.from("run"), 0, 3);
    spill.freePage(first);
    expect(spill.writePage(page("c"), PAGE_BYTES)).toBe(first);
    expect(spill.length).toBe(2 * PAGE_BYTES + 3);
    const target = Buffer.alloc(3);
    const textAt = (offset: number): string => {
      spill.read(offset, target, 0, 3);
      return target.toString();
    };
    expect([textAt(first + PAGE_BYTES - 3), textAt(second), textAt(run)]).toEqual(["ccc", "bbb", "run"]);
  });

  test("says which directory it cannot write in, and what to do", () => {
    const spill = spillFile("/nowhere/at/all");
    const error = catchError(() => spill.append(Buffer.from("a"), 0, 1));
    expect(error).toBeInstanceOf(FileError);
    expect((error as FileError).message).toMatch(/^Cannot write a temporary file in \/nowhere\/at\/all: ENOENT/);
    expect((error as FileError).hint).toContain("--tmp-dir");
  });

  test("refuses to read what is not there", () => {
    const spill = spillFile();
    spill.append(Buffer.from("abc"), 0, 3);
    expect(() => spill.read(1, Buffer.alloc(8), 0, 8)).toThrow("is shorter than what was written");
  });
});

function catchError(work: () => unknown): unknown {
  try {
    work();
    return undefined;
  } catch (error) {
    return error;
  }
}

describe("MemoryBudget", () => {
  test("gives memory back at once when a buffer is freed or the index is closed", () => {
    const budget = new MemoryBudget(4 * PAGE_BYTES);
    const page = budget.takePage();
    budget.returnPage(page);
    expect(budget.takePage()).toBe(page);
    const large = budget.takeBuffer(3 * PAGE_BYTES);
    expect(budget.hasRoom(1)).toBe(false);
    budget.free(large);
    expect([large.length, budget.used]).toEqual([0, PAGE_BYTES]);
    budget.close();
    expect(page.length).toBe(0);
  });
});

describe("PartitionStore", () => {
  test("gives every partition back in order of arrival, whatever was spilled, in pieces of whole records", () => {
    const sizes = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 3 * PAGE_BYTES }));
    const writes = fc.array(fc.record({ partition: fc.integer({ min: 0, max: 3 }), size: sizes }), { maxLength: 60 });
    fc.assert(
      fc.property(writes, fc.integer({ min: 1, max: 8 }), (list, pages) => {
        const budget = new MemoryBudget(pages * PAGE_BYTES);
        const spill = spillFile();
        const store = new PartitionStore(4, budget, spill);
        const expected = [0, 1, 2, 3].map(() => [] as Buffer[]);
        list.forEach(({ partition, size }, i) => {
          const bytes = Buffer.alloc(size, i + 1);
          const at = store.reserve(partition, size);
          bytes.copy(store.page, at);
          expected[partition]!.push(bytes);
        });
        for (const partition of [2, 0, 3, 1]) {
          const whole = Buffer.concat(expected[partition]!);
          expect(store.sizeOf(partition)).toBe(whole.length);
          const pieces = Array.from(store.drain(partition, 2 * PAGE_BYTES), (piece) => Buffer.from(piece));
          expect(Buffer.concat(pieces).equals(whole)).toBe(true);
          expectCutsBetweenRecords(pieces, expected[partition]!);
          expect(store.sizeOf(partition)).toBe(0);
        }
        spill.close();
      }),
      { numRuns: 60 },
    );
  });

  test("stays below its ceiling but for one open page of each partition, and spills the rest", () => {
    const budget = new MemoryBudget(8 * PAGE_BYTES);
    const spill = spillFile();
    const store = new PartitionStore(4, budget, spill);
    let highest = 0;
    for (let i = 0; i < 4000; i++) {
      store.reserve(i % 4, 1000);
      highest = Math.max(highest, budget.used);
    }
    expect(highest).toBeLessThanOrEqual((8 + 4) * PAGE_BYTES);
    expect(spill.length).toBeGreaterThan(50 * PAGE_BYTES);
    const spilled = spill.length;
    for (let partition = 0; partition < 4; partition++) {
      for (const _ of store.drain(partition, PAGE_BYTES)) {
        // Handed over, and so gone from the file.
      }
    }
    const next = new PartitionStore(4, new MemoryBudget(0), spill);
    for (let i = 0; i < 3000; i++) next.reserve(i % 4, 1000);
    expect(spill.length).toBe(spilled);
  });
});

function expectCutsBetweenRecords(pieces: readonly Buffer[], records: readonly Buffer[]): void {
  const ends = new Set(runningSums(records));
  for (const cut of runningSums(pieces)) expect(ends).toContain(cut);
}

function runningSums(buffers: readonly Buffer[]): number[] {
  let sum = 0;
  return buffers.map(({ length }) => {
    sum += length;
    return sum;
  });
}

describe("BlockStore", () => {
  test("reads any range back, in memory, across the border, in the file, and not yet in the file", () => {
    const budget = new MemoryBudget(64 * PAGE_BYTES);
    const store = new BlockStore(budget, spillFile(), 3 * PAGE_BYTES);
    const all: Buffer[] = [];
    let length = 0;
    for (let i = 0; length < 900 * KIB; i++) {
      const bytes = Buffer.from(Array.from({ length: 1 + ((i * 7919) % 40_000) }, (_, n) => (n * 31 + i * 17) & 0xff));
      expect(store.append(Buffer.concat([Buffer.from("#"), bytes, Buffer.from("#")]), 1, bytes.length + 1)).toBe(
        length,
      );
      all.push(bytes);
      length += bytes.length;
    }
    expect(store.length).toBe(length);
    const whole = Buffer.concat(all);
    const border = 3 * PAGE_BYTES;
    const places = [0, PAGE_BYTES - 5, border - 5, border, border + 256 * KIB - 5, border + 512 * KIB - 5, length - 10];
    for (const place of places) {
      for (const size of [1, 10, PAGE_BYTES, 300 * KIB]) {
        const target = Buffer.alloc(size);
        const available = Math.min(size, length - place);
        store.read(place, target, available);
        expect(target.subarray(0, available).equals(whole.subarray(place, place + available))).toBe(true);
      }
    }
  });

  test("goes to the file at once when others have used the memory", () => {
    const spill = spillFile();
    const store = new BlockStore(new MemoryBudget(0), spill, 1 << 30);
    store.append(Buffer.alloc(256 * KIB, "a"), 0, 256 * KIB);
    store.append(Buffer.from("b"), 0, 1);
    expect(spill.length).toBe(256 * KIB);
    const target = Buffer.alloc(4);
    store.read(256 * KIB - 4, target, 4);
    expect(target.toString()).toBe("aaaa");
  });
});

describe("PieceSorter", () => {
  test("sorts records by key and settles equal keys by comparison", () => {
    const sorter = new PieceSorter();
    fc.assert(
      fc.property(fc.array(numbers, { maxLength: 200 }), (list) => {
        const piece = Buffer.concat(list.map((number) => record(number)));
        const order = sorter.sort(piece, keyOfLeadingUint64, compareWhole);
        expect(Array.from(order, (start) => numberOf(piece, start))).toEqual([...list].sort(byNumber));
      }),
    );
  });

  test("sorts more records than it has room for, and long runs of equal keys", () => {
    const noKey: WriteKey = (_piece, _start, words, at) => words.fill(0, at, at + 2);
    const downwards: CompareRecords = (a, aStart, b, bStart) => byNumber(numberOf(b, bStart), numberOf(a, aStart));
    const list = Array.from({ length: 10_000 }, (_, i) => BigInt((i * 7919) % 10_000));
    const piece = Buffer.concat(list.map((number) => record(number)));
    const order = new PieceSorter().sort(piece, noKey, downwards);
    expect(Array.from(order, (start) => Number(numberOf(piece, start)))).toEqual(
      Array.from({ length: 10_000 }, (_, i) => 9999 - i),
    );
  });
});

describe("RunMerger", () => {
  test("merges runs of records of any size, also larger than what it reads at a time", () => {
    const sizes = fc.oneof(fc.integer({ min: 12, max: 100 }), fc.integer({ min: 12, max: 600 * KIB }));
    const runs = fc.array(fc.array(fc.record({ number: fc.bigInt(0n, 1000n), size: sizes }), { maxLength: 12 }), {
      maxLength: 6,
    });
    fc.assert(
      fc.property(runs, (list) => {
        const spill = spillFile();
        const merger = new RunMerger(spill, compareWhole);
        const sorter = new PieceSorter();
        for (const run of list) {
          const piece = Buffer.concat(run.map(({ number, size }) => record(number, size)));
          merger.addRun(piece, sorter.sort(piece, keyOfLeadingUint64, compareWhole));
        }
        const merged: Buffer[] = [];
        while (merger.next()) {
          const size = merger.bytes.readUInt32BE(merger.start);
          merged.push(Buffer.from(merger.bytes.subarray(merger.start, merger.start + size)));
        }
        expect(merger.next()).toBe(false);
        const expected = list.flat().map(({ number, size }) => record(number, size));
        expected.sort((a, b) => compareWhole(a, 0, b, 0));
        expect(Buffer.concat(merged).equals(Buffer.concat(expected))).toBe(true);
        spill.close();
      }),
      { numRuns: 30 },
    );
  });
});

describe("RecordSorter", () => {
  test.each([
    ["in memory", 64 * PAGE_BYTES],
    ["through runs in the spill file", 2 * PAGE_BYTES],
  ])("gives records back in order, %s", (_, pieceBytes) => {
    const spill = spillFile();
    const budget = new MemoryBudget(4 * PAGE_BYTES);
    const sorter = new RecordSorter({ budget, spill, pieceBytes });
    const count = 40_000;
    for (let i = 0; i < count; i++) {
      const number = BigInt((i * 7919) % count) << (i % 2 === 0 ? 0n : 40n);
      record(number).copy(sorter.page, sorter.reserve(16));
    }
    expect(sorter.count).toBe(count);
    let last = -1n;
    let seen = 0;
    for (; sorter.next(); seen++) {
      const number = numberOf(sorter.bytes, sorter.start);
      if (number < last) throw new Error(`${number} after ${last}`);
      last = number;
    }
    expect(seen).toBe(count);
    expect(sorter.next()).toBe(false);
  });

  test("ends at once without records", () => {
    const options = { budget: new MemoryBudget(0), spill: spillFile(), pieceBytes: 1 };
    const sorter = new RecordSorter({ ...options });
    expect(sorter.next()).toBe(false);
  });
});
