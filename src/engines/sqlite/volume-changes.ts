import { ConflictError } from "../../base/errors.ts";
import { TRASH_INODE } from "../../volume/inode.ts";
import { packBatch, type RecordBatch, unpackBatch } from "../../volume/records.ts";
import type { NewVolume, SettingChange } from "../engine.ts";
import { unpackNodeRow } from "../sql/node-row.ts";
import { NEW_VOLUME_COUNTERS, NODE_COLUMNS, SQL_TABLES, tableName } from "../sql/schema.ts";
import type { Connection } from "./sqlite-connection.ts";
import { Catalog, createIndexSql, createTableSql, quote, readSettingRow } from "./sqlite-schema.ts";

/**
 * What `format` stores for a new volume (docs/spec/sql.md §9.2), inside the caller's transaction, so that the database holds
 * all of it or nothing. Other tables in the database, also of a volume with another prefix, do not matter.
 */
export function createVolumeRows(db: Connection, prefix: string, volume: NewVolume): void {
  if (readSettingRow(db, prefix) !== undefined) {
    throw new ConflictError("DECANT_E_VOLUME_EXISTS", "The database holds a volume already");
  }
  syncTables(db, prefix);
  const node = quote(tableName(prefix, "node"));
  if (db.prepare(`SELECT 1 FROM ${node} LIMIT 1`).get() !== undefined) {
    throw new ConflictError("DECANT_E_NOT_EMPTY", `Table ${tableName(prefix, "node")} is not empty`, {
      hint: "It is what a load left behind that did not complete; use another database or table_prefix",
    });
  }
  if (volume.trashRoot !== undefined) insertNode(db, prefix, TRASH_INODE, volume.trashRoot);
  insertNode(db, prefix, 1n, volume.root);
  const counters = db.prepare(`INSERT OR REPLACE INTO ${quote(tableName(prefix, "counter"))} VALUES (?, ?)`);
  for (const [name, value] of NEW_VOLUME_COUNTERS) counters.run(name, value);
  storeSetting(db, prefix, volume.setting);
}

/** Applies a change of the setting inside the caller's write transaction (docs/spec/sql.md §9.3). */
export function changeSetting(
  db: Connection,
  prefix: string,
  change: (stored: Buffer | undefined) => SettingChange,
): void {
  const decided = change(readSettingRow(db, prefix));
  if (decided.setting === undefined) return;
  syncTables(db, prefix);
  if (decided.dropDirStats) db.exec(`DELETE FROM ${quote(tableName(prefix, "dir_stats"))}`);
  if (decided.dropUserGroupQuotas) db.exec(`DELETE FROM ${quote(tableName(prefix, "user_group_quota"))}`);
  if (decided.trashRoot !== undefined) insertNode(db, prefix, TRASH_INODE, decided.trashRoot);
  storeSetting(db, prefix, decided.setting);
}

/** Sets the usage of every user and group to that of the batches, 0 where they have none; limits stay (docs/spec/sql.md §14.4). */
export function storeUserGroupUsage(db: Connection, prefix: string, usage: readonly RecordBatch[]): void {
  syncTables(db, prefix);
  const table = quote(tableName(prefix, "user_group_quota"));
  db.exec(`UPDATE ${table} SET used_space = 0, used_inodes = 0`);
  const store = db.prepare(
    `INSERT INTO ${table} (qtype, qkey, max_space, max_inodes, used_space, used_inodes) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (qtype, qkey) DO UPDATE SET used_space = excluded.used_space, used_inodes = excluded.used_inodes`,
  );
  for (const batch of usage) {
    if (batch.kind !== "userQuota" && batch.kind !== "groupQuota") continue;
    const type = batch.kind === "userQuota" ? 1 : 2;
    for (const { key, maxSpace, maxInodes, usedSpace, usedInodes } of unpackBatch(batch.kind, batch)) {
      store.run(type, BigInt.asIntN(64, key), maxSpace, maxInodes, usedSpace, usedInodes);
    }
  }
}

/** Creates tables, indexes and columns that an older volume lacks, as a client does that opens a session (docs/spec/sql.md §3.3). */
export function syncTables(db: Connection, prefix: string): void {
  const catalog = new Catalog(db, prefix);
  for (const table of SQL_TABLES) {
    if (!catalog.has(table.name)) {
      db.exec(createTableSql(table, prefix));
      for (const sql of createIndexSql(table, prefix)) db.exec(sql);
      continue;
    }
    for (const sql of catalog.missingColumns(table)) db.exec(sql);
  }
}

function insertNode(db: Connection, prefix: string, inode: bigint, attribute: Buffer): void {
  const { bytes } = packBatch("node", [{ inode, attribute }]);
  const values: unknown[] = [];
  unpackNodeRow(bytes, 0, values, 0);
  const marks = NODE_COLUMNS.map(() => "?").join(",");
  // Only when it is missing: an existing trash root keeps its attributes.
  const table = quote(tableName(prefix, "node"));
  db.prepare(`INSERT OR IGNORE INTO ${table} (${NODE_COLUMNS.join(",")}) VALUES (${marks})`).run(values);
}

function storeSetting(db: Connection, prefix: string, setting: Buffer): void {
  db.prepare(
    `INSERT INTO ${quote(tableName(prefix, "setting"))} (name, value) VALUES ('format', CAST(? AS TEXT))
       ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
  ).run(setting);
}
