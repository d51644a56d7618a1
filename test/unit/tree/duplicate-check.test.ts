import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import { DataError } from "../../../src/base/errors.ts";
import { findSuspects, RepeatedRecordsError, watchForDuplicates } from "../../../src/tree/duplicate-check.ts";
import { RepeatedRecords } from "../../../src/tree/repeated-records.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../../src/volume/attribute.ts";
import { TRASH_INODE } from "../../../src/volume/inode.ts";
import { packBatch, type RecordBatch, type RecordTypes } from "../../../src/volume/records.ts";
import { streamOf } from "../../support/volume-streams.ts";

interface Checked {
  /** What was passed on before something was found, and whether it was found with its name. */
  readonly passed: number;
  readonly record: string | undefined;
  readonly isSuspicious: boolean;
  /** After a second reading. */
  readonly dropped: readonly string[];
  readonly kept: readonly RecordBatch[];
}

/** Does what a load does: watches the records pass, and where something is suspected compares them in a second reading. */
async function check(batches: readonly RecordBatch[], maxBytes: number = 1 << 24): Promise<Checked> {
  const read = () => streamOf(batches.map((batch) => ({ ...batch, bytes: Buffer.from(batch.bytes) })));
  const options = { maxBytes, tmpDir: tmpdir() };
  let passed = 0;
  const error: unknown = await (async () => {
    for await (const { count } of watchForDuplicates(read(), options)) passed += count;
  })().catch((thrown: unknown) => thrown);
  const none = { passed, record: undefined, isSuspicious: false, dropped: [], kept: batches };
  if (error === undefined) return none;
  expect(error).toBeInstanceOf(RepeatedRecordsError);
  const { record, suspects } = error as RepeatedRecordsError;
  const dropped: string[] = [];
  const found = suspects ?? (await findSuspects(read(), options));
  const repeated = new RepeatedRecords(found, (name) => dropped.push(name()));
  const kept: RecordBatch[] = [];
  for await (const batch of repeated.filter(read())) kept.push(batch);
  expect(repeated.identical).toBe(dropped.length);
  return { passed, record, isSuspicious: true, dropped, kept };
}

async function errorOf(batches: readonly RecordBatch[], maxBytes?: number): Promise<DataError> {
  const error: unknown = await check(batches, maxBytes).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(DataError);
  expect((error as DataError).code).toBe("DECANT_E_DUPLICATE");
  return error as DataError;
}

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
const edge = (parent: bigint, name: string, inode = 9n): RecordTypes["edge"] => ({
  parent,
  inode,
  type: 1,
  name: bytes(name),
});
const attribute = encodeAttribute(newDirectoryAttribute(0o755, 1n));
const slices = Buffer.alloc(24);
const quota = { key: 7n, maxSpace: 1n, maxInodes: 1n, usedSpace: 0n, usedInodes: 0n };
const stat = { inode: 7n, dataLength: 0n, usedSpace: 0n, usedInodes: 0n };

const other = (batch: RecordBatch): RecordBatch => {
  const changed = Buffer.from(batch.bytes);
  changed[changed.length - 1]! ^= 1;
  return { ...batch, bytes: changed };
};

/** What there is one of in a volume, and whether it is known without a second reading. */
const CASES: readonly (readonly [what: string, isCertain: boolean, one: () => RecordBatch])[] = [
  [`attribute record of inode ${TRASH_INODE}`, true, () => packBatch("node", [{ inode: TRASH_INODE, attribute }])],
  ["chunk 0 of inode 5", true, () => packBatch("chunk", [{ inode: 5n, index: 0, slices }])],
  ["chunk 3 of inode 5", false, () => packBatch("chunk", [{ inode: 5n, index: 3, slices }])],
  ["link target of inode 5", true, () => packBatch("symlink", [{ inode: 5n, target: bytes("t") }])],
  [
    "extended attribute user.%FF of inode 5",
    false,
    () => packBatch("xattr", [{ inode: 5n, name: bytes("user.\xff"), value: bytes("v") }]),
  ],
  ["statistics of directory 7", true, () => packBatch("dirStat", [stat])],
  ["quota of directory 7", true, () => packBatch("quota", [quota])],
  ["quota of user 7", false, () => packBatch("userQuota", [quota])],
  ["quota of group 7", false, () => packBatch("groupQuota", [quota])],
  ["ACL rule 7", false, () => packBatch("acl", [{ id: 7, rule: Buffer.alloc(12) }])],
  ["references of slice 7", true, () => packBatch("sliceRef", [{ id: 7n, size: 1, refs: 2n }])],
  ["pending deletion of inode 7", true, () => packBatch("delFile", [{ inode: 7n, length: 1n, expire: 2n }])],
  ["link count of inode 7 in directory 8", false, () => packBatch("parent", [{ inode: 7n, parent: 8n, count: 2n }])],
];
/** A record whose name is its end: another end is another record. */
const ENTRY = ["entry a%00b of directory 1", () => packBatch("edge", [edge(1n, "a\0b")])] as const;
const OPEN_FILE = ["open inode 8 of session 7", () => packBatch("sustained", [{ sid: 7n, inode: 8n }])] as const;

