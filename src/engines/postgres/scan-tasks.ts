import { tableName } from "../sql/schema.ts";
import type { TableScan } from "../sql/table-scans.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { storedName } from "./stored-names.ts";

/** A part of a scan: the rows that meet `condition`, all where it is undefined. */
export interface ScanTask {
  readonly scan: TableScan;
  readonly condition?: string;
}

/** The first version that reads a range of a table's blocks without reading the others. */
const RANGE_VERSION = 140_000n;
/** Blocks of one task, 32 MiB of them with the usual size: enough for a COPY to be worth its while. */
const TASK_BLOCKS = 4096n;

/**
 * The scans in parts, by ranges of the tables' blocks, so that one huge table is spread over all connections. A row stands in
 * one block as long as the snapshot lives, whatever others write, because the tables are locked against being rewritten.
 */
export async function splitScans(connection: PostgresConnection, scans: readonly TableScan[]): Promise<ScanTask[]> {
  const blocks = await countBlocks(connection);
  const { tablePrefix } = connection.address;
  return scans.flatMap((scan): ScanTask[] => {
    const count = blocks.get(storedName(tableName(tablePrefix, scan.table))) ?? 0n;
    // A scan with a condition has an index, which gives only the few rows that are wanted.
    if (scan.where !== undefined || count <= TASK_BLOCKS) return [{ scan }];
    const starts = Array.from({ length: Number((count - 1n) / TASK_BLOCKS) + 1 }, (_, i) => BigInt(i) * TASK_BLOCKS);
    return starts.map((start, i) => ({ scan, condition: blockRange(start, starts[i + 1]) }));
  });
}

/** The last range is open: rows of the snapshot are never beyond it, but then nothing depends on that. */
function blockRange(start: bigint, end: bigint | undefined): string {
  const from = `ctid >= '(${start},0)'`;
  return end === undefined ? from : `${from} AND ctid < '(${end},0)'`;
}

/** Blocks by full table name; empty where the server cannot read ranges of them. */
async function countBlocks(connection: PostgresConnection): Promise<Map<string, bigint>> {
  const rows = await connection.rows<[name: string, blocks: bigint]>(
    `SELECT c.relname::text, pg_relation_size(c.oid) / current_setting('block_size')::bigint
       FROM pg_catalog.pg_class c
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       JOIN pg_catalog.pg_am a ON a.oid = c.relam
      WHERE n.nspname = $1 AND c.relkind = 'r' AND a.amname = 'heap' AND c.relname LIKE 'jfs\\_%'
        AND current_setting('server_version_num')::bigint >= ${RANGE_VERSION}`,
    [connection.address.schema],
  );
  return new Map(rows);
}
