import { ConflictError } from "../../base/errors.ts";
import { TRASH_INODE } from "../../volume/inode.ts";
import { packBatch, type RecordBatch, unpackBatch } from "../../volume/records.ts";
import type { NewVolume, SettingChange } from "../engine.ts";
import { unpackNodeRow } from "../sql/node-row.ts";
import { NEW_VOLUME_COUNTERS, NODE_COLUMNS, tableName } from "../sql/schema.ts";
import type { PostgresConnection, SqlValue } from "./postgres-connection.ts";
import { quote, readSettingRow, syncTables } from "./postgres-schema.ts";

/** Clients hold row locks for milliseconds; a table lock may have to wait for somebody's long transaction. */
const BEGIN = "BEGIN; SET LOCAL lock_timeout = '30s'";

/**
 * What `format` stores for a new volume (docs/spec/sql.md §9.2), in one transaction, so that the database holds all of it or
 * nothing. Other tables in the database, also of a volume with another prefix, do not matter.
 */
export async function createVolumeRows(connection: PostgresConnection, volume: NewVolume): Promise<void> {
  const { tablePrefix } = connection.address;
  await connection.transaction(BEGIN, async () => {
    if ((await readSettingRow(connection)) !== undefined) {
      throw new ConflictError("DECANT_E_VOLUME_EXISTS", "The database holds a volume already");
    }
    await syncTables(connection);
    const node = connection.catalog.table("node");
    if ((await connection.rows(`SELECT 1 FROM ${node} LIMIT 1`)).length > 0) {
      throw new ConflictError("DECANT_E_NOT_EMPTY", `Table ${tableName(tablePrefix, "node")} is not empty`, {
        hint: "It is what a load left behind that did not complete; use another database or table_prefix",
      });
    }
    if (volume.trashRoot !== undefined) await insertNode(connection, TRASH_INODE, volume.trashRoot);
    await insertNode(connection, 1n, volume.root);
    for (const [name, value] of NEW_VOLUME_COUNTERS) {
      await connection.run(
        `INSERT INTO ${connection.catalog.table("counter")} (name, value) VALUES ($1, $2)
           ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
        [name, value],
      );
    }
    await storeSetting(connection, volume.setting);
  });
}

/** Changes the setting while its row is locked: no other writer comes between (docs/spec/sql.md §9.3). */
export async function changeSetting(
  connection: PostgresConnection,
  change: (stored: Buffer | undefined) => SettingChange,
): Promise<void> {
  await connection.transaction(BEGIN, async () => {
    const decided = change(await readSettingRow(connection, "FOR UPDATE"));
    if (decided.setting === undefined) return;
    await syncTables(connection);
    const { catalog } = connection;
    if (decided.dropDirStats) await connection.run(`DELETE FROM ${catalog.table("dir_stats")}`);
    if (decided.dropUserGroupQuotas) await connection.run(`DELETE FROM ${catalog.table("user_group_quota")}`);
    if (decided.trashRoot !== undefined) await insertNode(connection, TRASH_INODE, decided.trashRoot);
    await storeSetting(connection, decided.setting);
  });
}

/** Sets the usage of every user and group to that of the batches, 0 where they have none; limits stay (docs/spec/sql.md §14.4). */
export async function storeUserGroupUsage(
  connection: PostgresConnection,
  usage: readonly RecordBatch[],
): Promise<void> {
  await connection.transaction(BEGIN, async () => {
    await syncTables(connection);
    const table = connection.catalog.table("user_group_quota");
    await connection.run(`UPDATE ${table} SET used_space = 0, used_inodes = 0`);
    for (const batch of usage) {
      if (batch.kind !== "userQuota" && batch.kind !== "groupQuota") continue;
      const type = batch.kind === "userQuota" ? 1 : 2;
      for (const { key, maxSpace, maxInodes, usedSpace, usedInodes } of unpackBatch(batch.kind, batch)) {
        await connection.run(
          `INSERT INTO ${table} (qtype, qkey, max_space, max_inodes, used_space, used_inodes)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (qtype, qkey)
               DO UPDATE SET used_space = excluded.used_space, used_inodes = excluded.used_inodes`,
          [type, BigInt.asIntN(64, key), maxSpace, maxInodes, usedSpace, usedInodes],
        );
      }
    }
  });
}

async function insertNode(connection: PostgresConnection, inode: bigint, attribute: Buffer): Promise<void> {
  const { bytes } = packBatch("node", [{ inode, attribute }]);
  const values: unknown[] = [];
  unpackNodeRow(bytes, 0, values, 0);
  const columns = NODE_COLUMNS.map(quote).join(",");
  const marks = NODE_COLUMNS.map((_, i) => `$${i + 1}`).join(",");
  // Only when it is missing: an existing trash root keeps its attributes.
  const table = connection.catalog.table("node");
  const statement = `INSERT INTO ${table} (${columns}) VALUES (${marks}) ON CONFLICT (inode) DO NOTHING`;
  await connection.run(statement, values as SqlValue[]);
}

async function storeSetting(connection: PostgresConnection, setting: Buffer): Promise<void> {
  await connection.run(
    `INSERT INTO ${connection.catalog.table("setting")} (name, value) VALUES ('format', $1)
       ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
    [setting.toString()],
  );
}
