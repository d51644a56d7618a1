import { SLICE_BYTES } from "../../volume/slices.ts";
import type { SnapshotLoss } from "../engine.ts";
import { SqlCatalog } from "./catalog.ts";
import { FIELD_BYTES, FIELD_INTEGER, FIELD_NULL, type FieldRow } from "./field-row.ts";
import type { BatchQueue, RowDecoder } from "./record-decoders.ts";
import { NODE_COLUMNS, SQL_TABLES, type SqlColumn, tableName } from "./schema.ts";
import { type TableScan, tableScans } from "./table-scans.ts";

/** A column as a damaged table is looked at: what its values must be. */
interface ColumnRule {
  readonly name: string;
  readonly is: "int32" | "int64" | "bytes";
  readonly nullable: boolean;
}

/** Names are stored with a 16-bit length. */
const MAX_NAME_BYTES = 0xffff;
/** u32 id, u16 permission (docs/spec/sql.md §4.6). */
const ACL_ENTRY_BYTES = 6;

const OTHER_INODE_KINDS: ReadonlySet<string> = new Set(["sustained", "delFile", "dirStat", "quota"]);
/** Columns of node without which a row says nothing; all others are taken as 0 where the table has lost them. */
const NEEDED_NODE_COLUMNS: ReadonlySet<string> = new Set(["inode", "type"]);
/** Columns that clients have added in the course of time, so that old volumes rightly lack them (docs/spec/sql.md §3.3). */
const LATER_NODE_COLUMNS: ReadonlySet<string> = new Set([
  ...["atimensec", "mtimensec", "ctimensec", "access_acl_id", "default_acl_id", "tier_id"],
]);
/** Tables that came later, oldest first: where one of them is there, a client has made all that came before it. */
const LATER_TABLES: readonly (readonly string[])[] = [
  ["delslices", "dir_stats", "dir_quota", "detached_node"],
  ["acl"],
  ["user_group_quota", "delegation_token", "change_log"],
];

/**
 * How the records of one kind are read from a table that may be damaged: the same columns and decoders as otherwise
 * (table-scans.ts), each row checked before it is decoded.
 */
export class SalvageScan {
  readonly scan: TableScan;
  /** Columns in the order of the decoder; undefined where the table has lost one that is taken as 0. */
  readonly columns: readonly (string | undefined)[];
  readonly fullTable: string;
  /** Column that names the row to people: one of `columns`, or the one that numbers the rows. */
  readonly key: string;
  readonly #rules: readonly (ColumnRule | undefined)[];
  readonly #decode: RowDecoder;

  constructor(scan: TableScan, prefix: string) {
    this.scan = scan;
    this.fullTable = tableName(prefix, scan.table);
    const table = SQL_TABLES.find(({ name }) => name === scan.table)!;
    const rules = new Map(table.columns.map((column) => [column.name, ruleOf(column)]));
    this.columns = scan.columns.map((column) => (column === "0" ? undefined : column));
    this.#rules = this.columns.map((column) => (column === undefined ? undefined : rules.get(column)!));
    this.key = table.columns.some(({ name }) => name === "id") ? "id" : this.columns[0]!;
    this.#decode = scan.newDecoder();
  }

  /** Which rows are wanted on a server; those that cannot be compared are, so that they are told. Undefined: all. */
  get condition(): string | undefined {
    const { kind, where } = this.scan;
    if (kind === "sliceRef") return `(${where} OR refs IS NULL OR chunkid IS NULL)`;
    return kind === "userQuota" ? `(${where} OR qtype IS NULL)` : where;
  }

  /** True for the column that only names the row, which a server is to be asked for besides the others. */
  get asksForNumber(): boolean {
    return !this.columns.includes(this.key);
  }

  /** Whether a column holds integers, by the place in `columns`. */
  isInteger(field: number): boolean {
    return this.#rules[field]?.is !== "bytes";
  }

  /** Appends the record of a row, or says what is wrong with it. `number` is that of the row, where it has one. */
  take(row: FieldRow, out: BatchQueue, number: bigint | undefined): SnapshotLoss | undefined {
    const wrong = this.#whatIsWrong(row);
    if (wrong === undefined) {
      row.rewind();
      this.#decode(row, out);
      return undefined;
    }
    return this.lossOf(row, number, wrong);
  }

  /** What is told of a row that is left out. */
  lossOf(row: FieldRow, number: bigint | undefined, wrong: string): SnapshotLoss {
    const inode = this.#inodeOf(row);
    const message = `table ${this.fullTable}${this.#nameOf(row, number)}: ${wrong}`;
    return { kind: this.scan.kind, ...(inode === undefined ? {} : { inode }), message };
  }

