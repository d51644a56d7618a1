import { viewOf } from "../../base/bytes.ts";
import { ConflictError } from "../../base/errors.ts";
import { encodeCommand, writeBulk } from "./command-writer.ts";
import { KeyList } from "./key-list.ts";
import type { LoadMarker } from "./load-marker.ts";
import { classifyKey, FAMILY_FOREIGN, FAMILY_OTHER, type KeyInfo } from "./redis-keys.ts";
import type { RedisServer } from "./redis-server.ts";
import type { RespConnection } from "./resp-connection.ts";
import { TOKEN_STRIDE } from "./resp-parser.ts";
import { throwIfError } from "./value-commands.ts";

/** What a load may have written besides the inode families. */
const WRITTEN_KEYS = [
  "usedSpace",
  "totalInodes",
  "nextinode",
  "nextchunk",
  "nextsession",
  "nextTrash",
  "acl",
  "aclMaxId",
  "sliceRef",
  "delfiles",
  "dirDataLength",
  "dirUsedSpace",
  "dirUsedInodes",
  ...["dirQuota", "userQuota", "groupQuota"].flatMap((key) => [key, `${key}UsedSpace`, `${key}UsedInodes`]),
];

/**
 * Removes what a load has written, and nothing else: keys of the inode families, which were all written by it since the
 * database was empty before, those that it has listed, and last the marker. Throws without it, or when there is a volume: then the
 * keys are somebody else's.
 */
export async function removeVolume(connection: RespConnection, server: RedisServer, marker: LoadMarker): Promise<void> {
  const key = (name: string | Buffer): Buffer => Buffer.concat([server.prefix, Buffer.from(name as string)]);
  const checkOwner = async (): Promise<void> => {
    const hasVolume = (await connection.call(["EXISTS", key("setting")])) !== 0n;
    if (hasVolume || !(await marker.isOurs(connection))) {
      throw new ConflictError("DECANT_E_TARGET_CHANGED", "it was emptied or taken by others meanwhile");
    }
  };
  const match = server.prefix.length === 0 ? [] : ["MATCH", Buffer.concat([server.prefix, Buffer.from("*")])];
  const page = new KeyList();
  for (let cursor = "0"; ; ) {
    connection.send(encodeCommand(["SCAN", cursor, ...match, "COUNT", "5000"]));
    cursor = await takeInodeKeys(connection, server.prefix.length, page);
    await checkOwner();
    if (page.count > 0) {
      connection.send(Buffer.concat([Buffer.from(`*${page.count + 1}\r\n$6\r\nUNLINK\r\n`), page.args.take()]));
      throwIfError(await connection.read(1), connection, "UNLINK");
    }
    if (cursor === "0") break;
  }
  await connection.call(["UNLINK", ...[...WRITTEN_KEYS, ...(await marker.writtenKeys(connection))].map(key)]);
  await marker.remove(connection);
}

/** Reads a SCAN reply: keeps the keys of the inode families and returns the next cursor. */
async function takeInodeKeys(connection: RespConnection, prefixBytes: number, keys: KeyList): Promise<string> {
  const block = await connection.read(1);
  throwIfError(block, connection, "SCAN");
  const { bytes, tokens } = block;
  const view = viewOf(bytes);
  const info: KeyInfo = { hi: 0, lo: 0, index: 0 };
  keys.clear();
  const count = tokens[2 * TOKEN_STRIDE + 2]!;
  for (let i = 0, at = 3 * TOKEN_STRIDE; i < count; i++, at += TOKEN_STRIDE) {
    const start = tokens[at + 1]!;
    const end = start + tokens[at + 2]!;
    const family = classifyKey(bytes, start + prefixBytes, end, info);
    if (family === FAMILY_FOREIGN || family === FAMILY_OTHER) continue;
    writeBulk(keys.args, view, start, end);
    keys.add(info.hi, info.lo, info.index);
  }
  return bytes.toString("latin1", tokens[TOKEN_STRIDE + 1]!, tokens[TOKEN_STRIDE + 1]! + tokens[TOKEN_STRIDE + 2]!);
}
