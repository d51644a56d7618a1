import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import { DataError } from "../../../src/base/errors.ts";
import { refuseDuplicates } from "../../../src/tree/duplicate-check.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../../src/volume/attribute.ts";
import { TRASH_INODE } from "../../../src/volume/inode.ts";
import { packBatch, type RecordBatch, type RecordTypes } from "../../../src/volume/records.ts";
import { streamOf } from "../../support/volume-streams.ts";

interface Shape {
  readonly isStream?: boolean;
  readonly maxBytes?: number;
}

async function check(batches: readonly RecordBatch[], { isStream = false, maxBytes = 1 << 24 }: Shape = {}) {
  let readings = 0;
  const again = (): ReturnType<typeof streamOf> => {
    readings++;
    return streamOf(batches);
  };
  const options = { maxBytes, tmpDir: tmpdir() };
  for await (const _ of refuseDuplicates(streamOf(batches), options, isStream ? undefined : again));
  return readings;
}

async function errorOf(batches: readonly RecordBatch[], shape: Shape = {}): Promise<DataError> {
  const error: unknown = await check(batches, shape).catch((thrown: unknown) => thrown);
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

describe("records of which a volume has only one", () => {
  const cases: readonly (readonly [what: string, one: () => RecordBatch])[] = [
    [`attribute record of inode ${TRASH_INODE}`, () => packBatch("node", [{ inode: TRASH_INODE, attribute }])],
    ["entry a%00b of directory 1", () => packBatch("edge", [edge(1n, "a\0b")])],
    ["chunk 0 of inode 5", () => packBatch("chunk", [{ inode: 5n, index: 0, slices }])],
    ["chunk 3 of inode 5", () => packBatch("chunk", [{ inode: 5n, index: 3, slices }])],
    ["link target of inode 5", () => packBatch("symlink", [{ inode: 5n, target: bytes("t") }])],
    [
      "extended attribute user.%FF of inode 5",
      () => packBatch("xattr", [{ inode: 5n, name: bytes("user.\xff"), value: bytes("v") }]),
    ],
    ["statistics of directory 7", () => packBatch("dirStat", [stat])],
    ["quota of directory 7", () => packBatch("quota", [quota])],
    ["quota of user 7", () => packBatch("userQuota", [quota])],
    ["quota of group 7", () => packBatch("groupQuota", [quota])],
    ["ACL rule 7", () => packBatch("acl", [{ id: 7, rule: Buffer.alloc(12) }])],
  ];

  test.each(cases)("are named when they come twice: %s", async (what, one) => {
    const error = await errorOf([one(), packBatch("edge", [edge(2n, "between")]), one()]);
    expect(error.message).toBe(`The dump has the ${what} twice`);
    expect(error.location).toEqual({ key: what });
    expect(error.hint).toContain("decant verify");
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
    ];
    expect(await check(batches)).toBe(0);
  });

  test("are all named, up to a hundred, when there are many", async () => {
    const edges = Array.from({ length: 150 }, (_, i) => edge(1n, `name-${i}`));
    const { message, details } = await errorOf([packBatch("edge", edges), packBatch("edge", edges)]);
    expect(message).toBe("The dump has the entry name-0 of directory 1 twice, and 149 more");
    expect(details).toHaveLength(101);
    expect(details.at(-1)).toBe("and 50 more");
  });

  test("are counted up to a thousand", async () => {
    const edges = Array.from({ length: 1500 }, (_, i) => edge(1n, `name-${i}`));
    const { message } = await errorOf([packBatch("edge", edges), packBatch("edge", edges)]);
    expect(message).toMatch(/^The dump has the entry name-\d+ of directory 1 twice, and at least 999 more$/);
  });

  test("are found when their hashes do not fit into the memory", async () => {
    const edges = Array.from({ length: 300_000 }, (_, i) => edge(BigInt(i >> 8), `name-${i}`));
    const batches = [packBatch("edge", edges), packBatch("edge", [edge(77n, `name-${77 * 256 + 5}`)])];
    const { message } = await errorOf(batches, { maxBytes: 1 << 20 });
    expect(message).toBe(`The dump has the entry name-${77 * 256 + 5} of directory 77 twice`);
  });

  test("are not named when they came as a stream, which cannot be read again", async () => {
    const { message, hint } = await errorOf([packBatch("edge", [edge(1n, "a"), edge(1n, "a")])], { isStream: true });
    expect(message).toBe("The dump has an entry of a directory, an extended attribute or a chunk twice");
    expect(hint).toContain("load it from a file");
  });
});

test("names whose hashes are equal are compared themselves", async () => {
  const names = ["aaaaaaaaaaaa", Buffer.from("485f4a795f6161614dabc695", "hex").toString("latin1")];
  const edges = names.map((name) => edge(1n, name));
  expect(await check([packBatch("edge", edges)])).toBe(1); // read again, and found to be different
  const { message } = await errorOf([packBatch("edge", [...edges, edges[1]!])]);
  expect(message).toBe("The dump has the entry H_Jy_aaaM%AB%C6%95 of directory 1 twice");
});
