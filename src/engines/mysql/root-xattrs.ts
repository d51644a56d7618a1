import { NotFoundError } from "../../base/errors.ts";
import { ROOT_INODE } from "../../volume/inode.ts";
import type { RootXattrSwap } from "../engine.ts";
import { changeLogEntries, isExpected, SwapOutcome, swapChanges, swapNames } from "../root-xattrs.ts";
import type { MysqlAddress } from "./mysql-address.ts";
import { readSettingRow } from "./mysql-schema.ts";
import type { MysqlSession } from "./mysql-session.ts";
import { inTransaction } from "./volume-changes.ts";

/**
 * Extended attributes of the root: rows of `jfs_xattr` (docs/spec/sql.md §4.5). Names are compared as the server compares them,
 * in the collation of the column: for every client `lastbackup` is the same attribute as `lastBackup`.
 */
export async function readRootXattrs(
  session: MysqlSession,
  address: MysqlAddress,
  names: readonly string[],
): Promise<Map<string, Buffer>> {
  await session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
  await readSetting(session, address);
  return readXattrs(session, names);
}

/**
 * The row of the setting is locked first, which keeps agents apart. Then those of the attributes are; where there is none, the
 * gap that it would be put in, as the isolation level is REPEATABLE READ: a client that would store one has to wait.
 */
export function swapRootXattrs(
  session: MysqlSession,
  address: MysqlAddress,
  swap: RootXattrSwap,
  signal: AbortSignal,
): Promise<boolean> {
  const outcome = new SwapOutcome();
  return outcome.settle(address.url, signal, () =>
    inTransaction(session, signal, async () => {
      outcome.begin();
      const setting = await readSetting(session, address, " FOR UPDATE");
      const stored = await readXattrs(session, swapNames(swap), " FOR UPDATE");
      if (!isExpected(swap, stored)) return false;
      const changes = swapChanges(swap, stored);
      if (changes.length === 0) return true;
      const table = session.catalog.table("xattr");
      for (const { name, value } of changes) {
        const where = `WHERE inode = ${ROOT_INODE} AND name = ${text(name)}`;
        if (value === undefined) await session.run(`DELETE FROM ${table} ${where}`);
        else if (stored.has(name)) await session.run(`UPDATE ${table} SET value = ${bytes(value)} ${where}`);
        else {
          const row = `(${ROOT_INODE}, ${text(name)}, ${bytes(value)})`;
          await session.run(`INSERT INTO ${table} (inode, name, value) VALUES ${row}`);
        }
      }
      if (session.catalog.has("change_log")) {
        const log = session.catalog.table("change_log");
        for (const entry of changeLogEntries(setting, changes)) {
          await session.run(`INSERT INTO ${log} (entry) VALUES (${text(entry)})`);
        }
      }
      outcome.end();
      return true;
    }),
  );
}

type Lock = "" | " FOR UPDATE";

async function readSetting(session: MysqlSession, address: MysqlAddress, lock: Lock = ""): Promise<Buffer> {
  const setting = await readSettingRow(session, lock);
  if (setting !== undefined) return setting;
  throw new NotFoundError("DECANT_E_NO_VOLUME", `There is no volume in ${address.url}`, {
    hint: "The database is not formatted, or the volume has another table_prefix",
  });
}

async function readXattrs(
  session: MysqlSession,
  names: readonly string[],
  lock: Lock = "",
): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  for (const name of names) {
    const where = `WHERE inode = ${ROOT_INODE} AND name = ${text(name)}`;
    const [row] = await session.rows<[value: Buffer]>(
      `SELECT value FROM ${session.catalog.table("xattr")} ${where}${lock}`,
    );
    if (row !== undefined) found.set(name, row[0]);
  }
  return found;
}

function text(value: string): string {
  return `_utf8mb4 x'${Buffer.from(value).toString("hex")}'`;
}

function bytes(value: Buffer): string {
  return `x'${value.toString("hex")}'`;
}

/** In UTC, whatever the time zone of the session. */
export async function serverTime(session: MysqlSession): Promise<Date> {
  const [row] = await session.rows<[microseconds: bigint]>(
    "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3))",
  );
  return new Date(Number(row![0] / 1000n));
}
