import { setTimeout as sleep } from "node:timers/promises";
import { ConflictError, EngineError } from "../../base/errors.ts";
import { TRASH_INODE } from "../../volume/inode.ts";
import { packBatch, type RecordBatch, unpackBatch } from "../../volume/records.ts";
import type { NewVolume, SettingChange } from "../engine.ts";
import { unpackNodeRow } from "../sql/node-row.ts";
import { NEW_VOLUME_COUNTERS, NODE_COLUMNS, tableName } from "../sql/schema.ts";
import type { PostgresConnection, SqlValue } from "./postgres-connection.ts";
import { sqlState } from "./postgres-errors.ts";
import { readSettingRow, syncTables } from "./postgres-schema.ts";
import { quote } from "./stored-names.ts";

/** Clients hold row locks for milliseconds; a table lock may have to wait for somebody's long transaction. */
const BEGIN = "BEGIN; SET LOCAL lock_timeout = '30s'";

/**
 * Serialization failure, deadlock: another writer was there at the same moment, and nothing of the transaction is stored, not even
 * when the answer came to its COMMIT. A lost connection is none of these: then nobody knows.
 */
const COLLISIONS: ReadonlySet<string | undefined> = new Set(["40001", "40P01"]);
const MAX_ATTEMPTS = 50;

/** Runs `work` in a transaction, again when it collided with another writer. */
export async function inTransaction<T>(
  connection: PostgresConnection,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await connection.transaction(BEGIN, work);
    } catch (error) {
      const state = error instanceof EngineError ? sqlState(error.cause) : undefined;
      if (!COLLISIONS.has(state) || attempt >= MAX_ATTEMPTS) throw error;
    }
    await sleep(attempt * attempt, undefined, { signal });
  }
}

/**
 * What `format` stores for a new volume (docs/spec/sql.md §9.2), in one transaction, so that the database holds all of it or
 * nothing. Other tables in the database, also of a volume with another prefix, do not matter.
 */
export async function createVolumeRows(
  connection: PostgresConnection,
  signal: AbortSignal,
  volume: NewVolume,
): Promise<void> {
  const { tablePrefix } = connection.address;
  await inTransaction(connection, signal, async () => {
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
  signal: AbortSignal,
  change: (stored: Buffer | undefined) => SettingChange,
): Promise<void> {
  await inTransaction(connection, signal, async () => {
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
  signal: AbortSignal,
  usage: readonly RecordBatch[],
): Promise<void> {
  await inTransaction(connection, signal, async () => {
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
