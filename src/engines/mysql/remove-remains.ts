import { ConflictError } from "../../base/errors.ts";
import { SQL_TABLES } from "../sql/schema.ts";
import { LoadMarker } from "./load-marker.ts";
import { readSettingRow } from "./mysql-schema.ts";
import type { MysqlSession } from "./mysql-session.ts";

/**
 * Drops the tables that a load which was cut off has created: those of a volume, which did not exist before it. The setting
 * table goes last, as the marker in it says what the others are. False when there is no marker.
 */
export async function removeRemains(session: MysqlSession): Promise<boolean> {
  if (!(await LoadMarker.isThere(session))) return false;
  if ((await readSettingRow(session)) !== undefined) {
    throw new ConflictError("DECANT_E_TARGET_TAKEN", `There is a volume in ${session.connection.address.url}`);
  }
  const { catalog } = session;
  const names = SQL_TABLES.map(({ name }) => name).filter((name) => name !== "setting" && catalog.has(name));
  for (const name of [...names, "setting"]) await session.run(`DROP TABLE ${catalog.table(name)}`);
  return true;
}