  #nameOf(row: FieldRow, number: bigint | undefined): string {
    const field = this.columns.indexOf(this.key);
    if (field >= 0 && row.kinds[field] === FIELD_INTEGER) {
      return `, ${this.key} ${BigInt.asUintN(64, row.integer(field))}`;
    }
    return number === undefined ? ", a row" : `, ${field < 0 ? this.key : "row"} ${number}`;
  }

  #inodeOf(row: FieldRow): bigint | undefined {
    const { kind, inode } = this.scan;
    const column = inode ?? (OTHER_INODE_KINDS.has(kind) ? "inode" : undefined);
    const field = column === undefined ? -1 : this.columns.indexOf(column);
    return field >= 0 && row.kinds[field] === FIELD_INTEGER ? BigInt.asUintN(64, row.integer(field)) : undefined;
  }

  #whatIsWrong(row: FieldRow): string | undefined {
    for (let i = 0; i < this.#rules.length; i++) {
      const rule = this.#rules[i];
      if (rule === undefined) continue;
      const kind = row.kinds[i];
      if (kind === FIELD_NULL) {
        if (!rule.nullable) return `${rule.name} is NULL`;
      } else if (rule.is === "bytes") {
        if (kind !== FIELD_BYTES) return `${rule.name} is no byte string`;
        const size = row.sizes[i]!;
        if (rule.name === "name" && size > MAX_NAME_BYTES) return `name has ${size} bytes`;
        if (rule.name === "slices" && size % SLICE_BYTES !== 0) {
          return `slices has ${size} bytes, which is no multiple of ${SLICE_BYTES}`;
        }
        if (rule.name.startsWith("named_") && size % ACL_ENTRY_BYTES !== 0) {
          return `${rule.name} has ${size} bytes, which is no multiple of ${ACL_ENTRY_BYTES}`;
        }
      } else if (kind !== FIELD_INTEGER) {
        return `${rule.name} is no integer`;
      } else if (rule.is === "int32" && !row.isInt32(i)) {
        return `${rule.name} is ${row.integer(i)}, which no 32 bits hold`;
      } else if (rule.name === "type" && this.scan.kind === "node" && (row.integer(i) & 0xf0n) !== 0n) {
        return `type is ${row.integer(i)}, which no record holds`;
      }
    }
    return undefined;
  }
}

function ruleOf({ name, type, nullable, defaultZero }: SqlColumn): ColumnRule {
  const is = type === "int32" || type === "int64" ? type : "bytes";
  return { name, is, nullable: nullable === true || defaultZero === true };
}

/** All scans of what a damaged database still has; `tell` hears of tables and columns that it has lost. */
export function salvageScans(
  catalog: SqlCatalog,
  prefix: string,
  kinds: ReadonlySet<string>,
  tell: (loss: SnapshotLoss) => void,
): SalvageScan[] {
  // A catalog that has everything gives all scans; what is not there is told instead of being left out.
  const all = new Map(
    SQL_TABLES.map(({ name, columns }) => [tableName(prefix, name), new Set(columns.map((column) => column.name))]),
  );
  const whole = tableScans(new SqlCatalog(prefix, all, (name) => name), (name) => name);
  const told = new Set<string>();
  const scans: SalvageScan[] = [];
  for (const scan of whole) {
    if (!kinds.has(scan.kind)) continue;
    const wrong = catalog.has(scan.table) ? missingColumn(catalog, scan) : missingTable(catalog, scan.table);
    if (wrong === "old") continue;
    const fullName = tableName(prefix, scan.table);
    if (wrong !== undefined) {
      if (!told.has(fullName)) tell({ kind: scan.kind, message: `table ${fullName}: ${wrong}` });
      told.add(fullName);
      continue;
    }
    const lost = scan.kind === "node" ? lostNodeColumns(catalog) : [];
    if (lost.length > 0) {
      tell({
        kind: "node",
        message: `table ${fullName}: there is no column ${lost.join(", ")}, which is taken as 0 in every row`,
      });
    }
    const columns = scan.columns.map((column) => (catalog.hasColumn(scan.table, column) ? column : "0"));
    scans.push(new SalvageScan({ ...scan, columns }, prefix));
  }
  return scans;
}

function missingTable(catalog: SqlCatalog, table: string): string | "old" {
  const age = LATER_TABLES.findIndex((tables) => tables.includes(table));
  const since = LATER_TABLES.slice(Math.max(age, 0)).flat();
  return age >= 0 && !since.some((name) => catalog.has(name)) ? "old" : "it does not exist";
}

function missingColumn(catalog: SqlCatalog, { table, columns }: TableScan): string | undefined {
  const needed = table === "node" ? [...NEEDED_NODE_COLUMNS] : columns;
  const missing = needed.filter((column) => !catalog.hasColumn(table, column));
  return missing.length === 0 ? undefined : `it has no column ${missing.join(", ")}`;
}

function lostNodeColumns(catalog: SqlCatalog): string[] {
  return NODE_COLUMNS.filter((column) => !LATER_NODE_COLUMNS.has(column) && !catalog.hasColumn("node", column));
}
