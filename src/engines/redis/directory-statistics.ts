import { ByteWriter } from "../../base/bytes.ts";
import { type Notes, printableKey } from "../notes.ts";
import { bulk, commandName, writeCommandHead } from "./command-writer.ts";
import { parseSigned, parseUnsigned, toBigInt, type U64 } from "./decimal.ts";
import { hashPages, noteWrongType, type PairPage } from "./hash-pages.ts";
import { KeyList } from "./key-list.ts";
import { keyOf, type RareContext } from "./rare-context.ts";
import { putInode } from "./record-mapper.ts";
import { type ReplyBlock, TOKEN_ARRAY, TOKEN_STRIDE } from "./resp-parser.ts";
import { SeenSet } from "./seen-set.ts";

export const STATISTICS_NOTE = "Directory statistics under a key that is no number were left out";

const HMGET = commandName("HMGET");

/**
 * `dirDataLength` says which directories have statistics, the other two hashes are merged into it (docs/spec/redis.md
 * §12.2). There is one record per directory, so this works on bytes like the inode families.
 */
export async function* directoryStatistics(context: RareContext): AsyncGenerator<void> {
  const { connection, notes, mapper } = context;
  const seen = new SeenSet();
  const keys = new KeyList();
  const spaceKey = bulk(keyOf(context, "dirUsedSpace"));
  const inodesKey = bulk(keyOf(context, "dirUsedInodes"));
  let lengths = new Uint32Array(0);
  let spaces = new Uint32Array(0);
  let inodes = new Uint32Array(0);
  for await (const page of hashPages(connection, keyOf(context, "dirDataLength"), notes, "dirStat")) {
    if (lengths.length < page.pairs * 2) {
      lengths = new Uint32Array(page.pairs * 2);
      spaces = new Uint32Array(page.pairs * 2);
      inodes = new Uint32Array(page.pairs * 2);
    }
    takePage(context, page, keys, seen, lengths);
    if (keys.count === 0) continue;
    const writer = new ByteWriter(keys.args.length * 2 + 256);
    for (const hash of [spaceKey, inodesKey]) {
      writeCommandHead(writer, HMGET, keys.count + 1);
      writer.writeBytes(hash);
      writer.writeSlice(keys.args.buffer, 0, keys.args.length);
    }
    connection.send(writer.take());
    const bad = new Set<number>();
    takeValues(context, await connection.read(1), keys, "dirUsedSpace", spaces, bad);
    takeValues(context, await connection.read(1), keys, "dirUsedInodes", inodes, bad);
    const builder = mapper.builder("dirStat");
    for (let i = 0; i < keys.count; i++) {
      if (bad.has(i)) continue;
      const at = builder.writer.reserve(32);
      const out = builder.writer.view;
      putInode(out, at, keys.hi[i]!, keys.lo[i]!);
      putInode(out, at + 8, lengths[i * 2]!, lengths[i * 2 + 1]!);
      putInode(out, at + 16, spaces[i * 2]!, spaces[i * 2 + 1]!);
      putInode(out, at + 24, inodes[i * 2]!, inodes[i * 2 + 1]!);
      builder.writer.length = at + 32;
      mapper.commit(builder);
    }
    yield;
  }
}

/** Keeps the new fields of a page as numbers and arguments, and their values. */
function takePage(context: RareContext, page: PairPage, keys: KeyList, seen: SeenSet, values: Uint32Array): void {
  const { bytes, tokens } = page.block;
  const number: U64 = { hi: 0, lo: 0 };
  const signed: U64 = { hi: 0, lo: 0 };
  keys.clear();
  for (let i = 0, at = page.from; i < page.pairs; i++, at += 2 * TOKEN_STRIDE) {
    const start = tokens[at + 1]!;
    const size = tokens[at + 2]!;
    if (!parseUnsigned(bytes, start, start + size, number)) {
      noteStatisticsField(context.notes, printableKey(bytes, start, start + size));
      continue;
    }
    const value = tokens[at + TOKEN_STRIDE + 1]!;
    const valueSize = tokens[at + TOKEN_STRIDE + 2]!;
    if (context.notes.isSalvage && !parseSigned(bytes, value, value + valueSize, signed)) {
      noteStatistics(context.notes, "dirDataLength", toBigInt(number.hi, number.lo));
      continue;
    }
    if (!page.whole && !seen.add(number.hi, number.lo)) continue;
    keys.args.writeSlice(bytes, start - 3 - (size < 10 ? 1 : 2), start + size + 2);
    keys.add(number.hi, number.lo, 0);
    putValue(bytes, value, valueSize, values, keys.count - 1);
  }
}

/** Statistics of which a part is lost are left out. */
export function noteStatistics(notes: Notes, hash: string, inode: bigint): void {
  const message = `key ${hash}, field ${inode}: the value is no number`;
  notes.loss(STATISTICS_NOTE, String(inode), { kind: "dirStat", inode, message });
}

export function noteStatisticsField(notes: Notes, field: string): void {
  const message = `key dirDataLength: the field ${field} is no inode`;
  notes.loss(STATISTICS_NOTE, field, { kind: "dirStat", message });
}

/**
 * Values of an HMGET reply; a missing one counts as 0, as does one that is no number, or all of a hash of the wrong type: but where
 * each loss is told, those go to `bad`, by their index.
 */
function takeValues(
  context: RareContext,
  { bytes, tokens }: ReplyBlock,
  keys: KeyList,
  name: string,
  values: Uint32Array,
  bad: Set<number>,
): void {
  const { notes } = context;
  const isArray = tokens[0] === TOKEN_ARRAY;
  if (!isArray && notes.isSalvage) noteWrongType(notes, keyOf(context, name), "dirStat");
  for (let i = 0, at = TOKEN_STRIDE; i < keys.count; i++, at += TOKEN_STRIDE) {
    const size = isArray ? tokens[at + 2]! : -1;
    const isGood = putValue(bytes, isArray ? tokens[at + 1]! : 0, size, values, i);
    if (!notes.isSalvage || isGood || (isArray && size < 0)) continue;
    if (isArray && !bad.has(i)) noteStatistics(notes, name, toBigInt(keys.hi[i]!, keys.lo[i]!));
    bad.add(i);
  }
}

/** False where there is no number: 0 was put then. */
function putValue(bytes: Buffer, start: number, size: number, values: Uint32Array, at: number): boolean {
  const number: U64 = { hi: 0, lo: 0 };
  const good = size > 0 && parseSigned(bytes, start, start + size, number);
  values[at * 2] = good ? number.hi : 0;
  values[at * 2 + 1] = good ? number.lo : 0;
  return good;
}
