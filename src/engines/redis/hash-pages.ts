import { EngineError } from "../../base/errors.ts";
import type { RecordKind } from "../../volume/records.ts";
import { type Notes, printableKey } from "../notes.ts";
import type { CommandTarget } from "./command-target.ts";
import { encodeCommand } from "./command-writer.ts";
import { TYPE_NOTE } from "./record-mapper.ts";
import { type ReplyBlock, TOKEN_STRIDE } from "./resp-parser.ts";
import { throwIfError } from "./value-commands.ts";

/** Hashes and sorted sets of up to so many members are read by one command, which cannot repeat any. */
const WHOLE_MEMBERS = 10_000n;
const PAGE_COUNT = "5000";

/** Pairs of a hash (field, value) or sorted set (member, score): `pairs` × two tokens from index `from` on. */
export interface PairPage {
  readonly block: ReplyBlock;
  readonly from: number;
  readonly pairs: number;
  /** False for pages of HSCAN and ZSCAN, where a member may come again in a later page. */
  readonly whole: boolean;
}

interface PairCommands {
  readonly size: string;
  readonly whole: (key: Buffer) => (string | Buffer)[];
  readonly scan: string;
}

const HASH: PairCommands = { size: "HLEN", whole: (key) => ["HGETALL", key], scan: "HSCAN" };
const SORTED_SET: PairCommands = {
  size: "ZCARD",
  whole: (key) => ["ZRANGE", key, "0", "-1", "WITHSCORES"],
  scan: "ZSCAN",
};

/** Reads a hash in bounded pieces, which are of records of `kind`. Other commands may be sent on the connection while a page is in use, not before. */
export function hashPages(
  connection: CommandTarget,
  key: Buffer,
  notes: Notes,
  kind?: RecordKind,
): AsyncGenerator<PairPage> {
  return pairPages(connection, key, notes, kind, HASH);
}

export function sortedSetPages(
  connection: CommandTarget,
  key: Buffer,
  notes: Notes,
  kind?: RecordKind,
): AsyncGenerator<PairPage> {
  return pairPages(connection, key, notes, kind, SORTED_SET);
}

async function* pairPages(
  connection: CommandTarget,
  key: Buffer,
  notes: Notes,
  kind: RecordKind | undefined,
  commands: PairCommands,
): AsyncGenerator<PairPage> {
  const size = await orWrongType(notes, key, kind, () => connection.call([commands.size, key]));
  if (typeof size !== "bigint" || size === 0n) return;
  if (size <= WHOLE_MEMBERS) {
    connection.send(encodeCommand(commands.whole(key)));
    const block = await connection.read(1);
    throwIfError(block, connection, commands.size);
    yield { block, from: TOKEN_STRIDE, pairs: block.tokens[2]! >> 1, whole: true };
    return;
  }
  for (let cursor = "0"; ; ) {
    connection.send(encodeCommand([commands.scan, key, cursor, "COUNT", PAGE_COUNT]));
    const block = await connection.read(1);
    throwIfError(block, connection, commands.scan);
    const start = block.tokens[TOKEN_STRIDE + 1]!;
    cursor = block.bytes.toString("latin1", start, start + block.tokens[TOKEN_STRIDE + 2]!);
    yield { block, from: 3 * TOKEN_STRIDE, pairs: block.tokens[2 * TOKEN_STRIDE + 2]! >> 1, whole: false };
    if (cursor === "0") return;
  }
}

/** The pairs as buffers, copied: valid for as long as they are wanted. */
export function copyPairs(page: PairPage): [Buffer, Buffer][] {
  const { bytes, tokens } = page.block;
  const copy = (at: number): Buffer => Buffer.from(bytes.subarray(tokens[at + 1]!, tokens[at + 1]! + tokens[at + 2]!));
  return Array.from({ length: page.pairs }, (_, i) => {
    const at = page.from + i * 2 * TOKEN_STRIDE;
    return [copy(at), copy(at + TOKEN_STRIDE)];
  });
}

/** The value of `read`, or undefined with a note when the key holds a value of another type. */
export async function orWrongType<T>(
  notes: Notes,
  key: Buffer,
  kind: RecordKind | undefined,
  read: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof EngineError) || error.code !== "DECANT_E_REDIS_TYPE") throw error;
    noteWrongType(notes, key, kind);
    return undefined;
  }
}

/** Notes that the value of a key outside the inode families is of the wrong type. */
export function noteWrongType(notes: Notes, key: Buffer, kind: RecordKind | undefined): void {
  const name = printableKey(key);
  notes.loss(TYPE_NOTE, name, { kind, message: `key ${name}: the value is of another type` });
}
