import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { viewOf } from "../../../../src/base/bytes.ts";
import { compare, txnRequest } from "../../../../src/engines/etcd/etcd-messages.ts";
import { hashOf, KeyHashes } from "../../../../src/engines/etcd/key-hashes.ts";
import { MAX_PUTS, PutRequestBuilder } from "../../../../src/engines/etcd/put-request.ts";
import { decodeEtcd, type EtcdTxnRequest } from "../../../support/etcd-messages.ts";

const PREFIX = Buffer.from("/v\xfd", "latin1");
const CONDITIONS = txnRequest([compare(Buffer.from("marker"), Buffer.from("1"))], []);

function add(builder: PutRequestBuilder, key: Buffer, value: Buffer): void {
  builder.add(viewOf(Buffer.concat([key, value])), 0, key.length, value.length);
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

/** Keys and values of all puts, in their order. */
function putsOf(request: EtcdTxnRequest): [string, string][] {
  return request.success.flatMap(({ requestPut, requestTxn }) => {
    if (requestTxn !== undefined) return putsOf(requestTxn);
    return [[text(requestPut!.key), text(requestPut!.value)]];
  });
}

/** As servers count: the lists on any path through the transaction, one below the other. */
function operations(request: EtcdTxnRequest): number {
  const inner = request.success.map(({ requestTxn }) => (requestTxn === undefined ? 0 : operations(requestTxn)));
  return Math.max(request.compare.length, request.success.length) + Math.max(0, ...inner);
}

describe("a request that puts pairs", () => {
  test("is the message that the protobuf library reads, with the conditions and all puts", () => {
    const bytes = (maxLength: number): fc.Arbitrary<Buffer> =>
      fc.uint8Array({ maxLength }).map((some) => Buffer.from(some));
    const pairs = fc.array(fc.tuple(bytes(300), bytes(700)), { minLength: 1, maxLength: 150 });
    const builder = new PutRequestBuilder(PREFIX);
    fc.assert(
      fc.property(pairs, (list) => {
        for (const [key, value] of list) add(builder, key, value);
        const request = decodeEtcd("TxnRequest", builder.take(CONDITIONS));
        expect(putsOf(request)).toEqual(list.map(([key, value]) => [text(PREFIX) + text(key), text(value)]));
        const conditions = request.compare.map(({ target, ...rest }) => [target, text(rest.key), text(rest.value)]);
        expect(conditions).toEqual([[3n, "marker", "1"]]);
      }),
    );
  });

  test("has at most 128 operations as servers count them, and 1 MiB unless one value is larger", () => {
    const builder = new PutRequestBuilder(PREFIX);
    let count = 0;
    for (; !builder.isFull; count++) add(builder, Buffer.from(`key ${count}`), Buffer.from("value"));
    expect(count).toBe(MAX_PUTS);
    const request = decodeEtcd("TxnRequest", builder.take(CONDITIONS));
    expect(operations(request)).toBeLessThanOrEqual(128);
    expect(putsOf(request).length).toBe(count);

    for (count = 0; builder.fits(10, 20_000); count++) add(builder, Buffer.alloc(10), Buffer.alloc(20_000));
    expect(builder.take(CONDITIONS).length).toBeLessThanOrEqual(1024 * 1024 + CONDITIONS.length);
    expect(count).toBe(52);
    expect(builder.fits(10, 1_500_000)).toBe(true);
    add(builder, Buffer.alloc(10), Buffer.alloc(1_500_000));
    expect(builder.fits(10, 1)).toBe(false);
    expect(builder.take(CONDITIONS).length).toBeLessThan(1_500_100);
  });
});

describe("hashes of keys", () => {
  test("find the keys that were added, also when slots are taken, and hardly any others", () => {
    const hashes = new KeyHashes();
    const key = (i: number): number => {
      const bytes = Buffer.alloc(10, 0x41);
      bytes.writeUInt32LE(i, 1);
      return hashOf(viewOf(bytes), 0, bytes.length);
    };
    for (let i = 0; i < MAX_PUTS; i++) hashes.add(key(i));
    for (let i = 0; i < MAX_PUTS; i++) expect(hashes.has(key(i))).toBe(true);
    let mistakes = 0;
    for (let i = MAX_PUTS; i < 200_000; i++) if (hashes.has(key(i))) mistakes++;
    expect(mistakes).toBeLessThan(3);
    hashes.clear();
    for (let i = 0; i < MAX_PUTS; i++) expect(hashes.has(key(i))).toBe(false);
  });

  test("tell keys apart by every byte, and by their length", () => {
    const bytes = Buffer.from("a key of some length");
    const all = new Set<number>();
    for (let end = 0; end <= bytes.length; end++) all.add(hashOf(viewOf(bytes), 0, end));
    for (let i = 0; i < bytes.length; i++) {
      const changed = Buffer.from(bytes);
      changed[i]! ^= 1;
      all.add(hashOf(viewOf(changed), 0, changed.length));
    }
    expect(all.size).toBe(2 * bytes.length + 1);
  });
});
