import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import { KindOrder } from "../../../src/tree/kind-order.ts";
import { TRASH_INODE } from "../../../src/volume/inode.ts";
import {
  type FlatKind,
  packBatch,
  type RecordBatch,
  type RecordTypes,
  unpackBatch,
} from "../../../src/volume/records.ts";
import { collectRecords } from "../../support/collect-records.ts";
import { recordTexts } from "../../support/reference-binary-dump.ts";
import { streamOf } from "../../support/volume-streams.ts";

/** The same numbers in every run. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 0x1_0000_0000) * below);
  };
}

/** Inodes of every range: small, beyond 38 and 53 bits, in the trash, beyond it. */
function anyInode(random: (below: number) => number): bigint {
  const bases = [1n, 1n, 1n << 20n, 1n << 37n, 1n << 45n, 1n << 60n, TRASH_INODE, TRASH_INODE + (1n << 28n), 1n << 63n];
  return bases[random(bases.length)]! + BigInt(random(40));
}

const KINDS = [
  "counter",
  "node",
  "edge",
  "chunk",
  "sliceRef",
  "symlink",
  "sustained",
  "xattr",
  "acl",
  "parent",
] as const;

function makeRecord(kind: FlatKind, random: (below: number) => number): RecordTypes[FlatKind] {
  const bytes = (max: number): Buffer => Buffer.from(Array.from({ length: 1 + random(max) }, () => random(256)));
  const inode = anyInode(random);
  const made: Partial<RecordTypes> = {
    counter: { name: `counter${random(1000)}`, value: BigInt(random(100)) },
    node: { inode, attribute: Buffer.alloc(72, random(256)) },
    edge: { parent: inode, inode: anyInode(random), type: 1 + random(7), name: bytes(20) },
    chunk: { inode, index: random(5), slices: Buffer.alloc(24 * random(4), random(256)) },
    sliceRef: { id: inode, size: random(1000), refs: 2n },
    symlink: { inode, target: bytes(300) },
    sustained: { sid: BigInt(random(5)), inode },
    xattr: { inode, name: bytes(5), value: bytes(30) },
    acl: { id: random(100), rule: bytes(30) },
    parent: { inode, parent: anyInode(random), count: 2n },
  };
  return made[kind as keyof RecordTypes]!;
}

/** What decides in a kind, in the order in which it does. */
const KEYS: Partial<Record<FlatKind, (record: never) => readonly (bigint | number | Buffer)[]>> = {
  counter: (record: RecordTypes["counter"]) => [Buffer.from(record.name)],
  edge: (record: RecordTypes["edge"]) => [record.parent, record.inode],
  chunk: (record: RecordTypes["chunk"]) => [record.inode, record.index],
  sliceRef: (record: RecordTypes["sliceRef"]) => [record.id],
  sustained: (record: RecordTypes["sustained"]) => [record.sid, record.inode],
  xattr: (record: RecordTypes["xattr"]) => [record.inode, record.name],
  acl: (record: RecordTypes["acl"]) => [record.id],
  parent: (record: RecordTypes["parent"]) => [record.inode, record.parent],
};

function isInOrder(kind: FlatKind, records: readonly RecordTypes[FlatKind][]): boolean {
  const keyOf = (KEYS[kind] ?? ((record: RecordTypes["node"]) => [record.inode])) as (
    record: RecordTypes[FlatKind],
  ) => readonly (bigint | number | Buffer)[];
  return records.every((record, i) => {
    if (i === 0) return true;
    const [before, after] = [keyOf(records[i - 1]!), keyOf(record)];
    for (let k = 0; k < after.length; k++) {
      const [a, b] = [before[k]!, after[k]!];
      const order = Buffer.isBuffer(a) ? a.compare(b as Buffer) : Number(a > (b as bigint)) - Number(a < (b as bigint));
      if (order !== 0) return order < 0;
    }
    return true;
  });
}

async function collect(batches: readonly RecordBatch[], maxBytes: number): Promise<RecordBatch[]> {
  const copies = batches.map((batch) => ({ ...batch, bytes: Buffer.from(batch.bytes) }));
  const order = new KindOrder({ kinds: KINDS, maxBytes, tmpDir: tmpdir() });
  try {
    for (const batch of copies) order.add(batch);
    return [...order.drain()];
  } finally {
    order.close();
  }
}

