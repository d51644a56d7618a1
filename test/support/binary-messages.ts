import { create, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { messageTypes } from "./protobuf-messages.ts";

/** The messages of the binary format as the specification has them (docs/spec/binary-dump.md §2), for the protobuf library. */
const MESSAGES: Readonly<Record<string, string>> = {
  Format: "data bytes",
  Counter: "key string; value int64",
  Sustained: "sid uint64; inodes repeated uint64",
  DelFile: "inode uint64; length uint64; expire int64",
  SliceRef: "id uint64; size uint32; refs int64",
  Acl: "id uint32; data bytes",
  Xattr: "inode uint64; name string; value bytes",
  Quota: "key uint64; maxSpace int64; maxInodes int64; usedSpace int64; usedInodes int64; type uint32",
  Stat: "inode uint64; dataLength int64; usedSpace int64; usedInodes int64",
  Node: "inode uint64; data bytes",
  Edge: "parent uint64; inode uint64; name bytes; type uint32",
  Parent: "inode uint64; parent uint64; cnt int64",
  Chunk: "inode uint64; index uint32; slices bytes",
  Symlink: "inode uint64; target bytes",
  ChangeLog: "version int64; entry bytes",
  Batch:
    "nodes repeated Node; edges repeated Edge; chunks repeated Chunk; sliceRefs repeated SliceRef; xattrs repeated Xattr; " +
    "parents repeated Parent; symlinks repeated Symlink; sustained repeated Sustained; delfiles repeated DelFile; " +
    "dirstats repeated Stat; quotas repeated Quota; acls repeated Acl; counters repeated Counter; " +
    "changelogs repeated ChangeLog; userQuotas repeated Quota; groupQuotas repeated Quota",
};

const schemaOf = messageTypes(MESSAGES);

/** Members of a message by name; lists of messages hold such objects. */
export type Members = Readonly<Record<string, unknown>>;

/** The bytes that the protobuf library makes of a Batch. */
export function encodeBatch(members: Members): Buffer {
  return Buffer.from(toBinary(schemaOf("Batch"), create(schemaOf("Batch"), members as never)));
}

/** What the protobuf library reads in the bytes of a Batch. */
export function decodeBatch(bytes: Buffer): Members {
  return fromBinary(schemaOf("Batch"), bytes) as Message & Members;
}
