import { EngineError, errorText } from "../../base/errors.ts";
import { SQL_TABLES } from "../sql/schema.ts";
import { PostgresConnection } from "./postgres-connection.ts";

/** Every statement of it sees the same state, also while others go on writing (docs/spec/sql.md §16.3). */
const BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/** Tables that a snapshot never reads; a user may have no right to them. */
const UNREAD_TABLES: ReadonlySet<string> = new Set([
  "delegation_token",
  "delslices",
  "detached_node",
  "flock",
  "plock",
  "session2",
]);

/**
 * Begins a read transaction, with the volume's tables locked against being emptied or rewritten, which a snapshot does not
 * protect from. The next statement that reads fixes the view.
 */
export async function beginReading(connection: PostgresConnection): Promise<void> {
  const catalog = await connection.readCatalog();
  const names = SQL_TABLES.map(({ name }) => name).filter((name) => catalog.has(name) && !UNREAD_TABLES.has(name));
  await connection.run(BEGIN);
  if (names.length === 0) return;
  await connection.run(`LOCK TABLE ${names.map((name) => catalog.table(name)).join(", ")} IN ACCESS SHARE MODE`);
}

/**
 * Opens connections whose transactions see exactly what that of `leader` sees, for as long as that one lives (docs/spec/sql.md
 * §16.3). Without them the leader reads alone: then the reason comes in their place.
 */
export async function joinSnapshot(
  leader: PostgresConnection,
  count: number,
  signal: AbortSignal,
): Promise<PostgresConnection[] | { readonly reason: string }> {
  // An error here ends the leader's transaction too, so it is not caught.
  const [row] = await leader.rows<[string]>("SELECT pg_export_snapshot()");
  const attempts = Array.from({ length: count }, () => openWorker(leader, row![0], signal));
  const results = await Promise.allSettled(attempts);
  const workers = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const failed = results.find((result) => result.status === "rejected");
  if (failed === undefined) return workers;
  await Promise.all(workers.map((worker) => worker.close()));
  if (signal.aborted || !(failed.reason instanceof EngineError)) throw failed.reason;
  return { reason: errorText(failed.reason) };
}

async function openWorker(
  leader: PostgresConnection,
  snapshot: string,
  signal: AbortSignal,
): Promise<PostgresConnection> {
  const worker = await PostgresConnection.open(leader.address, signal);
  try {
    await worker.run(BEGIN);
    await worker.run(`SET TRANSACTION SNAPSHOT '${snapshot}'`);
    await worker.readCatalog();
    return worker;
  } catch (error) {
    await worker.close();
    throw error;
  }
}
