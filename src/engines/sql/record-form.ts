import { ByteWriter, viewOf } from "../../base/bytes.ts";
import { decodeAclRule, encodeAclRule } from "../../volume/acl.ts";
import {
  ATTR_ATIME,
  ATTR_BASE_BYTES,
  ATTR_CTIME,
  ATTR_MAX_BYTES,
  ATTR_MTIME,
  ATTR_TAIL,
} from "../../volume/attribute.ts";
import { packBatch, type RecordBatch, unpackBatch } from "../../volume/records.ts";
import { type RecordForm, readCounters, SINGLE_REFERENCES, sharedSlices } from "../record-form.ts";
import { type NodeRow, newNodeRow, packNodeRow, type SqlInteger, unpackNodeRow } from "./node-row.ts";

/** Rows hold the values of the records: they come back in the newest form, whatever form they had (docs/spec/sql.md §4). */
export const sqlRecordForm: RecordForm = {
  computed: new Set(["parent"]),

  missing: new Map([
    ["sliceRef", SINGLE_REFERENCES],
    ["parent", "parents of files with several names, which SQL databases count from the directory entries"],
    ["counter", "the number of the change log"],
  ]),

  stored(batch: RecordBatch): RecordBatch {
    switch (batch.kind) {
      case "node":
        return asRows(batch);
      case "sliceRef":
        return sharedSlices(batch, (id) => id !== 0n); // slice 0 is no slice (docs/spec/sql.md §12.1)
      case "acl":
        return packBatch(
          "acl",
          Array.from(unpackBatch("acl", batch), ({ id, rule }) => ({ id, rule: encodeAclRule(decodeAclRule(rule)) })),
        );
      case "counter":
        return readCounters(batch, true);
      case "parent":
        return { ...batch, count: 0, bytes: Buffer.alloc(0) };
      default:
        return batch;
    }
  },
};

/** Nodes as they are after they were rows; the batch itself where all records have that form already, as nearly always. */
function asRows(batch: RecordBatch): RecordBatch {
  const { kind, count, bytes } = batch;
  const view = viewOf(bytes);
  let changed: ByteWriter | undefined;
  let from = 0; // of the records that stay as they are and are not copied yet
  let at = 0;
  const values: SqlInteger[] = [];
  const row = newNodeRow();
  for (let i = 0; i < count; i++) {
    const next = at + 10 + view.getUint16(at + 8);
    if (!isNewestForm(view, at + 10, next)) {
      changed ??= new ByteWriter(bytes.length + ATTR_MAX_BYTES);
      changed.writeSlice(bytes, from, at);
      unpackNodeRow(bytes, at, values, 0);
      toHalves(values, row);
      packNodeRow(row, changed);
      from = next;
    }
    at = next;
  }
  if (changed === undefined) return batch;
  changed.writeSlice(bytes, from, at);
  return { kind, count, bytes: changed.written() };
}

/** True for records that a row certainly gives back as they are; for others that has to be tried. */
function isNewestForm(view: DataView, start: number, end: number): boolean {
  return (
    hasNewestTail(view, start, end) &&
    isPlainTime(view, start + ATTR_ATIME) &&
    isPlainTime(view, start + ATTR_MTIME) &&
    isPlainTime(view, start + ATTR_CTIME)
  );
}

function hasNewestTail(view: DataView, start: number, end: number): boolean {
  const size = end - start;
  if (size < ATTR_BASE_BYTES || size > ATTR_MAX_BYTES || view.getUint8(end - 1) !== 0) return false;
  if (size === ATTR_BASE_BYTES) return true;
  const tier = start + size - 2;
  if (size === ATTR_BASE_BYTES + 1) return view.getUint8(tier) !== 0;
  const hasAcl = view.getInt32(start + ATTR_TAIL) !== 0 || view.getInt32(start + ATTR_TAIL + 4) !== 0;
  return hasAcl && (size === ATTR_BASE_BYTES + 8 || (size === ATTR_MAX_BYTES && view.getUint8(tier) !== 0));
}

/** From 1970 to 2242, where microseconds and the rest are exact. */
function isPlainTime(view: DataView, at: number): boolean {
  return view.getUint32(at) <= 1 && view.getUint32(at + 8) < 1_000_000_000;
}

function toHalves(values: readonly SqlInteger[], row: NodeRow): void {
  values.forEach((value, column) => {
    const bits = BigInt.asIntN(64, BigInt(value));
    row[2 * column] = Number(bits >> 32n);
    row[2 * column + 1] = Number(BigInt.asIntN(32, bits));
  });
}
