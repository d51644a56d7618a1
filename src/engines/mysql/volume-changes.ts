import { setTimeout as sleep } from "node:timers/promises";
import { ConflictError } from "../../base/errors.ts";
import { TRASH_INODE } from "../../volume/inode.ts";
import { packBatch, type RecordBatch, unpackBatch } from "../../volume/records.ts";
import type { NewVolume, SettingChange } from "../engine.ts";
import type { SqlCatalog } from "../sql/catalog.ts";
import { unpackNodeRow } from "../sql/node-row.ts";
import { NEW_VOLUME_COUNTERS, NODE_COLUMNS } from "../sql/schema.ts";
import { LoadMarker } from "./load-marker.ts";
import type { MysqlAddress } from "./mysql-address.ts";
import { mysqlErrno } from "./mysql-errors.ts";
import { missingSchema, quote, readSettingRow } from "./mysql-schema.ts";
import { type MysqlSession, withSession } from "./mysql-session.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Deadlock, changed since the snapshot, duplicate key: another writer was there at the same moment, and nothing of the transaction
 * is stored, not even when the answer came to its COMMIT. A lost connection is none of these: then nobody knows.
 */
const COLLISIONS: ReadonlySet<number> = new Set([1213, 1020, 1062]);
const MAX_ATTEMPTS = 50;

/** Clients hold row locks for milliseconds; the lock of a table may have to wait for somebody's long transaction. */
const LIMIT_WAITING = "SET innodb_lock_wait_timeout = 30, lock_wait_timeout = 30";

const CLEANUP_TIMEOUT_MS = 30_000;

/** Runs `work` in a transaction, again when it collided with another writer: nothing of it was stored then. */
export async function inTransaction<T>(session: MysqlSession, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  await session.run(LIMIT_WAITING);
  for (let attempt = 0; ; attempt++) {
    try {
      await session.run("START TRANSACTION");
      const result = await work();
      await session.run("COMMIT");
      return result;
    } catch (error) {
      await session.run("ROLLBACK").catch(() => undefined); // what counts is why
      if (!COLLISIONS.has(mysqlErrno(error)) || attempt >= MAX_ATTEMPTS) throw error;
    }
    await sleep(attempt * attempt, undefined, { signal });
  }
}

/** What `format` stores for a new volume (docs/spec/sql.md §9.2). When that fails, no new tables are left behind. */
export async function createVolume(
  address: MysqlAddress,
  env: Environment,
  volume: NewVolume,
  signal: AbortSignal,
): Promise<void> {
  const created: string[] = [];
  try {
    await withSession(address, env, signal, async (session) => {
      await assertNoVolume(session, address);
      for (const { name } of session.catalog.missingTables()) created.push(session.catalog.table(name));
      await syncTables(session, address);
      await inTransaction(session, signal, () => storeVolume(session, address, volume));
    });
  } catch (error) {
    await dropEmptyTables(address, env, created);
    throw error;
  }
}

async function assertNoVolume(session: MysqlSession, address: MysqlAddress): Promise<void> {
  if ((await readSettingRow(session)) !== undefined) {
    throw new ConflictError("DECANT_E_VOLUME_EXISTS", `The database ${address.url} holds a volume already`);
  }
  const hint = await LoadMarker.hint(session);
  if (hint === undefined) return;
  throw new ConflictError("DECANT_E_TARGET_BUSY", `Another load into ${address.url} is running or was cut off`, {
    hint,
  });
}

async function storeVolume(session: MysqlSession, address: MysqlAddress, volume: NewVolume): Promise<void> {
  const { catalog } = session;
  if ((await readSettingRow(session, " FOR UPDATE")) !== undefined) {
    throw new ConflictError("DECANT_E_VOLUME_EXISTS", `The database ${address.url} holds a volume already`);
  }
  const nodes = await session.rows(`SELECT 1 FROM ${catalog.table("node")} LIMIT 1`);
  if (nodes.length > 0) {
    throw new ConflictError("DECANT_E_NOT_EMPTY", `Table ${catalog.table("node")} of ${address.url} is not empty`, {
      hint: "It is what a load left behind that did not complete; use another database or table_prefix",
    });
  }
  const counters = NEW_VOLUME_COUNTERS.map(([name, value]) => `('${name}', ${value})`).join(", ");
  await session.run(
    ...(volume.trashRoot === undefined ? [] : [nodeInsert(catalog, TRASH_INODE, volume.trashRoot)]),
    nodeInsert(catalog, 1n, volume.root),
    `INSERT INTO ${catalog.table("counter")} (name, value) VALUES ${counters} ON DUPLICATE KEY UPDATE value = VALUES(value)`,
    settingInsert(catalog, volume.setting),
  );
}

