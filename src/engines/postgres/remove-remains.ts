import { ConflictError } from "../../base/errors.ts";
import { SQL_TABLES } from "../sql/schema.ts";
import { findLoad } from "./load-marker.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { readSettingRow } from "./postgres-schema.ts";
import { referenceTables } from "./reference-tables.ts";
import { endOtherLoad, lockTarget } from "./target-state.ts";

/**
 * Drops the tables of a load that was cut off after its first checkpoint: those of a volume, which did not exist before it. False when
 * there is no marker, as where it came to no checkpoint: then the server has left nothing of it. One that still runs fails.
 */
export async function removeRemains(connection: PostgresConnection, signal: AbortSignal): Promise<boolean> {
  await connection.readCatalog();
  if ((await findLoad(connection)) === undefined) return false;
  await endOtherLoad(connection);
  return connection.transaction("BEGIN", async () => {
    await lockTarget(connection, signal);
    const setting = await readSettingRow(connection);
    if (setting !== undefined) {
      throw new ConflictError("DECANT_E_TARGET_TAKEN", `There is a volume in ${connection.address.url}`);
    }
    if ((await findLoad(connection)) === undefined) return false;
    await dropTables(connection);
    return true;
  });
}

/** Drops what a load creates, in the caller's transaction. */
export async function dropTables(connection: PostgresConnection): Promise<void> {
  const { catalog, address } = connection;
  const names = SQL_TABLES.filter(({ name }) => catalog.has(name)).map(({ name }) => catalog.table(name));
  await connection.run(`DROP TABLE IF EXISTS ${[...names, ...referenceTables(address.tablePrefix)].join(",")}`);
}
