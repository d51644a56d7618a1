import { describe, expect, test } from "vitest";
import { type DigestBatch, RecordDigest } from "../../../src/tree/record-digest.ts";
import { type FlatKind, packBatch, type RecordTypes } from "../../../src/volume/records.ts";

function digestOf<K extends Exclude<FlatKind, "setting">>(kind: K, ...batches: RecordTypes[K][][]): RecordDigest {
  const digest = new RecordDigest();
  for (const records of batches) digest.add(batchOf(kind, records));
  return digest;
}

function batchOf<K extends Exclude<FlatKind, "setting">>(kind: K, records: RecordTypes[K][]): DigestBatch {
  return packBatch(kind, records) as DigestBatch;
}

const edge = (parent: bigint, name: string, inode: bigint): RecordTypes["edge"] => ({
  parent,
  inode,
  type: 1,
  name: Buffer.from(name),
});
const EDGES = [edge(1n, "a", 2n), edge(1n, "b", 3n), edge(2n, "a", 4n), edge(1n, "a longer name than the others", 5n)];

describe("the digest of records", () => {
  test("is the same in any order and in any batches", () => {
    const [a, b, c, d] = EDGES as [RecordTypes["edge"], RecordTypes["edge"], RecordTypes["edge"], RecordTypes["edge"]];
    const together = digestOf("edge", [a, b, c, d]);
    expect(digestOf("edge", [d, c], [b], [a]).equals(together)).toBe(true);
    expect(digestOf("edge", [c, a, d, b]).sum).toBe(together.sum);
    expect([together.count, together.bytes]).toEqual([4, 4 * 19 + 3 + 29]);
  });

  test("is another one after a change of any single bit", () => {
    const bytes = packBatch("edge", EDGES).bytes;
    const seen = new Set([digestOf("edge", EDGES).sum]);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      const isSize = EDGES.some((_, i) => {
        const start = packBatch("edge", EDGES.slice(0, i)).bytes.length;
        return bit >> 3 === start + 17 || bit >> 3 === start + 18;
      });
      if (isSize) continue; // another size would be no batch any more
      const digest = new RecordDigest();
      digest.add({ kind: "edge", count: EDGES.length, bytes: changed });
      seen.add(digest.sum);
    }
    expect(seen.size).toBe(1 + (bytes.length - 2 * EDGES.length) * 8);
  });

  test("is another one when records have exchanged a part, or a byte has moved from one to the next", () => {
    const all = [
      [edge(1n, "a", 2n), edge(2n, "b", 3n)],
      [edge(1n, "b", 2n), edge(2n, "a", 3n)],
      [edge(1n, "a", 3n), edge(2n, "b", 2n)],
      [edge(2n, "a", 2n), edge(1n, "b", 3n)],
      [edge(1n, "", 2n), edge(2n, "ab", 3n)],
      [edge(1n, "ab", 2n), edge(2n, "", 3n)],
      [edge(1n, "a\0", 2n), edge(2n, "", 3n)],
    ];
    expect(new Set(all.map((records) => digestOf("edge", records).sum)).size).toBe(all.length);
  });

  test("tells one, two and three of the same record", () => {
    const [record] = EDGES;
    const sums = [0, 1, 2, 3].map((times) => digestOf("edge", Array(times).fill(record!)).sum);
    expect(new Set(sums).size).toBe(4);
    expect(sums[0]).toBe("0".repeat(32));
  });

  test("tells records that are shorter than a block, and zeros at their ends", () => {
    const names = ["", "a", "ab", "abc", "abc\0", "abc\0\0", "\0", "\0\0", "\0a", "abcd", "abcde", "abcdef"];
    const sums = names.map((name) => digestOf("counter", [{ name, value: 0n }]).sum);
    expect(new Set(sums).size).toBe(names.length);
  });

  test("loses what is taken out again", () => {
    const digest = digestOf("edge", EDGES);
    digest.remove(batchOf("edge", EDGES.slice(1, 3)));
    expect(digest.equals(digestOf("edge", [EDGES[0]!, EDGES[3]!]))).toBe(true);
    digest.remove(batchOf("edge", [EDGES[0]!, EDGES[3]!]));
    expect(digest.equals(new RecordDigest())).toBe(true);
  });

  test("takes what is above 2^53 and 2^63 as it is", () => {
    const numbers = [2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 63n + 1n, 2n ** 64n - 1n];
    expect(new Set(numbers.map((inode) => digestOf("edge", [edge(inode, "x", 1n)]).sum)).size).toBe(numbers.length);
  });

  test("leaves the batch as it is", () => {
    const batch = batchOf("edge", EDGES);
    const before = Buffer.from(batch.bytes);
    new RecordDigest().add(batch);
    expect(batch.bytes).toEqual(before);
  });
});
