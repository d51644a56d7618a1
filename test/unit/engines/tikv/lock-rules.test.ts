import { describe, expect, test } from "vitest";
import { ProtobufReader, ProtobufWriter } from "../../../../src/base/protobuf.ts";
import { encodeKey } from "../../../../src/engines/tikv/key-codec.ts";
import {
  asyncCommitTs,
  isExpired,
  readTransactionAnswer,
  type SecondaryAnswer,
  type TransactionAnswer,
  transactionState,
} from "../../../../src/engines/tikv/lock-resolver.ts";
import { type Lock, readKeyError, readRegionError } from "../../../../src/engines/tikv/tikv-messages.ts";

const at = (ms: number): bigint => BigInt(ms) << 18n;
const VERSION = at(1000) + 7n;

function lock(parts: Partial<Lock> = {}): Lock {
  const none = { primary: Buffer.from("p"), key: Buffer.from("k"), ttl: 10, useAsyncCommit: false, minCommitTs: 0n };
  return { ...none, version: VERSION, secondaries: [], ...parts };
}

function answer(parts: Partial<TransactionAnswer> = {}): TransactionAnswer {
  return { error: undefined, ttl: 0, commitTs: 0n, action: 0, primary: undefined, ...parts };
}

describe("what a transaction has come to (docs/spec/kv-stores.md §2.5)", () => {
  test("a lock counts from its start timestamp on, in milliseconds", () => {
    expect(isExpired(VERSION, 10, at(1009) + 99n)).toBe(false);
    expect(isExpired(VERSION, 10, at(1010))).toBe(true);
    expect(isExpired(VERSION, 0, VERSION)).toBe(true);
  });

  test("committed, rolled back, or alive", () => {
    expect(transactionState(answer({ commitTs: 5n }), VERSION, at(1))).toEqual({ state: "ended", commitTs: 5n });
    expect(transactionState(answer(), VERSION, at(1))).toEqual({ state: "ended", commitTs: 0n });
    const alive = { state: "alive", ttl: 9 };
    expect(transactionState(answer({ ttl: 9 }), VERSION, at(1))).toEqual({ ...alive, isPushed: false });
    expect(transactionState(answer({ ttl: 9, action: 3 }), VERSION, at(1))).toEqual({ ...alive, isPushed: true });
  });

  test("with asynchronous commit all locks are looked at, but only when the time is over", () => {
    const primary = lock({ useAsyncCommit: true });
    const answered = answer({ ttl: 10, primary });
    expect(transactionState(answered, VERSION, at(1005)).state).toBe("alive");
    expect(transactionState(answered, VERSION, at(1010))).toEqual({ state: "async", primary });
    expect(transactionState(answer({ ttl: 10, primary: lock() }), VERSION, at(1010)).state).toBe("alive");
  });

  test("its timestamp is the highest of all locks, when all are there", () => {
    const primary = lock({ useAsyncCommit: true, minCommitTs: 20n });
    const of = (keys: number, minima: bigint[], commitTs = 0n): SecondaryAnswer & { keys: number } => ({
      ...{ error: undefined, commitTs, keys },
      locks: minima.map((minCommitTs) => lock({ useAsyncCommit: true, minCommitTs })),
    });
    expect(asyncCommitTs(primary, [])).toBe(20n);
    expect(asyncCommitTs(primary, [of(2, [5n, 30n]), of(1, [25n])])).toBe(30n);
    expect(asyncCommitTs(primary, [of(2, [5n, 6n]), of(2, [25n])])).toBe(0n);
    expect(asyncCommitTs(primary, [of(2, [25n], 77n)])).toBe(77n);
    expect(asyncCommitTs(primary, [{ ...of(1, []), locks: [lock()] }])).toBeUndefined();
  });

  test("keys without their locks that contradict each other are no decision", () => {
    const missing = (commitTs: bigint): SecondaryAnswer & { keys: number } => ({
      ...{ error: undefined, locks: [], commitTs, keys: 1 },
    });
    expect(asyncCommitTs(lock(), [missing(7n), missing(7n)])).toBe(7n);
    expect(() => asyncCommitTs(lock(), [missing(7n), missing(0n)])).toThrow(
      `Cannot settle transaction ${VERSION} of TiKV: it is committed at 7 and at 0`,
    );
  });
});

