import type { Notes } from "../notes.ts";
import type { CommandTarget } from "./command-target.ts";
import { encodeCommand } from "./command-writer.ts";
import { DirectoryReader, type OnLarge } from "./directory-reader.ts";
import type { RawValues } from "./raw-values.ts";
import { FAMILY_DIRECTORY } from "./redis-keys.ts";
import type { ReplyBlock } from "./resp-parser.ts";
import { type InodeFilter, ScanHistory, ScanPage } from "./scan-page.ts";
import type { SeenSet } from "./seen-set.ts";
import { readValues, throwIfError, VALUE_FAMILIES, writeReads } from "./value-commands.ts";

/** Keys per SCAN call: larger saves nothing, smaller costs (measured). */
const SCAN_COUNT = "5000";

export interface KeyspaceOptions {
  /** Default: all inodes. */
  readonly only?: InodeFilter;
  /** Gets the sessions that have a set of open inodes. */
  readonly sessions?: Set<bigint>;
  readonly onLarge?: OnLarge;
}

/**
 * Reads the values of all keys of the wanted families with one SCAN over the whole keyspace. While the values of one page
 * are on their way the next page is asked for, so the server never waits for us.
 */
export async function* readKeyspace(
  connection: CommandTarget,
  prefix: Buffer,
  wanted: ReadonlySet<number>,
  notes: Notes,
  hardLinks: SeenSet,
  { only, sessions = new Set(), onLarge }: KeyspaceOptions = {},
): AsyncGenerator<RawValues> {
  const history = new ScanHistory(hardLinks, sessions);
  const directories = new DirectoryReader(connection, hardLinks, notes, onLarge);
  let page = new ScanPage();
  let next = new ScanPage();
  connection.send(scanCommand("0", prefix));
  next.fill(await readScan(connection), prefix.length, wanted, history, notes, only);
  for (;;) {
    [page, next] = [next, page];
    const more = page.cursor !== "0";
    if (more) connection.send(scanCommand(page.cursor, prefix));
    connection.send(valueCommands(page));
    directories.askSizes(page.list(FAMILY_DIRECTORY));
    const asked = directories.askEntries();
    if (more) next.fill(await readScan(connection), prefix.length, wanted, history, notes, only);
    for (const family of VALUE_FAMILIES) yield* readValues(connection, family, page.list(family));
    await directories.readSizes(page.list(FAMILY_DIRECTORY));
    if (asked) yield* directories.readEntries();
    yield* directories.drain(more);
    if (!more) break;
  }
  yield* directories.readLarge();
}

function scanCommand(cursor: string, prefix: Buffer): Buffer {
  const match = prefix.length === 0 ? [] : ["MATCH", Buffer.concat([prefix, Buffer.from("*")])];
  return encodeCommand(["SCAN", cursor, ...match, "COUNT", SCAN_COUNT]);
}

async function readScan(connection: CommandTarget): Promise<ReplyBlock> {
  const block = await connection.read(1);
  throwIfError(block, connection, "SCAN");
  return block;
}

/** The commands for all keys of a page but directories, in the page's own buffer: they are answered before its next use. */
function valueCommands(page: ScanPage): Buffer {
  const { commands } = page;
  commands.length = 0;
  for (const family of VALUE_FAMILIES) writeReads(commands, family, page.list(family));
  return commands.written();
}
