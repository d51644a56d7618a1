import { ConflictError } from "../../base/errors.ts";
import { SQL_TABLES, tableName } from "../sql/schema.ts";
import { LoadMarker } from "./load-marker.ts";
import { quote, readSettingRow } from "./mysql-schema.ts";
import type { MysqlSession } from "./mysql-session.ts";

/** How long others may still use the tables. */
const LOCK_SECONDS = 60;

/**
 * Drops the tables that a load which was cut off has created: those of a volume, which did not exist before it. False when
 * there is no marker, nor the one table without a row in which it was about to be written. A load that still runs fails.
 */
export async function removeRemains(session: MysqlSession): Promise<boolean> {
  if (!(await LoadMarker.isThere(session)) && !(await LoadMarker.isMissing(session))) return false;
  await LoadMarker.endConnections(session);
  if ((await readSettingRow(session)) !== undefined) {
    throw new ConflictError("DECANT_E_TARGET_TAKEN", `There is a volume in ${session.connection.address.url}`);
  }
  await session.run(`SET lock_wait_timeout = ${LOCK_SECONDS}`);
  const { catalog, connection } = session;
  const present = SQL_TABLES.filter(({ name }) => catalog.has(name));
  await dropTables(
    session,
    present.map(({ name }) => tableName(connection.address.tablePrefix, name)),
  );
  return true;
}

/** Drops tables by their full names in the order in which a load creates them: the first one, with the marker, goes last. */
export async function dropTables(session: MysqlSession, names: readonly string[]): Promise<void> {
  const [setting, ...others] = names.map(quote);
  if (others.length > 0) await session.run(`DROP TABLE IF EXISTS ${others.join(", ")}`);
  if (setting !== undefined) await session.run(`DROP TABLE IF EXISTS ${setting}`);
}
