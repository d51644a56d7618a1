import { ByteWriter } from "../../base/bytes.ts";
import { encodeCommand } from "./command-writer.ts";
import { DirectoryReader } from "./directory-reader.ts";
import type { Notes } from "./notes.ts";
import type { RawValues } from "./raw-values.ts";
import {
  FAMILY_CHUNK,
  FAMILY_DIRECTORY,
  FAMILY_NODE,
  FAMILY_PARENT,
  FAMILY_SYMLINK,
  FAMILY_XATTR,
} from "./redis-keys.ts";
import type { RespConnection } from "./resp-connection.ts";
import type { ReplyBlock } from "./resp-parser.ts";
import { type InodeFilter, ScanHistory, ScanPage } from "./scan-page.ts";
import type { SeenSet } from "./seen-set.ts";
import {
  HGETALL_HEAD,
  LRANGE_HEAD,
  LRANGE_TAIL,
  readMget,
  readPerKey,
  throwIfError,
  writeMget,
  writePerKey,
} from "./value-commands.ts";

/** Keys per SCAN call: larger saves nothing, smaller costs (measured). */
const SCAN_COUNT = "5000";
/** Symlink targets per MGET: each may have 4096 bytes. */
const SYMLINKS_PER_CALL = 1000;
const NODES_PER_CALL = 10_000;

/**
 * Reads the values of all keys of the wanted families with one SCAN over the whole keyspace. While the values of one page
 * are on their way the next page is asked for, so the server never waits for us.
 */
export async function* readKeyspace(
  connection: RespConnection,
  prefix: Buffer,
  wanted: ReadonlySet<number>,
  notes: Notes,
  hardLinks: SeenSet,
  only?: InodeFilter,
): AsyncGenerator<RawValues> {
  const history = new ScanHistory(hardLinks);
  const directories = new DirectoryReader(connection, hardLinks);
  const writer = new ByteWriter(262_144);
  let page = new ScanPage();
  let next = new ScanPage();
  connection.send(scanCommand("0", prefix));
  next.fill(await readScan(connection), prefix.length, wanted, history, notes, only);
  for (;;) {
    [page, next] = [next, page];
    const more = page.cursor !== "0";
    if (more) connection.send(scanCommand(page.cursor, prefix));
    connection.send(valueCommands(writer, page));
    directories.askSizes(page.list(FAMILY_DIRECTORY));
    const asked = directories.askEntries();
    if (more) next.fill(await readScan(connection), prefix.length, wanted, history, notes, only);
    yield* readValues(connection, page);
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

async function readScan(connection: RespConnection): Promise<ReplyBlock> {
  const block = await connection.read(1);
  throwIfError(block, connection, "SCAN");
  return block;
}

/** The commands for all keys of a page but directories, in the order of `readValues`. `writer` is empty again after it. */
function valueCommands(writer: ByteWriter, page: ScanPage): Buffer {
  writeMget(writer, page.list(FAMILY_NODE), NODES_PER_CALL);
  writeMget(writer, page.list(FAMILY_SYMLINK), SYMLINKS_PER_CALL);
  writePerKey(writer, page.list(FAMILY_CHUNK), LRANGE_HEAD, LRANGE_TAIL);
  writePerKey(writer, page.list(FAMILY_XATTR), HGETALL_HEAD, undefined);
  writePerKey(writer, page.list(FAMILY_PARENT), HGETALL_HEAD, undefined);
  // A copy of the right size: the writer's own buffer stays.
  const commands = Buffer.from(writer.view());
  writer.length = 0;
  return commands;
}

async function* readValues(connection: RespConnection, page: ScanPage): AsyncGenerator<RawValues> {
  yield* readMget(connection, FAMILY_NODE, page.list(FAMILY_NODE), NODES_PER_CALL);
  yield* readMget(connection, FAMILY_SYMLINK, page.list(FAMILY_SYMLINK), SYMLINKS_PER_CALL);
  yield* readPerKey(connection, FAMILY_CHUNK, page.list(FAMILY_CHUNK));
  yield* readPerKey(connection, FAMILY_XATTR, page.list(FAMILY_XATTR));
  yield* readPerKey(connection, FAMILY_PARENT, page.list(FAMILY_PARENT));
}