describe("what stores answer", () => {
  const read = <T>(message: ProtobufWriter, by: (reader: ProtobufReader) => T): T => {
    return by(new ProtobufReader(Buffer.from(message.written())));
  };

  test("a lock in the way, with timestamps of all 64 bits", () => {
    const info = new ProtobufWriter()
      .bytes(1, Buffer.of(0, 255))
      .number(2, 2n ** 64n - 1n)
      .bytes(3, Buffer.of(1));
    info
      .number(4, 3000)
      .number(7, 1)
      .bool(8, true)
      .number(9, 2n ** 63n)
      .element(10, Buffer.of(2))
      .element(10, Buffer.of(3));
    expect(read(new ProtobufWriter().message(1, info), readKeyError)).toMatchObject({
      kind: "locked",
      lock: {
        primary: Buffer.of(0, 255),
        version: 2n ** 64n - 1n,
        key: Buffer.of(1),
        ttl: 3000,
        useAsyncCommit: true,
        minCommitTs: 2n ** 63n,
        secondaries: [Buffer.of(2), Buffer.of(3)],
      },
    });
  });

  test("errors of keys, and those that nobody knows yet", () => {
    expect(read(new ProtobufWriter().text(2, "again"), readKeyError)).toMatchObject({
      kind: "retryable",
      text: "the transaction has to be repeated: again",
    });
    expect(read(new ProtobufWriter().element(4, Buffer.alloc(0)), readKeyError).kind).toBe("conflict");
    expect(read(new ProtobufWriter().element(8, Buffer.alloc(0)), readKeyError).kind).toBe("txn-not-found");
    expect(read(new ProtobufWriter().element(99, Buffer.alloc(0)), readKeyError)).toMatchObject({
      kind: "other",
      text: "error 99",
    });
    expect(read(new ProtobufWriter(), readKeyError).kind).toBe("other");
  });

  test("an error of a key is what it is, whatever newer servers add to it", () => {
    const nothing = Buffer.alloc(0);
    for (const added of [12, 100]) {
      const conflict = new ProtobufWriter().element(4, nothing).text(added, "what happened in the store");
      expect(read(conflict, readKeyError).kind).toBe("conflict");
    }
  });

  test("a lock that several transactions share is no transaction that could be settled", () => {
    const info = new ProtobufWriter().bytes(3, Buffer.of(1)).number(6, 7).element(12, Buffer.alloc(0));
    expect(read(new ProtobufWriter().message(1, info), readKeyError)).toEqual({
      kind: "other",
      lock: undefined,
      text: "key 01 has a lock of an unknown kind",
    });
  });

  test("errors of regions, with the new leader and the time to wait", () => {
    const leader = new ProtobufWriter().number(1, 8).number(2, 2n ** 40n);
    const notLeader = new ProtobufWriter().number(1, 3).message(2, leader);
    expect(read(new ProtobufWriter().text(1, "m").message(2, notLeader), readRegionError)).toEqual({
      kind: "not-leader",
      message: "m",
      leader: { id: 8n, storeId: 2n ** 40n },
      pauseMs: 0,
      regions: [],
      isUncertain: false,
    });
    const busy = new ProtobufWriter().text(1, "reason").number(2, 500);
    expect(read(new ProtobufWriter().message(6, busy), readRegionError)).toMatchObject({ kind: "busy", pauseMs: 500 });
    expect(read(new ProtobufWriter().element(5, Buffer.alloc(0)), readRegionError).kind).toBe("stale-region");
    expect(read(new ProtobufWriter().element(77, Buffer.alloc(0)), readRegionError).kind).toBe("unknown");
  });

  test.each([
    [3, "stale-region", true],
    [4, "stale-region", false],
    [6, "busy", false],
    [7, "not-ready", true],
    [8, "stale-store", false],
    [9, "entry-too-large", false],
    [10, "not-ready", false],
    [11, "not-ready", false],
    [12, "not-ready", false],
    [13, "not-ready", false],
    [14, "stale-region", false],
    [15, "disk-full", false],
    [16, "not-ready", false],
    [17, "flashback", false],
    [18, "flashback", false],
    [19, "stale-region", false],
    [20, "stale-region", false],
    [21, "not-ready", false],
    [22, "unknown", true],
  ])(
    "the region error of field %i is of the kind %s; that a write may be done all the same: %s",
    (field, kind, isUncertain) => {
      const error = new ProtobufWriter().text(1, "m").element(field, Buffer.alloc(0));
      expect(read(error, readRegionError)).toMatchObject({ kind, isUncertain });
    },
  );

  test("the regions that are now in the place of another one", () => {
    const region = (id: number, start: string, end: string): ProtobufWriter => {
      const peer = new ProtobufWriter().number(1, id + 100).number(2, 1);
      const epoch = new ProtobufWriter().number(1, 4).number(2, 9);
      const message = new ProtobufWriter()
        .number(1, id)
        .bytes(2, start === "" ? Buffer.alloc(0) : encodeKey(Buffer.from(start)));
      message.bytes(3, end === "" ? Buffer.alloc(0) : encodeKey(Buffer.from(end)));
      return message.message(4, epoch).message(5, peer);
    };
    const changed = new ProtobufWriter().message(1, region(5, "", "m")).message(1, region(6, "m", ""));
    const { kind, regions } = read(new ProtobufWriter().message(5, changed), readRegionError);
    expect([kind, regions.map(({ id, start, end }) => [id, start.toString(), end.toString()])]).toEqual([
      "stale-region",
      [
        [5n, "", "m"],
        [6n, "m", ""],
      ],
    ]);
    expect(regions[0]).toMatchObject({
      confVer: 4n,
      version: 9n,
      peers: [{ id: 105n, storeId: 1n }],
      leader: undefined,
    });
  });

  test("the state of a transaction", () => {
    const info = new ProtobufWriter().bool(8, true).number(9, 12n);
    const message = new ProtobufWriter()
      .number(3, 4)
      .number(4, 2n ** 60n)
      .number(5, 3)
      .message(6, info);
    expect(read(message, readTransactionAnswer)).toMatchObject({
      ...{ error: undefined, ttl: 4, commitTs: 2n ** 60n, action: 3 },
      primary: { useAsyncCommit: true, minCommitTs: 12n },
    });
  });
});
