import { SQL_TABLES, type SqlType } from "../../sql/schema.ts";
import type { RecordReader } from "./cells.ts";
import type { StoredTable } from "./stored-schema.ts";

/** Says of the record read last whether it is a row of the table, by the types of its values. */
export function shapeOf({ columns, alias }: StoredTable, table: string, record: RecordReader): () => boolean {
  const types = new Map(SQL_TABLES.find(({ name }) => name === table)!.columns.map((column) => [column.name, column]));
  const checks = columns.map((name, i): ((column: number) => boolean) => {
    const { type, nullable } = types.get(name) ?? { type: undefined, nullable: true };
    if (i === alias) return (column) => record.isNull(column);
    return (column) =>
      (nullable === true && record.isNull(column)) || type === undefined || hasType(record, column, type, name);
  });
  // Rows from before a column was added end earlier.
  const least = table === "node" ? columns.indexOf("length") + 1 : columns.length;
  return () =>
    record.columns >= least &&
    record.columns <= columns.length &&
    checks.every((isRight, column) => column >= record.columns || isRight(column));
}

function hasType(record: RecordReader, column: number, type: SqlType, name: string): boolean {
  if (type === "int32" || type === "int64") return record.isInteger(column);
  if (type === "name" || type === "text") return record.isText(column);
  // Lists of slices that were appended to are texts (docs/spec/sql.md §4.3).
  return record.isBytes(column) && (name === "slices" || !record.isText(column));
}