/** Tables that this process has created and in which nobody has stored anything. */
async function dropEmptyTables(address: MysqlAddress, env: Environment, created: readonly string[]): Promise<void> {
  if (created.length === 0) return;
  try {
    await withSession(address, env, AbortSignal.timeout(CLEANUP_TIMEOUT_MS), async (session) => {
      const present = created.filter((quoted) =>
        session.catalog.missingTables().every(({ name }) => session.catalog.table(name) !== quoted),
      );
      for (const table of present) {
        if ((await session.rows(`SELECT 1 FROM ${table} LIMIT 1`)).length > 0) return;
      }
      if (present.length > 0) await session.run(`DROP TABLE IF EXISTS ${present.join(", ")}`);
    });
  } catch {
    // They are empty: another attempt uses them.
  }
}

/**
 * Changes the setting with its row locked (docs/spec/sql.md §9.3). Where tables or columns are missing they are created
 * first, which ends a transaction: then the change is decided once more.
 */
export async function changeSetting(
  session: MysqlSession,
  address: MysqlAddress,
  signal: AbortSignal,
  change: (stored: Buffer | undefined) => SettingChange,
): Promise<void> {
  const attempt = (): Promise<"done" | "sync"> =>
    inTransaction(session, signal, async () => {
      const decided = change(await readSettingRow(session, " FOR UPDATE"));
      if (decided.setting === undefined) return "done";
      if (missingSchema(session.catalog, address.tablePrefix).length > 0) return "sync";
      const { catalog } = session;
      await session.run(
        ...(decided.dropDirStats ? [`DELETE FROM ${catalog.table("dir_stats")}`] : []),
        ...(decided.dropUserGroupQuotas ? [`DELETE FROM ${catalog.table("user_group_quota")}`] : []),
        ...(decided.trashRoot === undefined ? [] : [nodeInsert(catalog, TRASH_INODE, decided.trashRoot)]),
        settingInsert(catalog, decided.setting),
      );
      return "done";
    });
  while ((await attempt()) === "sync") await syncTables(session, address);
}

/** Sets the usage of every user and group to that of the batches, 0 where they have none; limits stay (docs/spec/sql.md §14.4). */
export async function storeUserGroupUsage(
  session: MysqlSession,
  address: MysqlAddress,
  signal: AbortSignal,
  usage: readonly RecordBatch[],
): Promise<void> {
  await syncTables(session, address);
  const table = session.catalog.table("user_group_quota");
  await inTransaction(session, signal, async () => {
    await session.run(`UPDATE ${table} SET used_space = 0, used_inodes = 0`);
    for (const batch of usage) {
      if (batch.kind !== "userQuota" && batch.kind !== "groupQuota") continue;
      const type = batch.kind === "userQuota" ? 1 : 2;
      const rows = Array.from(unpackBatch(batch.kind, batch), (record) => {
        const { key, maxSpace, maxInodes, usedSpace, usedInodes } = record;
        return `(${type}, ${BigInt.asIntN(64, key)}, ${maxSpace}, ${maxInodes}, ${usedSpace}, ${usedInodes})`;
      });
      if (rows.length === 0) continue;
      await session.run(
        `INSERT INTO ${table} (qtype, qkey, max_space, max_inodes, used_space, used_inodes) VALUES ${rows.join(", ")}
           ON DUPLICATE KEY UPDATE used_space = VALUES(used_space), used_inodes = VALUES(used_inodes)`,
      );
    }
  });
}

/** Creates tables, indexes and columns that an older volume lacks, as a client does that opens a session (docs/spec/sql.md §3.3). */
async function syncTables(session: MysqlSession, address: MysqlAddress): Promise<void> {
  const statements = missingSchema(session.catalog, address.tablePrefix);
  if (statements.length === 0) return;
  await session.run(LIMIT_WAITING, ...statements);
  await session.refreshCatalog();
}

/** Stores a node only when it is missing: an existing trash root keeps its attributes. */
function nodeInsert(catalog: SqlCatalog, inode: bigint, attribute: Buffer): string {
  const values: unknown[] = [];
  unpackNodeRow(packBatch("node", [{ inode, attribute }]).bytes, 0, values, 0);
  const columns = NODE_COLUMNS.map(quote).join(",");
  return `INSERT INTO ${catalog.table("node")} (${columns}) VALUES (${values.join(",")}) ON DUPLICATE KEY UPDATE inode = inode`;
}

/** Stores the setting, in the place of the old one. */
export function settingInsert(catalog: SqlCatalog, setting: Buffer): string {
  const row = `('format', _utf8mb4 x'${setting.toString("hex")}')`;
  return `INSERT INTO ${catalog.table("setting")} (name, value) VALUES ${row} ON DUPLICATE KEY UPDATE value = VALUES(value)`;
}
