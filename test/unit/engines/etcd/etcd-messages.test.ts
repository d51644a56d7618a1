import { describe, expect, test } from "vitest";
import { ProtobufReader } from "../../../../src/base/protobuf.ts";
import {
  compare,
  deleteOperation,
  hasSpaceAlarm,
  putOperation,
  rangeOperation,
  rangeRequest,
  readStatus,
  readTxnResponse,
  readValue,
  txnRequest,
} from "../../../../src/engines/etcd/etcd-messages.ts";
import { encodeEtcd } from "../../../support/etcd-messages.ts";

const [KEY, END, VALUE] = [Buffer.from("/v\xfdA", "latin1"), Buffer.from("/v\xfe", "latin1"), Buffer.alloc(300, 0xfe)];
const REVISION = 2n ** 63n - 1n;

describe("messages of etcd are, byte by byte, those of the protobuf library", () => {
  test("requests for ranges", () => {
    expect(rangeRequest({ key: KEY }).written()).toEqual(encodeEtcd("RangeRequest", { key: KEY }));
    const all = { key: KEY, limit: 5000, revision: REVISION, keysOnly: true };
    expect(rangeRequest({ ...all, end: END }).written()).toEqual(
      encodeEtcd("RangeRequest", { ...all, rangeEnd: END, limit: 5000n }),
    );
  });

  test("a transaction with each kind of condition and of operation", () => {
    const request = txnRequest(
      [compare(KEY, VALUE), compare(KEY, undefined), compare(KEY, undefined, END)],
      [
        rangeOperation({ key: KEY, limit: 1 }),
        putOperation(KEY, VALUE),
        deleteOperation(KEY),
        deleteOperation(KEY, END),
      ],
    );
    expect(request).toEqual(
      encodeEtcd("TxnRequest", {
        compare: [
          { target: 3n, key: KEY, value: VALUE },
          { target: 2n, key: KEY },
          { target: 2n, key: KEY, rangeEnd: END },
        ],
        success: [
          { requestRange: { key: KEY, limit: 1n } },
          { requestPut: { key: KEY, value: VALUE } },
          { requestDeleteRange: { key: KEY } },
          { requestDeleteRange: { key: KEY, rangeEnd: END } },
        ],
      }),
    );
  });
});

test("that a value is empty is another condition than none about it", () => {
  const empty = Buffer.concat([encodeEtcd("Compare", { target: 3n, key: KEY }), Buffer.from([(7 << 3) | 2, 0])]);
  expect(compare(KEY, Buffer.alloc(0)).written()).toEqual(empty);
});

describe("answers of etcd that the protobuf library has made are read", () => {
  test("what a transaction answers", () => {
    const kvs = [{ key: KEY, value: VALUE, modRevision: 9n }];
    const bytes = encodeEtcd("TxnResponse", {
      header: { clusterId: 2n ** 64n - 1n, revision: REVISION, raftTerm: 3n },
      succeeded: true,
      responses: [
        { responseRange: { kvs, count: 1n } },
        { responsePut: { header: { revision: 1n } } },
        { responseRange: {} },
        { responseDeleteRange: { deleted: 7n } },
        { responseRange: { kvs: [{ key: KEY }] } },
      ],
    });
    const { ranges, ...answer } = readTxnResponse(bytes);
    expect(answer).toEqual({ succeeded: true, revision: REVISION });
    expect(ranges.map(readValue)).toEqual([VALUE, undefined, Buffer.alloc(0)]);
  });

  test("a transaction whose conditions did not hold", () => {
    expect(readTxnResponse(encodeEtcd("TxnResponse", { header: { revision: 4n } }))).toEqual({
      succeeded: false,
      revision: 4n,
      ranges: [],
    });
  });

  test("sizes of the database, of servers that say how much is in use and of those that do not", () => {
    const status = {
      header: { revision: 1n },
      version: "3.4.30",
      dbSize: 2n ** 40n,
      leader: 5n,
      dbSizeInUse: 2n ** 39n,
    };
    expect(readStatus(encodeEtcd("StatusResponse", status))).toEqual({ dbSize: 2 ** 40, dbSizeInUse: 2 ** 39 });
    const { dbSizeInUse: _, ...older } = status;
    expect(readStatus(encodeEtcd("StatusResponse", older))).toEqual({ dbSize: 2 ** 40, dbSizeInUse: 0 });
  });

  test("the alarm NOSPACE among others", () => {
    const corrupt = { memberId: 1n, alarm: 2n };
    expect(hasSpaceAlarm(encodeEtcd("AlarmResponse", { alarms: [corrupt, { memberId: 2n, alarm: 1n }] }))).toBe(true);
    expect(hasSpaceAlarm(encodeEtcd("AlarmResponse", { alarms: [corrupt] }))).toBe(false);
    expect(hasSpaceAlarm(encodeEtcd("AlarmResponse", {}))).toBe(false);
  });

  test("an answer that was cut off is an error", () => {
    const bytes = encodeEtcd("RangeResponse", { kvs: [{ key: KEY, value: VALUE }] });
    expect(() => readValue(new ProtobufReader(bytes.subarray(0, bytes.length - 1)))).toThrow();
  });
});