describe("the order of kinds", () => {
  const random = randomNumbers(7);
  const batches: RecordBatch[] = [];
  for (let i = 0; i < 300; i++) {
    const kind = KINDS[random(KINDS.length)]!;
    const records = Array.from({ length: 1 + random(40) }, () => makeRecord(kind, random));
    batches.push(packBatch(kind, records as RecordTypes[typeof kind][]));
  }

  test.each([
    ["in memory", 1 << 28],
    ["through runs in a file", 20_000],
  ])("gives every record once, kind after kind, sorted, %s", async (_, maxBytes) => {
    const expected = await collectRecords(streamOf(batches));
    const ordered = await collect(batches, maxBytes);
    const kinds = ordered.map(({ kind }) => KINDS.indexOf(kind as (typeof KINDS)[number]));
    expect(kinds.every((position, i) => i === 0 || kinds[i - 1]! <= position)).toBe(true);
    const found = await collectRecords(streamOf(ordered));
    for (const kind of KINDS) {
      expect(recordTexts(found.get(kind)!)).toEqual(recordTexts(expected.get(kind)!));
      expect(isInOrder(kind, found.get(kind)!), kind).toBe(true);
    }
  });

  test("is the same in memory and through a file, and whatever order records come in", async () => {
    const bytes = async (given: readonly RecordBatch[], maxBytes: number): Promise<Buffer> =>
      Buffer.concat((await collect(given, maxBytes)).map((batch) => batch.bytes));
    const inMemory = await bytes(batches, 1 << 28);
    expect((await bytes(batches, 20_000)).equals(inMemory)).toBe(true);
    expect((await bytes(batches.toReversed(), 1 << 28)).equals(inMemory)).toBe(true);
    expect((await bytes(batches.toReversed(), 5_000)).equals(inMemory)).toBe(true);
  });

  test("holds records of any size, and inodes as far from each other as can be", () => {
    const random = randomNumbers(3);
    const symlinks: RecordTypes["symlink"][] = [];
    for (let i = 0; i < 300; i++) {
      const size = i === 7 ? 1_200_000 : random(4000);
      symlinks.push({
        inode: (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32)),
        target: Buffer.alloc(size, i),
      });
    }
    const order = new KindOrder({ kinds: ["symlink"], maxBytes: 1 << 28, tmpDir: "/nonexistent" });
    for (const symlink of symlinks) order.add(packBatch("symlink", [symlink]));
    const found = [...order.drain()].flatMap((batch) => [...unpackBatch("symlink", batch)]);
    expect(found).toEqual(symlinks.toSorted((a, b) => (a.inode < b.inode ? -1 : 1)));
    order.close();
  });

  test("sorts all that came in order before something came that does not", () => {
    const node = (inode: bigint): RecordTypes["node"] => ({ inode, attribute: Buffer.alloc(72, Number(inode % 251n)) });
    const order = new KindOrder({ kinds: ["node"], maxBytes: 1 << 28, tmpDir: "/nonexistent" });
    const inodes = Array.from({ length: 5000 }, (_, i) => BigInt(i * 3 + 2));
    for (let i = 0; i < 5000; i += 500) order.add(packBatch("node", inodes.slice(i, i + 500).map(node)));
    order.add(packBatch("node", [node(10_000n), node(1n)]));
    const found = [...order.drain()].flatMap((batch) => [...unpackBatch("node", batch)]);
    const expected = [1n, ...inodes, 10_000n].toSorted((a, b) => Number(a - b));
    expect(found).toEqual(expected.map(node));
    order.close();
  });

  test("hands on what stands in order already without copying it", async () => {
    const nodes = [1n, 2n, 3n].map((inode) => packBatch("node", [{ inode, attribute: Buffer.alloc(4000) }]));
    const order = new KindOrder({ kinds: ["node"], maxBytes: 1 << 28, tmpDir: tmpdir() });
    for (const batch of nodes) order.add(batch);
    expect([...order.drain()]).toEqual(nodes);
    order.close();
  });
});

describe("the ceiling of memory", () => {
  const order = (maxBytes: number): KindOrder =>
    new KindOrder({ kinds: ["symlink", "sustained"], maxBytes, tmpDir: "/nonexistent" });

  test("is used up before anything is written to the temporary directory", () => {
    const held = order(100_000);
    for (let i = 80n; i > 0n; i--) held.add(packBatch("symlink", [{ inode: i, target: Buffer.alloc(988) }]));
    const inodes = [...held.drain()].flatMap((batch) => [...unpackBatch("symlink", batch)]).map(({ inode }) => inode);
    expect(inodes).toEqual(Array.from({ length: 80 }, (_, i) => BigInt(i + 1)));
    held.close();
  });

  test("includes what sorting takes, which for short records is more than they are", () => {
    const held = order(100_000);
    const add = (): void => {
      for (let i = 4000n; i > 0n; i--) held.add(packBatch("sustained", [{ sid: 1n, inode: i }]));
    };
    expect(add).toThrow(/Cannot write a temporary file in \/nonexistent/);
    held.close();
  });
});

test("the ceiling counts what is set aside for inodes that are far from each other", () => {
  const order = new KindOrder({ kinds: ["delFile"], maxBytes: 1_000_000, tmpDir: "/nonexistent" });
  const add = (): void => {
    // 24 bytes each, but none shares its neighbourhood with another
    for (let i = 4000n; i > 0n; i--) order.add(packBatch("delFile", [{ inode: i << 20n, length: 0n, expire: 0n }]));
  };
  expect(add).toThrow(/Cannot write a temporary file in \/nonexistent/);
  order.close();
});

test("node records that were replaced come once, in their place, as they are now", async () => {
  const order = new KindOrder({ kinds: ["node", "edge"], maxBytes: 1 << 28, tmpDir: tmpdir() });
  const node = (inode: bigint, fill: number): RecordTypes["node"] => ({ inode, attribute: Buffer.alloc(72, fill) });
  order.add(packBatch("node", [node(9n, 1), node(3n, 1)]));
  order.add(packBatch("node", [node(5n, 1), node(7n, 1)]));
  const { repair } = order;
  expect(await repair.readNodes([3n])).toEqual([Buffer.alloc(72, 1)]);
  await repair.replaceNodes(packBatch("node", [node(3n, 2)]));
  order.add(packBatch("node", [node(4n, 3)]));
  expect(await repair.readNodes([6n])).toEqual([undefined]);
  expect(await repair.readNodes([9n])).toEqual([Buffer.alloc(72, 1)]);
  await repair.replaceNodes(packBatch("node", [node(9n, 4)]));
  const found = [...order.drain()].flatMap((batch) => [...unpackBatch("node", batch)]);
  expect(found.map(({ inode, attribute }) => [inode, attribute[0]])).toEqual([
    [3n, 2],
    [4n, 3],
    [5n, 1],
    [7n, 1],
    [9n, 4],
  ]);
  order.close();
});
