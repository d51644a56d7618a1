import { viewOf } from "../../base/bytes.ts";
import { errorText } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { numberColumn } from "../sql/row-sink.ts";
import { SQL_TABLES, type SqlType, tableName } from "../sql/schema.ts";
import { InsertWriter } from "./insert-writer.ts";
import { LoadDataWriter } from "./load-data-writer.ts";
import { quote } from "./mysql-schema.ts";
import type { MysqlSession } from "./mysql-session.ts";
import type { RowTable, RowWriter } from "./row-writer.ts";

/** How rows get to the server. */
export type RowPath = "load data" | "insert";

const TEXTS: ReadonlySet<SqlType> = new Set(["name", "text"]);

/**
 * The fastest writer for a table, that may follow `path`. `tail` follows the rows of its statements: then they are `INSERT`.
 * `rowsBefore` are stored already, which matters where rows are numbered.
 */
export function openRowWriter(
  session: MysqlSession,
  path: RowPath,
  table: string,
  columns: readonly string[],
  { tail, rowsBefore }: { readonly tail?: string | undefined; readonly rowsBefore?: number | undefined } = {},
): RowWriter {
  const prefix = session.connection.address.tablePrefix;
  const target: RowTable = {
    name: table,
    fullName: quote(tableName(prefix, table)),
    columns,
    numberColumn: numberColumn(table, columns),
    rowsBefore,
  };
  const packet = session.server.maxAllowedPacket;
  const isBinary = path === "load data" && tail === undefined && !hasText(table);
  return isBinary ? new LoadDataWriter(target, packet) : new InsertWriter(target, packet, tail);
}

/** Text is converted to the character set of its column, which only a statement can ask for value by value. */
function hasText(table: string): boolean {
  return SQL_TABLES.find(({ name }) => name === table)!.columns.some(({ type }) => TEXTS.has(type));
}

/** Every byte, also where it follows a backslash. */
const PROBE: Buffer = Buffer.from(Array.from({ length: 256 }, (_, byte) => [byte, 0x5c]).flat());
const PROBE_TABLE = "delslices";
const PROBE_ID = -(1n << 63n);

/**
 * Whether a server that says that it takes rows by `LOAD DATA LOCAL INFILE` does so, and stores every byte and number as it is:
 * some refuse it, and so do some proxies. Tried with one row of the table of delayed slices, which no load fills, by a connection of its own,
 * `session`, that may be of no use after it. Whether it was stored or not, the caller removes it by `removeProbe`.
 */
export async function choosePath(session: MysqlSession, logger: Logger): Promise<RowPath> {
  if (!session.server.hasLocalInfile) {
    logger.debug("Rows are stored by INSERT: local_infile of the server is off");
    return "insert";
  }
  try {
    const writer = openRowWriter(session, "load data", PROBE_TABLE, ["chunkid", "deleted", "slices"]);
    writer.begin(PROBE.length);
    writer.putInt64(PROBE_ID);
    writer.putInt64(0);
    writer.putBytes(viewOf(PROBE), 0, PROBE.length);
    writer.commit();
    await writer.store(session.connection, writer.take()!);
    const [row] = await session.rows<[id: bigint, slices: Buffer]>(
      `SELECT chunkid, slices FROM ${probeTable(session)}`,
    );
    if (row?.[0] === PROBE_ID && row[1].equals(PROBE)) return "load data";
    logger.debug("Rows are stored by INSERT: LOAD DATA does not store bytes as they are");
  } catch (error) {
    logger.debug(`Rows are stored by INSERT: ${errorText(error)}`);
  }
  return "insert";
}

/** Empties the table that `choosePath` has tried with. */
export async function removeProbe(session: MysqlSession): Promise<void> {
  await session.run(`DELETE FROM ${probeTable(session)}`);
}

function probeTable(session: MysqlSession): string {
  return session.catalog.table(PROBE_TABLE);
}
