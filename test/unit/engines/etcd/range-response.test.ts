import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ProtobufError } from "../../../../src/base/protobuf.ts";
import { RangeResponseReader } from "../../../../src/engines/etcd/range-response.ts";
import { pairsOf } from "../../../../src/engines/kv/kv-page.ts";
import { encodeEtcd } from "../../../support/etcd-messages.ts";

const PREFIX = Buffer.from("/v\xfd", "latin1");

interface Pair {
  readonly key: Buffer;
  readonly value: Buffer;
}

const bytes = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((some) => Buffer.from(some));
const int64 = fc.bigInt({ min: 0n, max: (1n << 63n) - 1n });

/** Pairs as a server sends them, with what it says beside them, and members that newer ones may add. */
const response = fc.record({
  pairs: fc.array(
    fc.record({ key: bytes(40), value: bytes(300), revision: int64, version: int64, lease: int64, newer: bytes(3) }),
    { maxLength: 30 },
  ),
  more: fc.boolean(),
  count: int64,
  newer: fc.string(),
});

function encoded({ pairs, more, count, newer }: typeof response extends fc.Arbitrary<infer T> ? T : never): Buffer {
  return encodeEtcd("RangeResponse", {
    header: { clusterId: (1n << 64n) - 1n, memberId: 7n, revision: count, raftTerm: 2n },
    kvs: pairs.map(({ key, value, revision, version, lease, newer: more }) => ({
      key: Buffer.concat([PREFIX, key]),
      createRevision: revision,
      modRevision: revision,
      version,
      value,
      lease,
      newer: more,
    })),
    more,
    count,
    newer,
  });
}

function read(reader: RangeResponseReader, message: Buffer): Pair[] {
  reader.open(message);
  const found: Pair[] = [];
  for (const page of reader.pages()) for (const [key, value] of pairsOf(page)) found.push({ key, value });
  return found;
}

describe("the answer to a request for a range", () => {
  test("gives the pairs that the protobuf library has put into it", () => {
    const reader = new RangeResponseReader(PREFIX.length);
    fc.assert(
      fc.property(response, (wanted) => {
        const found = read(reader, encoded(wanted));
        expect(found).toEqual(wanted.pairs.map(({ key, value }) => ({ key, value })));
        const whole = (pair: Pair | undefined): Buffer | undefined => pair && Buffer.concat([PREFIX, pair.key]);
        expect(reader).toMatchObject({ count: wanted.pairs.length, more: wanted.more });
        expect([reader.firstKey, reader.lastKey]).toEqual([whole(wanted.pairs[0]), whole(wanted.pairs.at(-1))]);
      }),
    );
  });

  test("comes in pages, however large its values are", () => {
    const pairs = [1, 700_000, 0, 300_000, 5, 262_144].map((size, i) => ({
      key: Buffer.from(`key ${i}`),
      value: Buffer.alloc(size, i + 1),
    }));
    const kvs = pairs.map(({ key, value }) => ({ key: Buffer.concat([PREFIX, key]), value }));
    const reader = new RangeResponseReader(PREFIX.length);
    expect(read(reader, encodeEtcd("RangeResponse", { kvs, count: 6n }))).toEqual(pairs);
  });

  test("that is cut off or damaged gives pairs or an error, and never anything else", () => {
    const reader = new RangeResponseReader(PREFIX.length);
    fc.assert(
      fc.property(response, fc.nat(), fc.nat(), fc.nat({ max: 255 }), (wanted, size, at, byte) => {
        const message = encoded(wanted);
        const damaged = Buffer.from(message.subarray(0, size % (message.length + 1)));
        if (damaged.length > 0) damaged[at % damaged.length] = byte;
        try {
          read(reader, damaged);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtobufError);
        }
      }),
      { numRuns: 2000 },
    );
    expect(() => read(reader, Buffer.of(0x12, 5, 0x0a))).toThrow(ProtobufError);
  });
});
