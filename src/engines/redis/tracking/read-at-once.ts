import { ByteWriter } from "../../../base/bytes.ts";
import type { RecordKind } from "../../../volume/records.ts";
import { writeCommand } from "../command-writer.ts";
import type { KeyList } from "../key-list.ts";
import type { RawValues } from "../raw-values.ts";
import { replyError } from "../redis-errors.ts";
import { FAMILY_DIRECTORY } from "../redis-keys.ts";
import type { RespConnection } from "../resp-connection.ts";
import { type ReplyBlock, TOKEN_ARRAY, TOKEN_ERROR, TOKEN_STRIDE } from "../resp-parser.ts";
import { HGETALL_HEAD, keysPerReply, VALUE_FAMILIES, writePerKey, writeReads } from "../value-commands.ts";
import type { DirtyKeys } from "./dirty-keys.ts";
import { HeldAnswers } from "./held-answers.ts";
import { behind } from "./invalidations.ts";
import type { KeyLists } from "./key-lists.ts";

/** A value outside the inode families that is to be read whole, and by which command. */
export interface RareKey {
  readonly key: Buffer;
  readonly command: "GET" | "HGETALL" | "SMEMBERS" | "ZRANGE";
  /** Members of a sorted set come with their scores. */
  readonly withScores: boolean;
}

/** What one transaction has read; valid until the next command on its connection. */
export interface ReadAtOnce {
  /** The clock of the server at that instant; undefined when it was not asked. */
  readonly time: Date | undefined;
  readonly values: readonly RawValues[];
  readonly rare: HeldAnswers;
}

/** Which command reads the keys of a kind of records. */
export function rareCommand(kind: RecordKind, name: string): Pick<RareKey, "command" | "withScores"> {
  if (kind === "counter") return { command: "GET", withScores: false };
  if (kind === "delFile") return { command: "ZRANGE", withScores: true };
  if (kind === "sustained") return { command: name === "allSessions" ? "ZRANGE" : "SMEMBERS", withScores: false };
  return { command: "HGETALL", withScores: false };
}

/** Reads all of these keys in one transaction: their values are those of one instant. */
export async function readAtOnce(
  connection: RespConnection,
  keys: DirtyKeys,
  rareKeys: readonly RareKey[],
  lists: KeyLists,
  withTime: boolean,
): Promise<ReadAtOnce> {
  const families = [...VALUE_FAMILIES, FAMILY_DIRECTORY].flatMap((family): { family: number; list: KeyList }[] => {
    const [list] = lists.lists(keys, family, Number.POSITIVE_INFINITY);
    return list === undefined ? [] : [{ family, list }];
  });
  const writer = new ByteWriter(65536);
  writeCommand(writer, ["MULTI"]);
  if (withTime) writeCommand(writer, ["TIME"]);
  let commands = withTime ? 1 : 0;
  for (const { family, list } of families) {
    if (family === FAMILY_DIRECTORY) writePerKey(writer, list, HGETALL_HEAD);
    else writeReads(writer, family, list);
    commands += Math.ceil(list.count / (keysPerReply(family) ?? 1));
  }
  for (const { key, command, withScores } of rareKeys) {
    writeCommand(writer, [
      command,
      key,
      ...(command === "ZRANGE" ? ["0", "-1"] : []),
      ...(withScores ? ["WITHSCORES"] : []),
    ]);
  }
  writeCommand(writer, ["EXEC"]);
  connection.send(writer.take());
  return taken(connection, await executed(connection, commands + rareKeys.length), families, rareKeys, withTime);
}

/** The reply to EXEC, behind those to MULTI and the commands. */
async function executed(connection: RespConnection, commands: number): Promise<ReplyBlock> {
  let refusal: string | undefined;
  for (let left = commands + 1; left > 0; ) {
    const block = await connection.read(left);
    refusal ??= firstError(block);
    left -= block.replies;
  }
  const block = await connection.read(1);
  refusal ??= firstError({ ...block, tokenCount: 1 });
  if (refusal !== undefined) throw replyError(refusal, connection.printable, "transaction");
  return block;
}

function firstError({ tokens, bytes, tokenCount }: ReplyBlock): string | undefined {
  for (let at = 0; at < tokenCount * TOKEN_STRIDE; at += TOKEN_STRIDE) {
    if (tokens[at] === TOKEN_ERROR) return bytes.toString("latin1", tokens[at + 1]!, tokens[at + 1]! + tokens[at + 2]!);
  }
  return undefined;
}

function taken(
  connection: RespConnection,
  block: ReplyBlock,
  families: readonly { family: number; list: KeyList }[],
  rareKeys: readonly RareKey[],
  withTime: boolean,
): ReadAtOnce {
  const { tokens } = block;
  let at = TOKEN_STRIDE;
  const time = withTime ? timeOf(block, at) : undefined;
  if (withTime) at = behind(tokens, at);
  const values: RawValues[] = [];
  for (const { family, list } of families) {
    const perReply = keysPerReply(family);
    for (let first = 0; first < list.count; ) {
      const count = Math.min(perReply ?? list.count, list.count - first);
      values.push({ family, keys: list, first, count, block: { ...block, tokens: tokens.subarray(at) } });
      for (let replies = perReply === undefined ? count : 1; replies > 0; replies--) at = behind(tokens, at);
      first += count;
    }
  }
  const rare = new HeldAnswers(connection.printable, block);
  for (const { key } of rareKeys) {
    rare.hold(key, at);
    at = behind(tokens, at);
  }
  return { time, values, rare };
}

/** Seconds and microseconds; the error of a server that does not permit TIME was seen when the command was queued. */
function timeOf({ tokens, bytes }: ReplyBlock, at: number): Date | undefined {
  if (tokens[at] !== TOKEN_ARRAY) return undefined;
  const number = (token: number): number => {
    const start = tokens[token + 1]!;
    return Number(bytes.toString("latin1", start, start + tokens[token + 2]!));
  };
  return new Date(number(at + TOKEN_STRIDE) * 1000 + Math.floor(number(at + 2 * TOKEN_STRIDE) / 1000));
}
