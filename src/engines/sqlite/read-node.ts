import { PackedRowReader } from "../sql/decimal.ts";
import { NoteList } from "../sql/note-list.ts";
import { BatchQueue } from "../sql/record-decoders.ts";
import { nodeScan, packedNodeDecoder } from "./packed-node.ts";
import type { Connection } from "./sqlite-connection.ts";
import type { Catalog } from "./sqlite-schema.ts";
import { packedRow } from "./table-scans.ts";

/** Size of the head of a packed `node` record: u64 inode, u16 size. */
const NODE_HEAD_BYTES = 10;

/** Reads attribute records by inode; the statement is prepared once. */
export function nodeReader(db: Connection, catalog: Catalog): (inode: bigint) => Buffer | undefined {
  const query = `SELECT CAST(${packedRow(nodeScan(catalog))} AS BLOB) FROM ${catalog.table("node")} t WHERE t.inode = ?`;
  const select = db.prepare(query).pluck();
  const decode = packedNodeDecoder();
  const row = new PackedRowReader("node");
  const out = new BatchQueue("node", new NoteList(), () => Buffer.alloc(0));
  return (inode) => {
    const bytes = select.get(BigInt.asIntN(64, inode)) as Buffer | undefined;
    if (bytes === undefined) return undefined;
    row.open(bytes);
    decode(row, out);
    return Buffer.from(out.builder.take()!.bytes.subarray(NODE_HEAD_BYTES));
  };
}
