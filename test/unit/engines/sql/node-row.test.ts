import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ByteWriter } from "../../../../src/base/bytes.ts";
import { newNodeRow, packNodeRow, unpackNodeRow } from "../../../../src/engines/sql/node-row.ts";
import { NODE_COLUMNS } from "../../../../src/engines/sql/schema.ts";
import { type Attribute, decodeAttribute, encodeAttribute } from "../../../../src/volume/attribute.ts";
import { packBatch, unpackBatch } from "../../../../src/volume/records.ts";

type Columns = Record<string, bigint>;

const PLAIN: Columns = { inode: 5n, type: 1n, mode: 0o644n, nlink: 1n, parent: 1n };

/** The attribute record that a row with these columns gives, the others being 0; `cut` as `packNodeRow` says. */
function pack(columns: Columns): { attribute: Attribute; bytes: Buffer; inode: bigint; cut: boolean } {
  const row = newNodeRow();
  for (const [name, value] of Object.entries(columns)) {
    const i = NODE_COLUMNS.indexOf(name);
    row[2 * i] = Number(BigInt.asIntN(32, value >> 32n));
    row[2 * i + 1] = Number(BigInt.asIntN(32, value));
  }
  const writer = new ByteWriter(16);
  const cut = packNodeRow(row, writer);
  const [record] = unpackBatch("node", { kind: "node", count: 1, bytes: writer.take() });
  return { attribute: decodeAttribute(record!.attribute), bytes: record!.attribute, inode: record!.inode, cut };
}

/** The row that is stored for an attribute. */
function unpack(inode: bigint, attribute: Partial<Attribute>): Columns {
  const full = { ...pack(PLAIN).attribute, ...attribute };
  const { bytes } = packBatch("node", [{ inode, attribute: encodeAttribute(full) }]);
  const values: unknown[] = [];
  expect(unpackNodeRow(bytes, 0, values, 0)).toBe(bytes.length);
  return Object.fromEntries(NODE_COLUMNS.map((name, i) => [name, BigInt(values[i] as number | bigint)]));
}

describe("a node row becomes an attribute record", () => {
  test("with microseconds and the rest joined to seconds and nanoseconds", () => {
    const { attribute } = pack({ ...PLAIN, atime: 1700000000123456n, atimensec: 789n });
    expect([attribute.atime, attribute.atimensec]).toEqual([1700000000n, 123456789]);
  });

  test("with the nanoseconds of a negative instant modulo 2^32, as the reference reads them", () => {
    const { attribute } = pack({ ...PLAIN, mtime: -8446744069414584n, mtimensec: -321n });
    expect([attribute.mtime, attribute.mtimensec]).toEqual([-8446744069n, 3880382975]);
  });

  test("with the rest read as a signed 16-bit number", () => {
    const { attribute } = pack({ ...PLAIN, ctime: 1000000n, ctimensec: 999999999n });
    expect([attribute.ctime, attribute.ctimensec]).toEqual([1n, 2 ** 32 - 13825]);
  });

  test.each([10413792000000000n, -(2n ** 63n), 2n ** 63n - 1n])("with the seconds of %s microseconds", (micros) => {
    expect(pack({ ...PLAIN, atime: micros }).attribute.atime).toBe(micros / 1000000n);
  });

  test("with the whole seconds and the microseconds of any instant", () => {
    const seconds = fc.bigInt({ min: -9_100_000_000n, max: 9_100_000_000n });
    const micros = fc.oneof(fc.integer({ min: -2, max: 2 }), fc.integer({ min: -999_999, max: 999_999 }));
    fc.assert(
      fc.property(seconds, micros, (whole, rest) => {
        const instant = whole * 1_000_000n + BigInt(rest);
        const { attribute } = pack({ ...PLAIN, atime: instant });
        expect(attribute.atime).toBe(instant / 1_000_000n);
        expect(BigInt(attribute.atimensec)).toBe(BigInt.asUintN(32, (instant % 1_000_000n) * 1000n));
      }),
      { numRuns: 2000 },
    );
  });

  test("with wide columns cut to the width of the field", () => {
    const wide = pack({ ...PLAIN, flags: 257n, uid: -1n, nlink: -1n, gid: 2n ** 32n + 5n, tier_id: 259n });
    expect(wide.attribute).toMatchObject({ flags: 1, uid: 2 ** 32 - 1, nlink: 2 ** 32 - 1, gid: 5, tier: 3 });
    expect(wide.cut).toBe(false);
  });

  test("with a negative length and a trash inode as unsigned 64-bit numbers", () => {
    const packed = pack({ ...PLAIN, inode: 9223372032828243968n, length: -1n, parent: -2n });
    expect(packed.inode).toBe(9223372032828243968n);
    expect(packed.attribute).toMatchObject({ length: 2n ** 64n - 1n, parent: 2n ** 64n - 2n });
  });

  test("and says so when mode bits or a type have no room in it", () => {
    expect(pack({ ...PLAIN, mode: 0o170644n })).toMatchObject({ cut: true, attribute: { mode: 0o644, type: 1 } });
    expect(pack({ ...PLAIN, type: 18n })).toMatchObject({ cut: true, attribute: { type: 15 } });
    expect(pack({ ...PLAIN, type: 15n })).toMatchObject({ cut: false, attribute: { type: 15 } });
    expect(pack({ ...PLAIN, type: 258n })).toMatchObject({ cut: false, attribute: { type: 2 } });
    expect(pack({ ...PLAIN, type: 9n })).toMatchObject({ cut: false, attribute: { type: 9 } });
  });

  test.each([
    [{}, 72],
    [{ tier_id: 2n }, 73],
    [{ access_acl_id: 3n }, 80],
    [{ default_acl_id: 3n, tier_id: 2n }, 81],
  ])("of the canonical length: %o", (columns, size) => {
    const { bytes, attribute } = pack({ ...PLAIN, ...columns });
    expect(bytes.length).toBe(size);
    expect(encodeAttribute(attribute)).toEqual(bytes);
  });
});

