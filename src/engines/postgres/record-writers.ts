import type { RecordKind } from "../../volume/records.ts";
import type { RowCounts } from "../sql/load-rows.ts";
import { REFERENCE_COLUMNS } from "../sql/record-rows.ts";
import { type RecordWriter, recordWriters } from "../sql/record-writers.ts";
import { numberColumn } from "../sql/row-sink.ts";
import { CopyWriter } from "./copy-writer.ts";
import { POSTGRES_COLUMNS } from "./value-limits.ts";

/** The rows of a volume that is being loaded, by table. */
export interface VolumeRows {
  readonly byKind: Partial<Record<RecordKind, RecordWriter<CopyWriter>>>;
  readonly writers: readonly CopyWriter[];
}

/** Names of the two tables that hold slice references until the end, for a source that tells only exceptions. */
export const GIVEN_REFERENCES = "decant_given";
export const DERIVED_REFERENCES = "decant_derived";

/** With `derives` slice references go into tables of their own. `rowsBefore` are stored already. */
export function volumeRows(derives: boolean, rowsBefore: RowCounts): VolumeRows {
  const writers: CopyWriter[] = [];
  const open = (table: string, columns: readonly string[]): CopyWriter => {
    const writer = new CopyWriter(table, columns, numberColumn(table, columns), rowsBefore.get(table));
    writers.push(writer);
    return writer;
  };
  const given = open(derives ? GIVEN_REFERENCES : "chunk_ref", REFERENCE_COLUMNS);
  const derived = derives ? open(DERIVED_REFERENCES, REFERENCE_COLUMNS) : undefined;
  return { byKind: recordWriters({ open, given, derived }, POSTGRES_COLUMNS), writers };
}
