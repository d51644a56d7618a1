import { setTimeout as sleep } from "node:timers/promises";
import { ConflictError, EngineError } from "../../base/errors.ts";
import type { TargetState } from "../engine.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { countTables, readSettingRow } from "./postgres-schema.ts";

/** How long to wait for another load: the server needs a moment to notice that a client has gone. */
const LOCK_TIMEOUT_MS = 1000;
const RETRY_MS = 50;

/** What a load would meet; in the reference's own words (docs/spec/sql.md §11.1). */
export async function inspectTarget(connection: PostgresConnection): Promise<TargetState> {
  const { schema, url, dsn } = connection.address;
  const query = `SELECT has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace WHERE nspname = $1`;
  const [found] = await connection.rows<[boolean]>(query, [schema]);
  if (found === undefined) {
    throw new EngineError("DECANT_E_POSTGRES_SCHEMA", `There is no schema ${schema} in ${url}`, {
      hint: `Create it with: CREATE SCHEMA ${schema}; or correct search_path in the address`,
    });
  }
  const setting = await readSettingRow(connection);
  if (setting !== undefined) return { state: "volume", setting };
  if ((await countTables(connection)) > 0n) return { state: "occupied", message: `database ${dsn} is not empty` };
  if (found[0]) return { state: "empty" };
  throw new EngineError(
    "DECANT_E_POSTGRES_PERMISSION",
    `The user may not create tables in schema ${schema} of ${url}`,
    {
      hint: `Let the owner of the database run: GRANT CREATE ON SCHEMA ${schema} TO user`,
    },
  );
}

/** Throws `ConflictError` unless a load may begin. */
export async function assertEmpty(connection: PostgresConnection): Promise<void> {
  const target = await inspectTarget(connection);
  if (target.state === "empty") return;
  const message =
    target.state === "occupied" ? target.message : `database ${connection.address.url} holds a volume already`;
  throw new ConflictError("DECANT_E_NOT_EMPTY", message);
}

/**
 * Takes the lock that all of decant's loads into this schema and prefix need, until the end of the transaction: a second one
 * would else wait for the first one's tables for hours, and then fail.
 */
export async function lockTarget(connection: PostgresConnection, signal: AbortSignal): Promise<void> {
  const { schema, tablePrefix, url } = connection.address;
  const deadline = performance.now() + LOCK_TIMEOUT_MS;
  for (;;) {
    const query = "SELECT pg_try_advisory_xact_lock(hashtext('decant load'), hashtext($1))";
    const [row] = await connection.rows<[boolean]>(query, [`${schema}.${tablePrefix}`]);
    if (row![0]) return;
    if (performance.now() > deadline) break;
    await sleep(RETRY_MS, undefined, { signal });
  }
  throw new ConflictError("DECANT_E_TARGET_BUSY", `Another load into ${url} is under way`, {
    hint: "Wait for its end, or stop it; if it was killed, the server may need a moment to notice",
  });
}
