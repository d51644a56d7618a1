import { describe, expect, test } from "vitest";
import { StorageError } from "../../../../src/base/errors.ts";
import { blockLayout, blocksOf, checkBlocks } from "../../../../src/operations/backups/block-check.ts";
import { type SampledSlice, SliceSample } from "../../../../src/operations/backups/block-sample.ts";
import { createContext } from "../../../../src/operations/context.ts";
import { packBatch, type RecordBatch } from "../../../../src/volume/records.ts";
import { EMPTY_SETTING } from "../../../../src/volume/setting.ts";
import { encodeSlices, type Slice } from "../../../../src/volume/slices.ts";
import { changedStorage, TestBucket } from "../../../support/backup-bucket.ts";
import { TreeBuilder } from "../../../support/tree-builder.ts";
import { streamOf } from "../../../support/volume-streams.ts";

const MIB = 1024 * 1024;
const LAYOUT = blockLayout({ ...EMPTY_SETTING, blockSize: 4096n });
const CONTEXT = createContext({ env: {} });

function slice(id: number, size: number = MIB): Slice {
  return { pos: 0, id: BigInt(id), size, off: 0, len: size };
}

async function draw(capacity: number, batches: readonly RecordBatch[], random?: () => number): Promise<SliceSample> {
  const sample = new SliceSample(capacity, random);
  const passed: RecordBatch[] = [];
  for await (const batch of sample.watch(streamOf(batches))) passed.push(batch);
  expect(passed).toEqual(batches);
  return sample;
}

function chunkBatch(from: number, count: number): RecordBatch {
  return packBatch(
    "chunk",
    Array.from({ length: count }, (_, i) => ({
      inode: BigInt(from + i),
      index: 0,
      slices: encodeSlices([slice(from + i)]),
    })),
  );
}

function sampled(parts: Partial<SampledSlice>): SampledSlice {
  return { inode: 2n, path: "/f", id: 1n, size: MIB, offset: 0, length: MIB, ...parts };
}

describe("a sample of slices", () => {
  test("knows the file of each by its path, the trash and chunks that come later included", async () => {
    const tree = new TreeBuilder()
      .root((root) =>
        root
          .directory("d", 2n, (d) => d.file("f", 3n, { chunks: { 0: [slice(10), slice(0)], 5: [slice(11)] } }))
          .file("g\n", 4n, { chunks: { 0: [slice(12)] }, moreChunks: [{ 1: [slice(13)] }, { 2: [slice(14)] }] })
          .file("empty", 5n),
      )
      .trash((trash) =>
        trash.directory("2026-11-23-06", 6n, (hour) => hour.file("1-7-x", 7n, { chunks: { 0: [slice(15)] } })),
      );
    const { slices, total } = await draw(100, [tree.batch()]);
    expect(total).toBe(6);
    expect(slices.map(({ id, inode, path }) => [Number(id), Number(inode), path])).toEqual([
      [10, 3, "/d/f"],
      [11, 3, "/d/f"],
      [12, 4, "/g%0A"],
      [13, 4, "/g%0A"],
      [14, 4, "/g%0A"],
      [15, 7, "/.trash/2026-11-23-06/1-7-x"],
    ]);
  });

  test("of flat records knows inodes", async () => {
    const { slices, total } = await draw(2, [chunkBatch(1, 2)]);
    expect([total, slices.map(({ inode, path }) => [inode, path])]).toEqual([
      2,
      [
        [1n, undefined],
        [2n, undefined],
      ],
    ]);
  });

  test("has as many as it may, each with the same chance", async () => {
    let state = 1;
    const random = (): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      return (state + 1) / 0x8000_0000;
    };
    const [runs, slices, capacity] = [2000, 50, 5];
    const batches = Array.from({ length: 5 }, (_, i) => chunkBatch(1 + i * 10, 10));
    const counts = new Array<number>(slices + 1).fill(0);
    for (let i = 0; i < runs; i++) {
      const sample = await draw(capacity, batches, random);
      expect(sample.slices).toHaveLength(capacity);
      expect(new Set(sample.slices.map(({ id }) => id)).size).toBe(capacity);
      for (const { id } of sample.slices) counts[Number(id)]!++;
    }
    // 200 expected, standard deviation 13.4.
    expect(Math.min(...counts.slice(1))).toBeGreaterThan(200 - 6 * 13.4);
    expect(Math.max(...counts)).toBeLessThan(200 + 6 * 13.4);
  });

  test("of none is none", async () => {
    const { slices, total } = await draw(0, [chunkBatch(1, 3)]);
    expect([slices, total]).toEqual([[], 3]);
  });
});

