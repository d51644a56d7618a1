import { create, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { messageTypes } from "./protobuf-messages.ts";

/** Messages of etcd as the specification has them (docs/spec/kv-stores.md §1), for the protobuf library. */
const MESSAGES: Readonly<Record<string, string>> = {
  ResponseHeader: "clusterId uint64 1; memberId uint64 2; revision int64 3; raftTerm uint64 4",
  KeyValue:
    "key bytes 1; createRevision int64 2; modRevision int64 3; version int64 4; value bytes 5; lease int64 6; newer bytes 77",
  RangeResponse: "header ResponseHeader 1; kvs repeated KeyValue 2; more bool 3; count int64 4; newer string 99",
  RangeRequest:
    "key bytes 1; rangeEnd bytes 2; limit int64 3; revision int64 4; serializable bool 7; keysOnly bool 8; countOnly bool 9",
  PutResponse: "header ResponseHeader 1; prevKv KeyValue 2",
  DeleteRangeRequest: "key bytes 1; rangeEnd bytes 2; prevKv bool 3",
  DeleteRangeResponse: "header ResponseHeader 1; deleted int64 2",
  PutRequest: "key bytes 1; value bytes 2; lease int64 3",
  Compare: "result int64 1; target int64 2; key bytes 3; modRevision int64 6; value bytes 7; rangeEnd bytes 64",
  RequestOp:
    "requestRange RangeRequest 1; requestPut PutRequest 2; requestDeleteRange DeleteRangeRequest 3; requestTxn TxnRequest 4",
  ResponseOp: "responseRange RangeResponse 1; responsePut PutResponse 2; responseDeleteRange DeleteRangeResponse 3",
  TxnRequest: "compare repeated Compare 1; success repeated RequestOp 2; failure repeated RequestOp 3",
  TxnResponse: "header ResponseHeader 1; succeeded bool 2; responses repeated ResponseOp 3",
  AlarmMember: "memberId uint64 1; alarm int64 2",
  AlarmResponse: "header ResponseHeader 1; alarms repeated AlarmMember 2",
  StatusResponse: "header ResponseHeader 1; version string 2; dbSize int64 3; leader uint64 4; dbSizeInUse int64 9",
};

const messageType = messageTypes(MESSAGES);

export interface EtcdKeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface EtcdTxnRequest {
  readonly compare: readonly { readonly target: bigint; readonly key: Uint8Array; readonly value: Uint8Array }[];
  readonly success: readonly { readonly requestPut?: EtcdKeyValue; readonly requestTxn?: EtcdTxnRequest }[];
}

/** The bytes of a message, members by their names. */
export function encodeEtcd(name: string, members: object): Buffer {
  const type = messageType(name);
  return Buffer.from(toBinary(type, create(type, members as Message)));
}

export function decodeEtcd(name: "TxnRequest", bytes: Uint8Array): EtcdTxnRequest {
  return fromBinary(messageType(name), bytes) as unknown as EtcdTxnRequest;
}