describe("records of which a volume has only one", () => {
  const between = packBatch("edge", [edge(2n, "between")]);

  test.each(CASES)("are named when two of them differ: %s", async (what, isCertain, one) => {
    const error = await errorOf([one(), between, other(one())]);
    expect(error.message).toBe(`The dump has the ${what} twice`);
    expect(error.location).toEqual({ key: what });
    expect(error.hint).toContain("decant verify");
    // The second record of a number has not been passed on: an engine would refuse it, or keep it.
    const watched = await check([one(), between, one()]);
    expect(watched.passed).toBe(isCertain ? 2 : 3);
    expect(watched.record).toBe(isCertain ? what : undefined);
  });

  test.each([...CASES.map(([what, , one]) => [what, one] as const), ENTRY, OPEN_FILE])(
    "are kept once when they are the same, byte for byte: %s",
    async (what, one) => {
      const { dropped, kept } = await check([one(), between, one(), one()]);
      expect(dropped).toEqual([what, what]);
      expect(kept).toEqual([one(), between]);
    },
  );

  test("are told from their neighbours in a batch", async () => {
    const edges = ["a", "b", "b", "c", "a", "d"].map((name) => edge(1n, name));
    const { dropped, kept } = await check([packBatch("edge", edges)]);
    expect(dropped).toEqual(["entry b of directory 1", "entry a of directory 1"]);
    expect(kept).toEqual([
      packBatch(
        "edge",
        ["a", "b", "c", "d"].map((name) => edge(1n, name)),
      ),
    ]);
  });

  test("are named although others are only repeated", async () => {
    const edges = [edge(1n, "same"), edge(1n, "same"), edge(1n, "other", 3n), edge(1n, "other", 4n)];
    expect((await errorOf([packBatch("edge", edges)])).message).toBe(
      "The dump has the entry other of directory 1 twice",
    );
  });

  test("may agree in everything but their key", async () => {
    const batches = [
      packBatch("edge", [edge(1n, "a"), edge(2n, "a"), edge(1n, "b"), edge(1n, "a\0"), edge(1n, "aaaa"), edge(1n, "")]),
      packBatch(
        "xattr",
        [1n, 2n].map((inode) => ({ inode, name: bytes("a"), value: bytes("v") })),
      ),
      packBatch(
        "chunk",
        [0, 1, 2].map((index) => ({ inode: 1n, index, slices })),
      ),
      packBatch(
        "chunk",
        [0, 1, 2].map((index) => ({ inode: 2n, index, slices })),
      ),
      packBatch("userQuota", [quota]),
      packBatch("groupQuota", [quota]),
      packBatch(
        "parent",
        [1n, 2n].map((parent) => ({ inode: 1n, parent, count: 1n })),
      ),
      packBatch(
        "sustained",
        [1n, 2n].map((inode) => ({ sid: 1n, inode })),
      ),
      packBatch("sustained", [{ sid: 2n, inode: 1n }]),
    ];
    expect(await check(batches)).toMatchObject({ isSuspicious: false, kept: batches });
  });

  test("are all named, up to a hundred, when there are many", async () => {
    const edges = (inode: bigint) => Array.from({ length: 1500 }, (_, i) => edge(1n, `name-${i}`, inode));
    const { message, details } = await errorOf([packBatch("edge", edges(8n)), packBatch("edge", edges(9n))]);
    expect(message).toBe("The dump has the entry name-0 of directory 1 twice, and 1499 more");
    expect(details).toHaveLength(101);
    expect(details.at(-1)).toBe("and 1400 more");
  });

  test("are found when their hashes do not fit into the memory", async () => {
    const edges = Array.from({ length: 300_000 }, (_, i) => edge(BigInt(i >> 8), `name-${i}`));
    const batches = [packBatch("edge", edges), packBatch("edge", [edge(77n, `name-${77 * 256 + 5}`)])];
    const { dropped } = await check(batches, 1 << 20);
    expect(dropped).toEqual([`entry name-${77 * 256 + 5} of directory 77`]);
  });

  test("are not all remembered where there are more than the memory holds", async () => {
    const batch = packBatch(
      "node",
      Array.from({ length: 5000 }, (_, i) => ({ inode: BigInt(i + 1), attribute })),
    );
    const suspects = await findSuspects(streamOf([batch, batch]), { maxBytes: 1 << 20, tmpDir: tmpdir() });
    expect([suspects.size, suspects.isComplete]).toEqual([4096, false]);
  });
});

test("names whose hashes are equal are compared themselves", async () => {
  const names = ["aaaaaaaaaaaa", Buffer.from("485f4a795f6161614dabc695", "hex").toString("latin1")];
  const edges = names.map((name) => edge(1n, name));
  // Read again, and found to be different.
  const { isSuspicious, dropped, kept } = await check([packBatch("edge", edges)]);
  expect([isSuspicious, dropped, kept]).toEqual([true, [], [packBatch("edge", edges)]]);
  const { message } = await errorOf([packBatch("edge", [...edges, { ...edges[1]!, inode: 7n }])]);
  expect(message).toBe("The dump has the entry H_Jy_aaaM%AB%C6%95 of directory 1 twice");
});
