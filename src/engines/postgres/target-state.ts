import { setTimeout as sleep } from "node:timers/promises";
import { ConflictError, EngineError } from "../../base/errors.ts";
import type { TargetState } from "../engine.ts";
import { findLoad } from "./load-marker.ts";
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
  if ((await countTables(connection)) > 0n) {
    const message = `database ${dsn} is not empty`;
    const load = await findLoad(connection);
    if (load === undefined) return { state: "occupied", message };
    if (load.progress !== undefined) return { state: "interrupted", progress: load.progress, message };
    return {
      state: "occupied",
      message,
      hint: "A load by another version of decant is running there or was cut off: when it is not running, load again with --clean",
    };
  }
  if (found[0]) return { state: "empty" };
  throw new EngineError(
    "DECANT_E_POSTGRES_PERMISSION",
    `The user may not create tables in schema ${schema} of ${url}`,
    {
      hint: `Let the owner of the database run: GRANT CREATE ON SCHEMA ${schema} TO user`,
    },
  );
}

/** Throws `ConflictError` unless the target is empty. */
export function refuseTarget(connection: PostgresConnection, target: TargetState): void {
  if (target.state === "empty") return;
  const message =
    target.state === "volume" ? `database ${connection.address.url} holds a volume already` : target.message;
  throw new ConflictError("DECANT_E_NOT_EMPTY", message);
}

const LOCK = "hashtext('decant load'), hashtext($1)";
/** The sessions that hold the lock. A pair of numbers is shown as two unsigned ones (objsubid 2). */
const LOCK_HOLDERS = `SELECT l.pid FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = current_database()
  WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.pid <> pg_backend_pid()
    AND l.classid::bigint = hashtext('decant load')::bigint & 4294967295
    AND l.objid::bigint = hashtext($1)::bigint & 4294967295`;

/**
 * Takes the lock that all of decant's loads into this schema and prefix need, until the end of the transaction: a second one
 * would else wait for the first one's tables for hours, and then fail. Not for the session: a pool between us and the server
 * would keep it when we are gone. Between two transactions of a load its marker tells whether another came in between.
 */
export async function lockTarget(
  connection: PostgresConnection,
  signal: AbortSignal,
  timeoutMs: number = LOCK_TIMEOUT_MS,
): Promise<void> {
  const { url } = connection.address;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const [row] = await connection.rows<[boolean]>(`SELECT pg_try_advisory_xact_lock(${LOCK})`, [lockName(connection)]);
    if (row![0]) return;
    if (performance.now() > deadline) break;
    await sleep(RETRY_MS, undefined, { signal });
  }
  throw new ConflictError("DECANT_E_TARGET_BUSY", `Another load into ${url} is under way`, {
    hint: "Wait for its end, or stop it; if it runs nowhere any more, --resume and --clean end its session, where the user may do that (pg_terminate_backend)",
  });
}

/**
 * Ends the session of a load that holds the lock, whose place another one takes. Where the server does not permit that, `lockTarget`
 * throws when the load is still at work.
 */
export async function endOtherLoad(connection: PostgresConnection, only?: bigint): Promise<void> {
  const holders = await connection.rows<[pid: bigint]>(LOCK_HOLDERS, [lockName(connection)]);
  for (const [pid] of holders) {
    if (only !== undefined && pid !== only) continue;
    await connection.run(`SELECT pg_terminate_backend(${pid})`).catch((error) => {
      if (!(error instanceof EngineError) || error.code !== "DECANT_E_POSTGRES_PERMISSION") throw error;
    });
  }
}

function lockName({ address }: PostgresConnection): string {
  return `${address.schema}.${address.tablePrefix}`;
}
