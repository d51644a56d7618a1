import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { UnnamedValues } from "../../../src/tree/unnamed-values.ts";
import { FileType } from "../../../src/volume/file-type.ts";
import { ROOT_INODE, TRASH_INODE } from "../../../src/volume/inode.ts";
import { packBatch, type RecordTypes } from "../../../src/volume/records.ts";
import type { UnsupportedValue } from "../../../src/volume/value-limits.ts";
import { streamOf } from "../../support/volume-streams.ts";

const options = { maxBytes: 1 << 20, tmpDir: tmpdir(), signal: new AbortController().signal };

function value(inode: bigint, more: Partial<UnsupportedValue> = {}): UnsupportedValue {
  return { kind: "uid", path: `inode ${inode}`, inode, value: 4_294_967_294, reason: "it is too large", ...more };
}

const edge = (parent: bigint, inode: bigint, name: string, type: number = FileType.regular): RecordTypes["edge"] => ({
  parent,
  inode,
  type,
  name: Buffer.from(name, "latin1"),
});

async function named(values: readonly UnsupportedValue[], edges?: readonly RecordTypes["edge"][]) {
  const unnamed = new UnnamedValues(options);
  try {
    for (const one of values) unnamed.add(one);
    expect(unnamed.count).toBe(values.length);
    const found: UnsupportedValue[] = [];
    const records = edges === undefined ? undefined : streamOf([packBatch("edge", edges)]);
    for await (const one of unnamed.named(records)) found.push(one);
    return found;
  } finally {
    unnamed.close();
  }
}

test("values get the path of the first place of their inode, also in the trash", async () => {
  const inTrash = TRASH_INODE + 1n;
  const edges = [
    edge(5n, 6n, "odd\xff"),
    edge(ROOT_INODE, 5n, "dir", FileType.directory),
    edge(ROOT_INODE, 6n, "link"),
    edge(TRASH_INODE, inTrash, "2026-11-27-04", FileType.directory),
    edge(inTrash, 8n, "1-8-gone"),
    edge(77n, 9n, "below nothing"),
  ];
  const values = [8n, 6n, ROOT_INODE, 9n, 5n, TRASH_INODE, 6n].map((inode) => value(inode));
  expect((await named(values, edges)).map(({ inode, path }) => [inode, path])).toEqual([
    [1n, "/"],
    [5n, "/dir"],
    [6n, "/dir/odd%FF"],
    [6n, "/dir/odd%FF"],
    [8n, "/.trash/2026-11-27-04/1-8-gone"],
    [9n, "inode 9"],
    [TRASH_INODE, "/.trash"],
  ]);
});

test("values stay named by inode where there is nothing to look them up in", async () => {
  expect((await named([value(7n)])).map(({ path }) => path)).toEqual(["inode 7"]);
});

test("values come back as they were, in any number and of any size", async () => {
  const values = Array.from({ length: 200 }, (_, i) =>
    value(BigInt(i % 50) + 2n, {
      kind: "xattr",
      name: Buffer.from(`user.\xff${i}`, "latin1"),
      value: Buffer.alloc(70_000, i),
      reason: `reason ${i}`,
    }),
  );
  const edges = Array.from({ length: 50 }, (_, i) => edge(ROOT_INODE, BigInt(i) + 2n, `file-${i}`));
  const wanted = values
    .map((one) => ({ ...one, path: `/file-${one.inode - 2n}` }))
    .sort((a, b) => Number(a.inode - b.inode));
  const found = await named(values, edges);
  expect(found).toHaveLength(200);
  found.forEach((one, i) => {
    const { value: bytes, name, ...rest } = one;
    const { value: wantedBytes, name: wantedName, ...wantedRest } = wanted[i]!;
    expect(rest).toEqual(wantedRest);
    expect(name!.equals(wantedName!)).toBe(true);
    expect((bytes as Buffer).equals(wantedBytes as Buffer)).toBe(true);
  });
});
