import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DataError } from "../../src/base/errors.ts";
import { segmentText } from "../../src/formats/binary/segment-text.ts";
import { segmentTypeOf } from "../../src/formats/binary/segment-types.ts";
import { type FlatKind, packBatch, type RecordTypes } from "../../src/volume/records.ts";
import { decodeBatch, encodeBatch, type Members } from "../support/binary-messages.ts";
import { assembleDump, bodiesByType, decodeAll, encodeAll } from "../support/binary-segments.ts";
import { collectRecords } from "../support/collect-records.ts";
import { recordTexts } from "../support/reference-binary-dump.ts";
import { streamOf } from "../support/volume-streams.ts";
import { runsOf } from "./runs.ts";

/** Numbers of every length of a varint. */
const u64 = fc.oneof(
  fc.constantFrom(0n, 1n, 127n, 128n, (1n << 28n) - 1n, 1n << 28n, (1n << 32n) - 1n, 1n << 32n, (1n << 64n) - 1n),
  fc
    .tuple(fc.bigInt(0n, (1n << 64n) - 1n), fc.integer({ min: 0, max: 63 }))
    .map(([value, shift]) => value >> BigInt(shift)),
);
const s64 = u64.map((value) => BigInt.asIntN(64, value));
const inode = u64.filter((value) => value !== 0n);
const u32 = u64.map((value) => Number(BigInt.asUintN(32, value)));
const bytes = (min: number, max: number) =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((a) => Buffer.from(a));
const name = fc
  .string({ unit: "binary", minLength: 1, maxLength: 40 })
  .filter((text) => Buffer.from(text).toString() === text);

const quota = fc.record({ key: u64, maxSpace: s64, maxInodes: s64, usedSpace: s64, usedInodes: s64 });

/** One kind of record: how to make one, its segment, and the same as members of a Batch. */
interface KindCase<K extends FlatKind> {
  readonly kind: K;
  readonly type: number;
  readonly records: fc.Arbitrary<RecordTypes[K]>;
  readonly list: string;
  readonly members: (record: RecordTypes[K]) => Members;
}

const same = (record: object): Members => ({ ...record });

const CASES = [
  {
    kind: "counter",
    type: 2,
    records: fc.record({ name, value: s64 }),
    list: "counters",
    members: (r) => ({ key: r.name, value: r.value }),
  } satisfies KindCase<"counter">,
  {
    kind: "node",
    type: 3,
    records: fc.record({ inode, attribute: bytes(63, 300) }),
    list: "nodes",
    members: (r) => ({ inode: r.inode, data: r.attribute }),
  } satisfies KindCase<"node">,
  {
    kind: "edge",
    type: 4,
    records: fc.record({ parent: inode, inode, type: fc.integer({ min: 0, max: 255 }), name: bytes(1, 300) }),
    list: "edges",
    members: same,
  } satisfies KindCase<"edge">,
  {
    kind: "chunk",
    type: 5,
    records: fc.record({
      inode,
      index: u32,
      slices: bytes(0, 20).map((b) => Buffer.concat(Array.from({ length: b.length }, () => Buffer.alloc(24, b[0])))),
    }),
    list: "chunks",
    members: same,
  } satisfies KindCase<"chunk">,
  {
    kind: "sliceRef",
    type: 6,
    records: fc.record({ id: inode, size: u32, refs: s64 }),
    list: "sliceRefs",
    members: same,
  } satisfies KindCase<"sliceRef">,
  {
    kind: "symlink",
    type: 7,
    records: fc.record({ inode, target: bytes(0, 200) }),
    list: "symlinks",
    members: same,
  } satisfies KindCase<"symlink">,
  {
    kind: "delFile",
    type: 9,
    records: fc.record({ inode, length: u64, expire: s64 }),
    list: "delfiles",
    members: same,
  } satisfies KindCase<"delFile">,
  {
    kind: "xattr",
    type: 10,
    records: fc.record({ inode, name: name.map((text) => Buffer.from(text)), value: bytes(0, 200) }),
    list: "xattrs",
    members: (r) => ({ inode: r.inode, name: r.name.toString(), value: r.value }),
  } satisfies KindCase<"xattr">,
  {
    kind: "acl",
    type: 11,
    records: fc.record({ id: u32, rule: bytes(0, 60) }),
    list: "acls",
    members: (r) => ({ id: r.id, data: r.rule }),
  } satisfies KindCase<"acl">,
  {
    kind: "dirStat",
    type: 12,
    records: fc.record({ inode, dataLength: s64, usedSpace: s64, usedInodes: s64 }),
    list: "dirstats",
    members: same,
  } satisfies KindCase<"dirStat">,
  { kind: "quota", type: 13, records: quota, list: "quotas", members: same } satisfies KindCase<"quota">,
  {
    kind: "userQuota",
    type: 13,
    records: quota,
    list: "userQuotas",
    members: (r) => ({ ...r, type: 1 }),
  } satisfies KindCase<"userQuota">,
  {
    kind: "groupQuota",
    type: 13,
    records: quota,
    list: "groupQuotas",
    members: (r) => ({ ...r, type: 2 }),
  } satisfies KindCase<"groupQuota">,
  {
    kind: "parent",
    type: 14,
    records: fc.record({ inode, parent: u64, count: s64 }),
    list: "parents",
    members: (r) => ({ inode: r.inode, parent: r.parent, cnt: r.count }),
  } satisfies KindCase<"parent">,
  {
    kind: "changeLog",
    type: 15,
    records: fc.record({ version: s64, entry: bytes(0, 200) }),
    list: "changelogs",
    members: same,
  } satisfies KindCase<"changeLog">,
] as unknown as readonly KindCase<FlatKind>[];

