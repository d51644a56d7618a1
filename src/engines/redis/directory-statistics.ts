import { ByteWriter } from "../../base/bytes.ts";
import { printableKey } from "../notes.ts";
import { bulk, commandName, writeCommandHead } from "./command-writer.ts";
import { parseSigned, parseUnsigned, type U64 } from "./decimal.ts";
import { hashPages, type PairPage } from "./hash-pages.ts";
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
  for await (const page of hashPages(connection, keyOf(context, "dirDataLength"), notes)) {
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
    takeValues(await connection.read(1), keys.count, spaces);
    takeValues(await connection.read(1), keys.count, inodes);
    const builder = mapper.builder("dirStat");
    for (let i = 0; i < keys.count; i++) {
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
  keys.clear();
  for (let i = 0, at = page.from; i < page.pairs; i++, at += 2 * TOKEN_STRIDE) {
    const start = tokens[at + 1]!;
    const size = tokens[at + 2]!;
    if (!parseUnsigned(bytes, start, start + size, number)) {
      context.notes.loss(STATISTICS_NOTE, printableKey(bytes, start, start + size));
      continue;
    }
    if (!page.whole && !seen.add(number.hi, number.lo)) continue;
    keys.args.writeSlice(bytes, start - 3 - (size < 10 ? 1 : 2), start + size + 2);
    keys.add(number.hi, number.lo, 0);
    putValue(bytes, tokens[at + TOKEN_STRIDE + 1]!, tokens[at + TOKEN_STRIDE + 2]!, values, keys.count - 1);
  }
}

/** Values of an HMGET reply; a missing one, or a hash of the wrong type, counts as 0. */
function takeValues(block: ReplyBlock, count: number, values: Uint32Array): void {
  const { bytes, tokens } = block;
  const isArray = tokens[0] === TOKEN_ARRAY;
  for (let i = 0, at = TOKEN_STRIDE; i < count; i++, at += TOKEN_STRIDE) {
    putValue(bytes, isArray ? tokens[at + 1]! : 0, isArray ? tokens[at + 2]! : -1, values, i);
  }
}

function putValue(bytes: Buffer, start: number, size: number, values: Uint32Array, at: number): void {
  const number: U64 = { hi: 0, lo: 0 };
  const good = size > 0 && parseSigned(bytes, start, start + size, number);
  values[at * 2] = good ? number.hi : 0;
  values[at * 2 + 1] = good ? number.lo : 0;
}
