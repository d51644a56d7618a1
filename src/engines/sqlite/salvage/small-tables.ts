import type { SnapshotLoss } from "../../engine.ts";
import { tableName } from "../../sql/schema.ts";
import { STANDARD_COUNTERS } from "../../sql/standard-counters.ts";
import type { DatabaseImage } from "./database-image.ts";
import type { StoredSchema } from "./stored-schema.ts";
import { type LostRange, RangeList, TableWalk } from "./table-walk.ts";

/** The setting, or why it cannot be read: undefined where nothing is damaged and there is none. */
export function readStoredSetting(
  image: DatabaseImage,
  schema: StoredSchema,
): Buffer | { readonly damage: string | undefined } {
  const table = schema.table("setting");
  if (table === undefined) return { damage: undefined };
  const walk = new TableWalk(image);
  const [name, value] = ["name", "value"].map((column) => table.columns.indexOf(column));
  const read = (): Buffer | undefined => {
    const { record } = walk;
    const isSetting =
      record.columns === 2 &&
      record.isBytes(name!) &&
      record.isBytes(value!) &&
      record.bytes(name!).toString() === "format";
    return isSetting && record.bytes(value!).length > 0 ? Buffer.from(record.bytes(value!)) : undefined;
  };
  for (const _ of walk.rows(table.root)) {
    const setting = read();
    if (setting !== undefined) return setting;
  }
  const [lost] = walk.lost;
  if (lost === undefined) return { damage: undefined };
  // Where the description of the table is lost, its page is there all the same.
  const free = table.root === undefined ? image.readFreePages() : undefined;
  if (free !== undefined) {
    for (const isFound of walk.orphans(free, new RangeList(walk.lost), () => read() !== undefined)) {
      if (isFound) return read()!;
    }
  }
  return { damage: schema.damage ?? damageOf(lost) };
}

export interface StoredCounters {
  readonly values: ReadonlyMap<string, bigint>;
  readonly losses: readonly SnapshotLoss[];
}

/** All counters; those that every volume has are 0 where they are lost (docs/spec/sql.md §5). */
export function readCounters(image: DatabaseImage, schema: StoredSchema, prefix: string): StoredCounters {
  const values = new Map<string, bigint>(STANDARD_COUNTERS.map((name) => [name, 0n]));
  const losses: SnapshotLoss[] = [];
  const fullName = tableName(prefix, "counter");
  const lose = (what: string): void => void losses.push({ kind: "counter", message: `table ${fullName}${what}` });
  const table = schema.table("counter");
  if (table === undefined) {
    lose(": it does not exist");
    return { values, losses };
  }
  const walk = new TableWalk(image);
  const { record, cell } = walk;
  const found = new Set<string>();
  const [nameAt, valueAt] = ["name", "value"].map((column) => table.columns.indexOf(column));
  const isRow = (): boolean => record.columns === 2 && record.isText(nameAt!) && record.isInteger(valueAt!);
  const take = (): void => {
    if (record.columns <= Math.max(nameAt!, valueAt!) || !record.isBytes(nameAt!)) {
      lose(`, row ${cell.rowid}: the name is no text`);
      return;
    }
    const name = record.bytes(nameAt!).toString();
    found.add(name);
    if (record.isInteger(valueAt!)) values.set(name, record.integer(valueAt!));
    else lose(`, name ${name}: the value is no integer`);
  };
  if (nameAt! < 0 || valueAt! < 0) lose(": it has no column name or value");
  else {
    for (const _ of walk.rows(table.root)) take();
    const free = table.root === undefined ? image.readFreePages() : undefined;
    if (free !== undefined)
      for (const isFound of walk.orphans(free, new RangeList(walk.lost), isRow)) if (isFound) take();
    for (const range of walk.lost) if (table.root !== undefined) lose(`: ${damageOf(range, image)}`);
  }
  // The hour directories of the trash have a counter only once there was one.
  for (const name of STANDARD_COUNTERS) {
    if (name !== "nextTrash" && !found.has(name)) lose(`: there is no ${name}, which is taken as 0`);
  }
  return { values, losses };
}

/** The last version of the change log, 0 where there is none. */
export function readLastChange(
  image: DatabaseImage,
  schema: StoredSchema,
  prefix: string,
): { readonly version: bigint; readonly loss: SnapshotLoss | undefined } {
  const walk = new TableWalk(image);
  let version = 0n;
  for (const _ of walk.rows(schema.table("change_log")?.root)) version = walk.cell.rowid;
  // Only what is damaged behind the last row matters.
  const damage = walk.lost.find(({ high }) => high > version);
  if (damage === undefined) return { version, loss: undefined };
  const message = `table ${tableName(prefix, "change_log")}: ${damageOf(damage, image)}; its last version may be larger than ${version}`;
  return { version, loss: { kind: "counter", message } };
}

function damageOf({ page, why }: LostRange, image?: DatabaseImage): string {
  const file = image === undefined ? "" : ` of ${image.path}`;
  return page === undefined ? why : `page ${page}${file} is damaged: ${why}`;
}