const SETTING = packBatch("setting", [{ json: Buffer.from("{}") }]);
const FORMAT = { type: 1, body: Buffer.from([0x0a, 0x02, 0x7b, 0x7d]) };

describe.each(CASES)("records of kind $kind", ({ kind, type, records, list, members }) => {
  const lists = fc.array(records, { minLength: 1, maxLength: 30 });

  test("are encoded as the protobuf library encodes them", async () => {
    await fc.assert(
      fc.asyncProperty(lists, async (made) => {
        const encoded = await encodeAll([SETTING, packBatch(kind, made as never[])]);
        const body = bodiesByType(encoded).get(type)!;
        expect(body.equals(encodeBatch({ [list]: made.map(members) }))).toBe(true);
      }),
      runsOf(60),
    );
  });

  test("are decoded from what it encodes, cut into pieces anywhere", async () => {
    await fc.assert(
      fc.asyncProperty(lists, fc.integer({ min: 1, max: 60 }), async (made, pieceBytes) => {
        const dump = assembleDump([FORMAT, { type, body: encodeBatch({ [list]: made.map(members) }) }]);
        const decoded = await collectRecords(streamOf((await decodeAll(dump, pieceBytes)).batches));
        expect(recordTexts(decoded.get(kind)!)).toEqual(recordTexts(made));
      }),
      runsOf(60),
    );
  });

  test("are shown with the numbers that the library reads", () => {
    fc.assert(
      fc.property(lists, (made) => {
        const body = encodeBatch({ [list]: made.map(members) });
        const shown = JSON.parse(segmentText(segmentTypeOf(type)!, body)) as Record<string, Record<string, unknown>[]>;
        const read = decodeBatch(body)[list] as Record<string, unknown>[];
        const texts = read.map((message) => {
          const known = Object.entries(message).filter(([field]) => !field.startsWith("$"));
          return Object.fromEntries(
            known.map(([field, value]) => [field, shownValue(value)]).filter(([, value]) => value !== ""),
          );
        });
        expect(shown[list]).toEqual(texts);
      }),
      runsOf(30),
    );
  });
});

/** JSON form of a field; empty for what is left out. */
function shownValue(value: unknown): unknown {
  if (typeof value === "bigint") return value === 0n ? "" : String(value);
  if (typeof value === "number") return value === 0 ? "" : value;
  return value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
}

test("sustained inodes are grouped by session, as the library reads and writes them", async () => {
  const lists = fc.array(fc.tuple(inode, fc.array(inode, { minLength: 1, maxLength: 50 })), {
    minLength: 1,
    maxLength: 8,
  });
  await fc.assert(
    fc.asyncProperty(lists, fc.integer({ min: 1, max: 60 }), async (made, pieceBytes) => {
      const sessions = made.filter(([sid], i) => i === 0 || made[i - 1]![0] !== sid);
      const records = sessions.flatMap(([sid, inodes]) => inodes.map((of) => ({ sid, inode: of })));
      const body = encodeBatch({ sustained: sessions.map(([sid, inodes]) => ({ sid, inodes })) });
      const encoded = await encodeAll([SETTING, packBatch("sustained", records)]);
      expect(bodiesByType(encoded).get(8)!.equals(body)).toBe(true);
      const decoded = await collectRecords(streamOf((await decodeAll(encoded, pieceBytes)).batches));
      expect(decoded.get("sustained")).toEqual(records);
    }),
    runsOf(60),
  );
});

test("a dump with any byte changed is decoded or refused as bad data, and never crashes", async () => {
  const records = CASES.map(({ kind, records: made }) => [kind, fc.sample(made, { numRuns: 3, seed: 5 })] as const);
  const dump = await encodeAll([SETTING, ...records.map(([kind, made]) => packBatch(kind, made as never[]))]);
  await fc.assert(
    fc.asyncProperty(
      fc.nat(dump.length - 1),
      fc.integer({ min: 1, max: 255 }),
      fc.integer({ min: 1, max: 99 }),
      async (at, flip, size) => {
        const changed = Buffer.from(dump);
        changed[at]! ^= flip;
        await decodeAll(changed, size).catch((error: unknown) => {
          if (!(error instanceof DataError)) throw error;
          expect(error.location.offset).toBeLessThanOrEqual(changed.length);
        });
      },
    ),
    runsOf(600),
  );
});
