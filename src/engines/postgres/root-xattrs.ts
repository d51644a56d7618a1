import { NotFoundError } from "../../base/errors.ts";
import { ROOT_INODE } from "../../volume/inode.ts";
import type { RootXattrSwap } from "../engine.ts";
import { changeLogEntries, isExpected, SwapOutcome, swapChanges, swapNames } from "../root-xattrs.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { readSettingRow } from "./postgres-schema.ts";
import { inTransaction } from "./volume-changes.ts";

/** Extended attributes of the root: rows of `jfs_xattr` (docs/spec/sql.md §4.5). Inside the caller's transaction. */
export async function readRootXattrs(
  connection: PostgresConnection,
  names: readonly string[],
): Promise<Map<string, Buffer>> {
  await readSetting(connection);
  return readXattrs(connection, names);
}

/**
 * The row of the setting is locked first, which keeps agents apart. Rows of the attributes are locked against clients; those
 * that are missing are put in, as a row that is not there cannot be locked, and taken out again where they have no value.
 */
export function swapRootXattrs(
  connection: PostgresConnection,
  swap: RootXattrSwap,
  signal: AbortSignal,
): Promise<boolean> {
  const outcome = new SwapOutcome();
  return outcome.settle(connection.address.url, signal, () =>
    inTransaction(connection, signal, async () => {
      outcome.begin();
      const setting = await readSetting(connection, "FOR UPDATE");
      const names = swapNames(swap);
      const inserted = new Set<string>();
      let stored = await readXattrs(connection, names, "FOR UPDATE");
      while (isExpected(swap, stored) && !(await insertMissing(connection, swap, names, stored, inserted))) {
        const others = names.filter((name) => !inserted.has(name));
        stored = await readXattrs(connection, others, "FOR UPDATE");
      }
      const isSwapped = isExpected(swap, stored);
      const changes = isSwapped ? swapChanges(swap, stored) : [];
      const table = connection.catalog.table("xattr");
      const removed = [...inserted].filter((name) => !isSwapped || swap.values.get(name) === undefined);
      for (const { name, value } of changes) {
        if (value === undefined) removed.push(name);
        else if (stored.has(name)) {
          await connection.run(`UPDATE ${table} SET value = $1 WHERE inode = $2 AND name = $3`, [
            value,
            ROOT_INODE,
            name,
          ]);
        }
      }
      for (const name of removed) {
        await connection.run(`DELETE FROM ${table} WHERE inode = $1 AND name = $2`, [ROOT_INODE, name]);
      }
      if (connection.catalog.has("change_log")) {
        const log = connection.catalog.table("change_log");
        for (const entry of changeLogEntries(setting, changes)) {
          await connection.run(`INSERT INTO ${log} (entry) VALUES ($1)`, [entry]);
        }
      }
      if (changes.length > 0) outcome.end();
      return isSwapped;
    }),
  );
}

/** Puts in every row that is missing, with the value that it is to get; false when somebody else has just stored one. */
async function insertMissing(
  connection: PostgresConnection,
  swap: RootXattrSwap,
  names: readonly string[],
  stored: ReadonlyMap<string, Buffer>,
  inserted: Set<string>,
): Promise<boolean> {
  const table = connection.catalog.table("xattr");
  for (const name of names) {
    if (stored.has(name) || inserted.has(name)) continue;
    const rows = await connection.rows(
      `INSERT INTO ${table} (inode, name, value) VALUES ($1, $2, $3) ON CONFLICT (inode, name) DO NOTHING RETURNING id`,
      [ROOT_INODE, name, swap.values.get(name) ?? Buffer.alloc(0)],
    );
    if (rows.length === 0) return false;
    inserted.add(name);
  }
  return true;
}

type Lock = "" | "FOR UPDATE";

async function readSetting(connection: PostgresConnection, lock: Lock = ""): Promise<Buffer> {
  const setting = await readSettingRow(connection, lock);
  if (setting !== undefined) return setting;
  throw new NotFoundError("DECANT_E_NO_VOLUME", `There is no volume in ${connection.address.url}`, {
    hint: "The database is not formatted, or the volume has another table_prefix or search_path",
  });
}

async function readXattrs(
  connection: PostgresConnection,
  names: readonly string[],
  lock: Lock = "",
): Promise<Map<string, Buffer>> {
  const table = connection.catalog.table("xattr");
  const found = new Map<string, Buffer>();
  for (const name of names) {
    const query = `SELECT value FROM ${table} WHERE inode = $1 AND name = $2 ${lock}`;
    const [row] = await connection.rows<[value: Buffer]>(query, [ROOT_INODE, name]);
    if (row !== undefined) found.set(name, row[0]);
  }
  return found;
}

export async function serverTime(connection: PostgresConnection): Promise<Date> {
  const query = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
  const [row] = await connection.rows<[milliseconds: bigint]>(query);
  return new Date(Number(row![0]));
}
