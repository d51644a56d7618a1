import { describe, expect, test } from "vitest";
import { kvRecordForm } from "../../../src/engines/kv/record-form.ts";
import { onlyRecords } from "../../../src/engines/record-form.ts";
import { redisRecordForm } from "../../../src/engines/redis/record-form.ts";
import { sqlRecordForm } from "../../../src/engines/sql/record-form.ts";
import { encodeAclRule } from "../../../src/volume/acl.ts";
import { type Attribute, encodeAttribute, newDirectoryAttribute } from "../../../src/volume/attribute.ts";
import { packBatch, type RecordBatch, type RecordTypes, unpackBatch } from "../../../src/volume/records.ts";

const FORMS = [
  ["SQL", sqlRecordForm],
  ["Redis", redisRecordForm],
  ["key-value", kvRecordForm],
] as const;

const attribute = (changes: Partial<Attribute> = {}): Buffer =>
  encodeAttribute({ ...newDirectoryAttribute(0o755, 1_700_000_000n), ...changes });

function nodes(batch: RecordBatch): string[] {
  return Array.from(unpackBatch("node", batch), ({ inode, attribute: bytes }) => `${inode} ${bytes.toString("hex")}`);
}

const references = packBatch("sliceRef", [
  { id: 0n, size: 1, refs: 2n },
  { id: 1n, size: 1, refs: 1n },
  { id: 2n, size: 1, refs: 0n },
  { id: 3n, size: 1, refs: -1n },
  { id: 4n, size: 1, refs: 2n },
  { id: 5n, size: 1, refs: (1n << 32n) + 1n },
]);
const ids = (batch: RecordBatch): bigint[] => Array.from(unpackBatch("sliceRef", batch), ({ id }) => id);

describe("the form in which records are given back", () => {
  test.each(FORMS)("by %s is the batch itself where nothing changes", (_, form) => {
    for (const batch of [
      packBatch("node", [
        { inode: 1n, attribute: attribute() },
        { inode: 2n, attribute: attribute({ accessAclId: 1 }) },
        { inode: 3n, attribute: attribute({ tier: 2 }) },
        { inode: 4n, attribute: attribute({ defaultAclId: 1, tier: 2, atimensec: 999_999_999 }) },
      ]),
      packBatch("edge", [{ parent: 1n, inode: 2n, type: 1, name: Buffer.from("a") }]),
      packBatch("chunk", [{ inode: 1n, index: 0, slices: Buffer.alloc(24, 1) }]),
      packBatch("counter", [{ name: "nextInode", value: 2n }]),
      packBatch("delFile", [{ inode: 1n, length: 1n, expire: 1_700_000_000n }]),
    ]) {
      const bytes = Buffer.from(batch.bytes);
      expect(form.stored(batch)).toBe(batch);
      expect(batch.bytes).toEqual(bytes);
    }
  });

  test("leaves out references by what an engine lists", () => {
    expect(FORMS.map(([name, form]) => [name, ids(form.stored(references))])).toEqual([
      ["SQL", [2n, 3n, 4n, 5n]],
      ["Redis", [0n, 4n, 5n]],
      ["key-value", [0n, 2n, 3n, 4n, 5n]],
    ]);
  });

  test("leaves out counters and chunks by what an engine reads", () => {
    const counters = packBatch("counter", [
      { name: "usedSpace", value: 1n },
      { name: "lastChangelog", value: 2n },
      { name: "ofAnotherVersion", value: 3n },
    ]);
    const chunks = packBatch("chunk", [
      { inode: 1n, index: 0, slices: Buffer.alloc(0) },
      { inode: 1n, index: 1, slices: Buffer.alloc(24) },
    ]);
    expect(FORMS.map(([name, form]) => [name, form.stored(counters).count, form.stored(chunks).count])).toEqual([
      ["SQL", 2, 2],
      ["Redis", 1, 1],
      ["key-value", 1, 1],
    ]);
  });

  test("says of every record that is not given back why", () => {
    for (const [, form] of FORMS) {
      for (const kind of ["sliceRef", "counter"] as const) expect(form.missing.get(kind)).toBeDefined();
      for (const kind of form.computed) expect(form.missing.get(kind)).toBeDefined();
    }
  });

  test("of SQL brings old and odd attributes into the newest form, and leaves their neighbours", () => {
    const plain = { inode: 9n, attribute: attribute() };
    const given: RecordTypes["node"][] = [
      { inode: 1n, attribute: attribute().subarray(0, 63) },
      plain,
      { inode: 2n, attribute: attribute().subarray(0, 71) },
      { inode: 3n, attribute: Buffer.concat([attribute(), Buffer.alloc(8)]) },
      plain,
      { inode: 4n, attribute: attribute({ atime: -5n, atimensec: 123_456_789 }) },
    ];
    const stored = nodes(sqlRecordForm.stored(packBatch("node", given)));
    expect(stored).toEqual(
      nodes(
        packBatch("node", [
          { inode: 1n, attribute: attribute({ parent: 0n }) },
          plain,
          { inode: 2n, attribute: attribute() },
          { inode: 3n, attribute: attribute() },
          plain,
          { inode: 4n, attribute: attribute({ atime: -4n, atimensec: 2 ** 32 - 876_543_211 }) },
        ]),
      ),
    );
    for (const [, form] of FORMS.slice(1)) {
      const batch = packBatch("node", given);
      expect(form.stored(batch)).toBe(batch);
    }
  });

  test("of SQL has no parents, and no bytes behind an ACL rule", () => {
    const rule = encodeAclRule({ owner: 1, group: 2, mask: 3, other: 4, users: [{ id: 5, perm: 6 }], groups: [] });
    const long = packBatch("acl", [{ id: 1, rule: Buffer.concat([rule, Buffer.of(1)]) }]);
    expect(sqlRecordForm.stored(long).bytes).toEqual(packBatch("acl", [{ id: 1, rule }]).bytes);
    expect(sqlRecordForm.stored(packBatch("parent", [{ inode: 1n, parent: 2n, count: 3n }])).count).toBe(0);
  });

  test("of Redis rounds times of deletion to a double", () => {
    const expire = (1n << 60n) + 1n;
    const [record] = unpackBatch(
      "delFile",
      redisRecordForm.stored(packBatch("delFile", [{ inode: 1n, length: 2n, expire }])),
    );
    expect(record).toEqual({ inode: 1n, length: 2n, expire: 1n << 60n });
  });
});

test("records that meet a condition are copied in runs, the others left out", () => {
  const records = Array.from({ length: 20 }, (_, i) => ({ inode: BigInt(i), target: Buffer.alloc(i, 65 + i) }));
  for (const wanted of [[], [0], [19], [0, 19], [3, 4, 5, 9], records.map((_, i) => i)]) {
    const kept = onlyRecords(packBatch("symlink", records), (view, at) => {
      return wanted.includes(Number(view.getBigUint64(at)));
    });
    expect(kept).toEqual(
      packBatch(
        "symlink",
        records.filter((_, i) => wanted.includes(i)),
      ),
    );
  }
});
