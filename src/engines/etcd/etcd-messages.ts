import { type ProtobufReader, ProtobufWriter, ProtobufReader as Reader } from "../../base/protobuf.ts";

/**
 * The few messages of etcd's services that are needed, by field number (docs/spec/kv-stores.md §1). By hand, and not generated:
 * pairs go from a response into pages, and from pages into a request, without an object for each of them.
 */
export const RANGE = "/etcdserverpb.KV/Range";
export const TXN = "/etcdserverpb.KV/Txn";
export const STATUS = "/etcdserverpb.Maintenance/Status";
export const ALARM = "/etcdserverpb.Maintenance/Alarm";

/** Of a transaction: the largest of its lists (server flag `max-txn-ops`). */
export const MAX_TXN_OPERATIONS = 128;

/** TxnRequest. */
export const TXN_COMPARE = 1;
export const TXN_SUCCESS = 2;

/** RequestOp and ResponseOp. */
const OP_RANGE = 1;
const OP_PUT = 2;
const OP_DELETE = 3;

const TARGET_MOD = 2;
const TARGET_VALUE = 3;
const ALARM_NOSPACE = 1;

export interface RangeQuery {
  readonly key: Uint8Array;
  /** Undefined: only `key`. */
  readonly end?: Uint8Array | undefined;
  readonly limit?: number;
  /** 0 or undefined: the newest. */
  readonly revision?: bigint;
  readonly keysOnly?: boolean;
}

export function rangeRequest({ key, end, limit = 0, revision = 0n, keysOnly = false }: RangeQuery): ProtobufWriter {
  const writer = new ProtobufWriter(64 + key.length).bytes(1, key).bytes(2, end ?? EMPTY);
  return writer.number(3, limit).number(4, revision).bool(8, keysOnly);
}

const EMPTY = Buffer.alloc(0);

export function rangeOperation(query: RangeQuery): ProtobufWriter {
  return new ProtobufWriter().message(OP_RANGE, rangeRequest(query));
}

export function putOperation(key: Uint8Array, value: Uint8Array): ProtobufWriter {
  const put = new ProtobufWriter(64 + key.length + value.length).bytes(1, key).bytes(2, value);
  return new ProtobufWriter(128 + key.length + value.length).message(OP_PUT, put);
}

export function deleteOperation(key: Uint8Array, end?: Uint8Array): ProtobufWriter {
  return new ProtobufWriter().message(OP_DELETE, new ProtobufWriter().bytes(1, key).bytes(2, end ?? EMPTY));
}

/** That a key has this value; undefined: that it, or any key up to `end`, is not there. */
export function compare(key: Uint8Array, value: Uint8Array | undefined, end?: Uint8Array): ProtobufWriter {
  const writer = new ProtobufWriter();
  if (value !== undefined) return writer.number(2, TARGET_VALUE).bytes(3, key).element(7, value);
  // EQUAL to a modification revision of 0, which stands for a key that is not there
  return writer
    .number(2, TARGET_MOD)
    .bytes(3, key)
    .bytes(64, end ?? EMPTY);
}

export function txnRequest(compares: readonly ProtobufWriter[], operations: readonly ProtobufWriter[]): Buffer {
  const writer = new ProtobufWriter(4096);
  for (const item of compares) writer.message(TXN_COMPARE, item);
  for (const item of operations) writer.message(TXN_SUCCESS, item);
  return writer.written();
}

/** What a transaction answers: whether its conditions held, and the RangeResponse of each of its ranges. */
export function readTxnResponse(bytes: Buffer): { succeeded: boolean; revision: bigint; ranges: ProtobufReader[] } {
  const reader = new Reader(bytes);
  const response = { succeeded: false, revision: 0n, ranges: [] as ProtobufReader[] };
  while (reader.next()) {
    if (reader.field === 1) response.revision = readRevision(reader.message());
    else if (reader.field === 2) response.succeeded = reader.bool();
    else if (reader.field === 3) {
      const operation = reader.message();
      while (operation.next()) if (operation.field === OP_RANGE) response.ranges.push(operation.message());
    }
  }
  return response;
}

/** The revision in a ResponseHeader. */
export function readRevision(header: ProtobufReader): bigint {
  while (header.next()) if (header.field === 3) return header.int64();
  return 0n;
}

/** The value of the only key in a RangeResponse, undefined when it is not there. */
export function readValue(range: ProtobufReader): Buffer | undefined {
  while (range.next()) {
    if (range.field !== 2) continue;
    const pair = range.message();
    while (pair.next()) if (pair.field === 5) return Buffer.from(pair.view());
    return Buffer.alloc(0); // empty values are left out of messages
  }
  return undefined;
}

export interface EtcdStatus {
  /** Bytes of the database file, and of what is in use of it (0 where the server does not say). */
  readonly dbSize: number;
  readonly dbSizeInUse: number;
}

export function readStatus(bytes: Buffer): EtcdStatus {
  const reader = new Reader(bytes);
  let [dbSize, dbSizeInUse] = [0, 0];
  while (reader.next()) {
    if (reader.field === 3) dbSize = reader.number();
    else if (reader.field === 9) dbSizeInUse = reader.number();
  }
  return { dbSize, dbSizeInUse };
}

/** Whether an AlarmResponse names the alarm NOSPACE. */
export function hasSpaceAlarm(bytes: Buffer): boolean {
  const reader = new Reader(bytes);
  while (reader.next()) {
    if (reader.field !== 2) continue;
    const member = reader.message();
    while (member.next()) if (member.field === 2 && member.number() === ALARM_NOSPACE) return true;
  }
  return false;
}