describe("the blocks of a slice", () => {
  test("have the keys that clients give them", () => {
    const keys = (parts: Partial<SampledSlice>, hashPrefix: boolean = false) =>
      blocksOf(sampled(parts), { ...LAYOUT, hashPrefix }).map(({ key }) => key);
    // The examples of docs/spec/object-storage.md §2.
    expect(keys({ id: 3n, size: 5 * MIB, length: 5 * MIB })).toEqual([
      "chunks/0/0/3_0_4194304",
      "chunks/0/0/3_1_1048576",
    ]);
    expect(keys({ id: 1n, size: 108_894, length: 108_894 }, true)).toEqual(["chunks/01/0/1_0_108894"]);
    const third = { id: 1_234_567n, size: 64 * MIB, offset: 8 * MIB, length: 1 };
    expect(keys(third)).toEqual(["chunks/1/1234/1234567_2_4194304"]);
    expect(keys(third, true)).toEqual(["chunks/87/1/1234567_2_4194304"]);
    expect(keys({ id: (1n << 63n) + 1n, size: 1, length: 1 })).toEqual([
      "chunks/9223372036854/9223372036854775/9223372036854775809_0_1",
    ]);
  });

  test("are those that the file uses, at most 16 of them", () => {
    const indexes = (parts: Partial<SampledSlice>, blockBytes: number = LAYOUT.blockBytes) =>
      blocksOf(sampled(parts), { ...LAYOUT, blockBytes }).map(({ key }) => Number(key.split("_")[1]));
    expect(indexes({ size: 16 * MIB, offset: 4 * MIB - 1, length: 2 })).toEqual([0, 1]);
    expect(indexes({ size: 16 * MIB, offset: 4 * MIB, length: 8 * MIB })).toEqual([1, 2]);
    const many = indexes({ size: 64 * MIB, length: 64 * MIB }, 65536);
    expect([many.length, many[0], many.at(-1), new Set(many).size]).toEqual([16, 0, 1023, 16]);
    // What a damaged record says is not in the slice is nowhere.
    expect(indexes({ size: 10, offset: 10, length: 5 })).toEqual([]);
    expect(indexes({ size: 0, length: 0 })).toEqual([]);
    expect(indexes({}, 0)).toEqual([]);
  });
});

describe("the check of blocks", () => {
  const sample = (...ids: number[]) => ({
    slices: ids.map((id) => sampled({ id: BigInt(id), size: 4, length: 4, path: `/f${id}` })),
    total: 1000,
  });

  test("names those that are missing or of another size, each once", async () => {
    const bucket = new TestBucket();
    await bucket.put(["chunks/0/0/1_0_4", "good"], ["chunks/0/0/2_0_4", "cut"]);
    const report = await checkBlocks(bucket.storage, sample(1, 2, 3, 3), LAYOUT, CONTEXT);
    expect(report).toMatchObject({ slices: 1000, sampledSlices: 4, checkedBlocks: 3, missingBlocks: 2 });
    expect(report.missing.map(({ key, path, found }) => [key, path, found])).toEqual([
      ["chunks/0/0/2_0_4", "/f2", 3],
      ["chunks/0/0/3_0_4", "/f3", undefined],
    ]);
  });

  test("does not compare sizes where blocks are compressed or encrypted", async () => {
    const bucket = new TestBucket();
    await bucket.put(["chunks/0/0/1_0_4", "lz4 is smaller or larger"]);
    for (const change of [{ compression: "LZ4" }, { compression: "zstd" }, { encryptKey: "key" }]) {
      const layout = blockLayout({ ...EMPTY_SETTING, blockSize: 4096n, ...change });
      expect((await checkBlocks(bucket.storage, sample(1), layout, CONTEXT)).missingBlocks).toBe(0);
    }
  });

  test("says when the storage does not answer", async () => {
    const failing = changedStorage(new TestBucket().storage, {
      head: () => Promise.reject(new StorageError("DECANT_E_STORAGE_REQUEST", "connection refused")),
    });
    const report = await checkBlocks(failing, sample(1, 2), LAYOUT, CONTEXT);
    expect([report.checkedBlocks, report.stopped]).toEqual([0, "connection refused"]);
  });
});
