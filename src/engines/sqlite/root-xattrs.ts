import { NotFoundError } from "../../base/errors.ts";
import { ROOT_INODE } from "../../volume/inode.ts";
import type { RootXattrSwap } from "../engine.ts";
import { changeLogEntries, isExpected, SwapOutcome, swapChanges, swapNames } from "../root-xattrs.ts";
import type { SqliteAddress } from "./sqlite-address.ts";
import { type Connection, withReader, withWriter } from "./sqlite-connection.ts";
import { Catalog, readSettingRow } from "./sqlite-schema.ts";

/** Extended attributes of the root: rows of `jfs_xattr` (docs/spec/sql.md §4.5). */
export function readRootXattrs(
  address: SqliteAddress,
  names: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, Buffer>> {
  return withReader(address, signal, (db) => {
    readSetting(db, address);
    return readXattrs(db, new Catalog(db, address.tablePrefix), names);
  });
}

/** The write lock is held from the beginning, so nobody comes between. */
export function swapRootXattrs(address: SqliteAddress, swap: RootXattrSwap, signal: AbortSignal): Promise<boolean> {
  const outcome = new SwapOutcome();
  return outcome.settle(address.url, signal, () =>
    withWriter(address, signal, (db) => {
      outcome.begin();
      const setting = readSetting(db, address);
      const catalog = new Catalog(db, address.tablePrefix);
      const stored = readXattrs(db, catalog, swapNames(swap));
      if (!isExpected(swap, stored)) return false;
      const changes = swapChanges(swap, stored);
      if (changes.length === 0) return true;
      const table = catalog.table("xattr");
      const insert = db.prepare(`INSERT INTO ${table} (inode, name, value) VALUES (${ROOT_INODE}, ?, ?)`);
      const update = db.prepare(`UPDATE ${table} SET value = ? WHERE inode = ${ROOT_INODE} AND name = ?`);
      const remove = db.prepare(`DELETE FROM ${table} WHERE inode = ${ROOT_INODE} AND name = ?`);
      for (const { name, value } of changes) {
        if (value === undefined) remove.run(name);
        else if (stored.has(name)) update.run(value, name);
        else insert.run(name, value);
      }
      if (catalog.has("change_log")) {
        const log = db.prepare(`INSERT INTO ${catalog.table("change_log")} (entry) VALUES (?)`);
        for (const entry of changeLogEntries(setting, changes)) log.run(entry);
      }
      outcome.end();
      return true;
    }),
  );
}

function readSetting(db: Connection, address: SqliteAddress): Buffer {
  const setting = readSettingRow(db, address.tablePrefix);
  if (setting !== undefined) return setting;
  throw new NotFoundError("DECANT_E_NO_VOLUME", `There is no volume in ${address.url}`, {
    hint: "The database is not formatted, or the volume has another table_prefix",
  });
}

function readXattrs(db: Connection, catalog: Catalog, names: readonly string[]): Map<string, Buffer> {
  const select = db
    .prepare(`SELECT CAST(value AS BLOB) FROM ${catalog.table("xattr")} WHERE inode = ${ROOT_INODE} AND name = ?`)
    .pluck();
  const found = new Map<string, Buffer>();
  for (const name of names) {
    const value = select.get(name);
    if (Buffer.isBuffer(value)) found.set(name, value);
  }
  return found;
}
