import { type ByteWriter, copyBytes, viewOf } from "../../base/bytes.ts";
import type { CommandTarget } from "./command-target.ts";
import { commandName, writeCommandHead } from "./command-writer.ts";
import type { KeyList } from "./key-list.ts";
import type { RawValues } from "./raw-values.ts";
import { replyError } from "./redis-errors.ts";
import { FAMILY_CHUNK, FAMILY_NODE, FAMILY_PARENT, FAMILY_SYMLINK, FAMILY_XATTR } from "./redis-keys.ts";
import { type ReplyBlock, TOKEN_ERROR } from "./resp-parser.ts";

/** A block of lists or hashes is handed on at about this size. */
export const BLOCK_BYTES: number = 512 * 1024;

const MGET = commandName("MGET");
const LRANGE_HEAD: Buffer = Buffer.from("*4\r\n$6\r\nLRANGE\r\n");
const NOTHING: Buffer = Buffer.alloc(0);
const LRANGE_TAIL: Buffer = Buffer.from("$1\r\n0\r\n$2\r\n-1\r\n");
export const HGETALL_HEAD: Buffer = Buffer.from("*2\r\n$7\r\nHGETALL\r\n");
export const HLEN_HEAD: Buffer = Buffer.from("*2\r\n$4\r\nHLEN\r\n");

/** Families whose values are strings, with the keys per MGET: a symlink target may have 4096 bytes. */
const KEYS_PER_MGET: ReadonlyMap<number, number> = new Map([
  [FAMILY_NODE, 10_000],
  [FAMILY_SYMLINK, 1000],
]);
/** Families whose values are lists or hashes, each key read by a command of its own. */
const COMMANDS: ReadonlyMap<number, { readonly head: Buffer; readonly tail?: Buffer }> = new Map([
  [FAMILY_CHUNK, { head: LRANGE_HEAD, tail: LRANGE_TAIL }],
  [FAMILY_XATTR, { head: HGETALL_HEAD }],
  [FAMILY_PARENT, { head: HGETALL_HEAD }],
]);

/** What `writeReads` and `readValues` know: all families but directories, which have a reader of their own. */
export const VALUE_FAMILIES: readonly number[] = [...KEYS_PER_MGET.keys(), ...COMMANDS.keys()];

/** Appends the commands that read the values of these keys of one family; `readValues` takes their replies. */
export function writeReads(writer: ByteWriter, family: number, keys: KeyList): void {
  const perCall = KEYS_PER_MGET.get(family);
  if (perCall !== undefined) return writeMget(writer, keys, perCall);
  const { head, tail } = COMMANDS.get(family)!;
  writePerKey(writer, keys, head, tail);
}

/** How many keys one reply to the commands of `writeReads` answers at the most; undefined where each key has its own. */
export function keysPerReply(family: number): number | undefined {
  return KEYS_PER_MGET.get(family);
}

export function readValues(connection: CommandTarget, family: number, keys: KeyList): AsyncGenerator<RawValues> {
  const perCall = KEYS_PER_MGET.get(family);
  return perCall === undefined ? readPerKey(connection, family, keys) : readMget(connection, family, keys, perCall);
}

/** For blocks that begin with the reply of a command that cannot fail for a single key. */
export function throwIfError(block: ReplyBlock, connection: CommandTarget, command: string): void {
  if (block.tokens[0] !== TOKEN_ERROR) return;
  const start = block.tokens[1]!;
  throw replyError(block.bytes.toString("latin1", start, start + block.tokens[2]!), connection.printable, command);
}

/** `MGET` for every `perCall` keys of the list. */
function writeMget(writer: ByteWriter, keys: KeyList, perCall: number): void {
  for (let first = 0; first < keys.count; first += perCall) {
    const count = Math.min(perCall, keys.count - first);
    writeCommandHead(writer, MGET, count);
    writer.writeSlice(keys.args.buffer, keys.argStart(first), keys.ends[first + count - 1]!);
  }
}

/** One command for each key of the list. */
export function writePerKey(writer: ByteWriter, keys: KeyList, head: Buffer, tail: Buffer = NOTHING): void {
  const around = head.length + tail.length;
  const [headView, tailView, source] = [viewOf(head), viewOf(tail), keys.args.view];
  let at = writer.reserve(keys.args.length + keys.count * around);
  const out = writer.view;
  for (let i = 0; i < keys.count; i++) {
    const start = keys.argStart(i);
    const end = keys.ends[i]!;
    copyBytes(headView, 0, head.length, out, at);
    copyBytes(source, start, end, out, at + head.length);
    copyBytes(tailView, 0, tail.length, out, at + head.length + end - start);
    at += around + end - start;
  }
  writer.length = at;
}

async function* readMget(
  connection: CommandTarget,
  family: number,
  keys: KeyList,
  perCall: number,
): AsyncGenerator<RawValues> {
  for (let first = 0; first < keys.count; first += perCall) {
    const block = await connection.read(1);
    throwIfError(block, connection, "MGET");
    yield { family, keys, first, count: Math.min(perCall, keys.count - first), block };
  }
}

async function* readPerKey(connection: CommandTarget, family: number, keys: KeyList): AsyncGenerator<RawValues> {
  for (let first = 0; first < keys.count; ) {
    const block = await connection.read(keys.count - first, BLOCK_BYTES);
    yield { family, keys, first, count: block.replies, block };
    first += block.replies;
  }
}
