import fc from "fast-check";
import { expect, test } from "vitest";
import { type DigestBatch, RecordDigest } from "../../src/tree/record-digest.ts";
import { packBatch, type XattrRecord } from "../../src/volume/records.ts";
import { runsOf } from "./runs.ts";

const bytes = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const xattrs: fc.Arbitrary<XattrRecord[]> = fc.array(
  fc.record({ inode: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), name: bytes(20), value: bytes(60) }),
  { minLength: 1, maxLength: 30 },
);

function digestOf(records: readonly XattrRecord[]): RecordDigest {
  const digest = new RecordDigest();
  digest.add(packBatch("xattr", records) as DigestBatch);
  return digest;
}

test("records of any content have one digest, whatever their order and their batches", () => {
  fc.assert(
    fc.property(xattrs, fc.infiniteStream(fc.nat()), (records, numbers) => {
      const left = [...records];
      const digest = new RecordDigest();
      while (left.length > 0) {
        const some = left.splice(numbers.next().value! % left.length, 1 + (numbers.next().value! % 3));
        digest.add(packBatch("xattr", some) as DigestBatch);
      }
      expect(digest.equals(digestOf(records))).toBe(true);
    }),
    runsOf(300),
  );
});

test("a byte that is changed, exchanged with one of another record or moved there makes another digest", () => {
  fc.assert(
    fc.property(xattrs, fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), (records, first, second, change) => {
      const original = digestOf(records);
      const changed: XattrRecord[] = records.map((record) => ({ ...record, value: Buffer.from(record.value) }));
      const one = changed[first % changed.length]!;
      const other = changed[second % changed.length]!;
      const bytesOf = [one, other].map(({ value }) => value);
      if (one.value.length > 0) {
        one.value[first % one.value.length]! ^= change;
        expect(digestOf(changed).equals(original)).toBe(false);
        one.value[first % one.value.length]! ^= change;
      }
      [one.value, other.value] = [other.value, one.value];
      expect(digestOf(changed).equals(original)).toBe(isSame(records, changed));
      [one.value, other.value] = bytesOf as [Buffer, Buffer];
      if (one === other || one.value.length === 0) return;
      other.value = Buffer.concat([other.value, one.value.subarray(-1)]);
      one.value = one.value.subarray(0, -1);
      expect(digestOf(changed).equals(original)).toBe(isSame(records, changed));
    }),
    runsOf(1000),
  );
});

test("a record that is missing, there twice or added makes another digest", () => {
  fc.assert(
    fc.property(xattrs, fc.nat(), (records, at) => {
      const original = digestOf(records);
      const record = records[at % records.length]!;
      expect(digestOf(records.filter((other) => other !== record)).equals(original)).toBe(false);
      expect(digestOf([...records, record]).equals(original)).toBe(false);
      expect(digestOf([...records.filter((other) => other !== record), record]).equals(original)).toBe(true);
    }),
    runsOf(300),
  );
});

/** Whether two lists have the same records. */
function isSame(a: readonly XattrRecord[], b: readonly XattrRecord[]): boolean {
  const text = (records: readonly XattrRecord[]): string[] =>
    records.map(({ inode, name, value }) => `${inode} ${name.toString("hex")} ${value.toString("hex")}`).sort();
  return JSON.stringify(text(a)) === JSON.stringify(text(b));
}