describe("an attribute record becomes a node row", () => {
  test("with true microseconds also where the reference's nanoseconds would wrap", () => {
    expect(unpack(5n, { atime: 10413792000n, atimensec: 0 })).toMatchObject({
      atime: 10413792000000000n,
      atimensec: 0n,
    });
    expect(unpack(5n, { atime: 10413792000n, atimensec: 1001 })).toMatchObject({
      atime: 10413792000000001n,
      atimensec: 1n,
    });
    expect(unpack(5n, { atime: -10413792000n, atimensec: 0 })).toMatchObject({
      atime: -10413792000000000n,
      atimensec: 0n,
    });
  });

  test("with both parts of a negative instant negative", () => {
    expect(unpack(5n, { mtime: -5n, mtimensec: 999999999 })).toMatchObject({ mtime: -4000000n, mtimensec: -1n });
    expect(unpack(5n, { mtime: -12000000000n, mtimensec: 1 })).toMatchObject({
      mtime: -11999999999999999n,
      mtimensec: -999n,
    });
  });

  test("with nanoseconds of 10^9 and more taken as a wrapped negative instant", () => {
    expect(unpack(5n, { mtime: -8446744069n, mtimensec: 3880382975 })).toMatchObject({
      mtime: -8446744069414584n,
      mtimensec: -321n,
    });
  });

  test("with an instant beyond 64 bits set to the nearest one", () => {
    expect(unpack(5n, { mtime: 2n ** 62n, mtimensec: 0 }).mtime).toBe(2n ** 63n - 1n);
  });

  test("refusing a record that is too short", () => {
    const { bytes } = packBatch("node", [{ inode: 7n, attribute: Buffer.alloc(62) }]);
    expect(() => unpackNodeRow(bytes, 0, [], 0)).toThrow(
      "Cannot store inode 7: its attribute record has only 62 bytes",
    );
  });
});

test("rows and records convert to each other without loss", () => {
  const seconds = fc.oneof(
    fc.bigInt({ min: -9000000001n, max: 9000000001n }),
    fc.bigInt({ min: -(10n ** 12n), max: 10n ** 12n }),
  );
  const time = fc.tuple(seconds, fc.integer({ min: 0, max: 999999999 })).map(([sec, nsec]) => {
    // A negative instant is read back only when it is a whole second (docs/spec/sql.md §4.1).
    return sec < 0n ? ([sec, 0] as const) : ([sec, nsec] as const);
  });
  const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const u12 = fc.integer({ min: 0, max: 0xfff });
  fc.assert(
    fc.property(
      u64,
      u32,
      u12,
      fc.tuple(time, time, time),
      fc.tuple(u32, u64, u32, u64),
      fc.tuple(u32, u32, u12),
      (...v) => {
        const [inode, uid, mode, times, [nlink, length, rdev, parent], [accessAclId, defaultAclId, tier]] = v;
        const attribute: Attribute = {
          ...pack(PLAIN).attribute,
          ...{
            uid,
            gid: (uid ^ 1) >>> 0,
            mode,
            nlink,
            length,
            rdev,
            parent,
            accessAclId,
            defaultAclId,
            tier: tier & 3,
            flags: mode & 255,
          },
          ...{ atime: times[0][0], atimensec: times[0][1], mtime: times[1][0], mtimensec: times[1][1] },
          ...{ ctime: times[2][0], ctimensec: times[2][1] },
        };
        const back = pack(unpack(inode, attribute));
        expect(back.attribute).toEqual(attribute);
        expect(back.inode).toBe(inode);
      },
    ),
  );
});
