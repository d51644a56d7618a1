import { newNodeRow } from "../sql/node-row.ts";
import { putNode, type RowDecoder } from "../sql/record-decoders.ts";
import type { RowReader } from "../sql/row-reader.ts";
import { NODE_COLUMNS } from "../sql/schema.ts";
import type { Catalog } from "./sqlite-schema.ts";
import type { TableScan } from "./table-scan.ts";

/** Columns that are 0 in nearly every row: turning five numbers into text and back takes a fifth of the time of a dump. */
const RARE_COLUMNS: readonly string[] = ["flags", "rdev", "access_acl_id", "default_acl_id", "tier_id"];
const COMMON_COLUMNS: readonly string[] = NODE_COLUMNS.filter((column) => !RARE_COLUMNS.includes(column));

/** Where the halves of these columns stand in a `NodeRow`. */
const COMMON_PLACES = placesOf(COMMON_COLUMNS);
const RARE_PLACES = placesOf(RARE_COLUMNS);

function placesOf(columns: readonly string[]): Uint8Array {
  return Uint8Array.from(columns, (column) => NODE_COLUMNS.indexOf(column) * 2);
}

/** The attributes of inodes. */
export function nodeScan(catalog: Catalog): TableScan {
  const field = (column: string): string => (column === "inode" ? "t.inode" : catalog.integer("node", column, "t"));
  return {
    kind: "node",
    table: "node",
    fields: COMMON_COLUMNS.map(field),
    rareFields: RARE_COLUMNS.map(field),
    newDecoder: packedNodeDecoder,
    key: "inode",
    inode: "inode",
  };
}

/** Decodes rows of `nodeScan`. */
export function packedNodeDecoder(): RowDecoder {
  const columns = newNodeRow();
  let isRare = false;
  return (row, out) => {
    readColumns(row, columns, COMMON_PLACES);
    row.readInt64();
    const wasRare = isRare;
    isRare = row.low !== 0;
    if (isRare) readColumns(row, columns, RARE_PLACES);
    else if (wasRare) clearColumns(columns, RARE_PLACES);
    putNode(columns, out);
  };
}

function readColumns(row: RowReader, columns: Int32Array, places: Uint8Array): void {
  for (let i = 0; i < places.length; i++) {
    const place = places[i]!;
    row.readInt64();
    columns[place] = row.high;
    columns[place + 1] = row.low;
  }
}

function clearColumns(columns: Int32Array, places: Uint8Array): void {
  for (const place of places) columns.fill(0, place, place + 2);
}
