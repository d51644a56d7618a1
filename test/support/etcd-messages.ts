import { create, createFileRegistry, type DescMessage, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

/** Messages of etcd as the specification has them (docs/spec/kv-stores.md §1), for the protobuf library. */
const MESSAGES: Readonly<Record<string, string>> = {
  ResponseHeader: "clusterId uint64 1; memberId uint64 2; revision int64 3; raftTerm uint64 4",
  KeyValue:
    "key bytes 1; createRevision int64 2; modRevision int64 3; version int64 4; value bytes 5; lease int64 6; newer bytes 77",
  RangeResponse: "header ResponseHeader 1; kvs repeated KeyValue 2; more bool 3; count int64 4; newer string 99",
  PutRequest: "key bytes 1; value bytes 2; lease int64 3",
  Compare: "result int64 1; target int64 2; key bytes 3; modRevision int64 6; value bytes 7; rangeEnd bytes 64",
  RequestOp: "requestPut PutRequest 2; requestTxn TxnRequest 4",
  TxnRequest: "compare repeated Compare 1; success repeated RequestOp 2; failure repeated RequestOp 3",
};

const SCALARS: Readonly<Record<string, FieldDescriptorProto_Type>> = {
  bytes: FieldDescriptorProto_Type.BYTES,
  string: FieldDescriptorProto_Type.STRING,
  bool: FieldDescriptorProto_Type.BOOL,
  int64: FieldDescriptorProto_Type.INT64,
  uint64: FieldDescriptorProto_Type.UINT64,
};

const file = create(FileDescriptorProtoSchema, {
  name: "rpc.proto",
  package: "pb",
  syntax: "proto3",
  messageType: Object.entries(MESSAGES).map(([name, fields]) => ({
    name,
    field: fields.split("; ").map((text) => {
      const words = text.split(" ");
      const [type, number] = [words.at(-2)!, Number(words.at(-1))];
      return create(FieldDescriptorProtoSchema, {
        name: words[0]!,
        jsonName: words[0]!,
        number,
        label: words.includes("repeated") ? FieldDescriptorProto_Label.REPEATED : FieldDescriptorProto_Label.OPTIONAL,
        ...(type in SCALARS
          ? { type: SCALARS[type]! }
          : { type: FieldDescriptorProto_Type.MESSAGE, typeName: `.pb.${type}` }),
      });
    }),
  })),
});

const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));

export interface EtcdKeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface EtcdTxnRequest {
  readonly compare: readonly { readonly target: bigint; readonly key: Uint8Array; readonly value: Uint8Array }[];
  readonly success: readonly { readonly requestPut?: EtcdKeyValue; readonly requestTxn?: EtcdTxnRequest }[];
}

function messageType(name: string): DescMessage {
  return registry.getMessage(`pb.${name}`)!;
}

/** The bytes of a message, members by their names. */
export function encodeEtcd(name: string, members: object): Buffer {
  const type = messageType(name);
  return Buffer.from(toBinary(type, create(type, members as Message)));
}

export function decodeEtcd(name: "TxnRequest", bytes: Uint8Array): EtcdTxnRequest {
  return fromBinary(messageType(name), bytes) as unknown as EtcdTxnRequest;
}
