import { errorText, isAbortError } from "../../base/errors.ts";
import type { Consistency } from "../engine.ts";
import { SQL_TABLES } from "../sql/schema.ts";
import type { MysqlAddress } from "./mysql-address.ts";
import { mysqlErrno } from "./mysql-errors.ts";
import { MysqlSession } from "./mysql-session.ts";

type Environment = Readonly<Record<string, string | undefined>>;

const BEGIN = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/** Writers wait behind a lock that waits for others: it is given up after so many seconds. */
const LOCK_SECONDS = 5;
/** Rights to lock that the user does not have, and locks that were not to be had in time. */
const NOT_LOCKED: ReadonlySet<number> = new Set([1044, 1142, 1227, 1205]);

export interface SharedSnapshot {
  /** Sessions whose transactions see the same state; the first one is the caller's. */
  readonly sessions: readonly MysqlSession[];
  readonly asOf: Date;
  /** How it was made, in one sentence without final period. */
  readonly method: string;
}

/** Tables of a storage engine without snapshots are as of no instant. */
export function consistencyOf({ sessions, method, asOf }: SharedSnapshot): Consistency {
  const outside = sessions[0]!.tables.withoutSnapshot;
  return outside.length === 0
    ? { pointInTime: true, method, asOf }
    : { pointInTime: false, method: `the storage engine of ${outside.join(", ")} knows no snapshots`, asOf };
}

/**
 * Begins a transaction with a consistent snapshot in `leader` and in `others` more sessions. Servers cannot hand a snapshot
 * on, so all of them begin while a lock keeps the volume from changing, for a few milliseconds (docs/spec/sql.md §16.2). The
 * lock of the volume's tables is tried before the global one, which would stop other databases too. Without a lock there is
 * one transaction.
 */
export async function beginSnapshots(
  leader: MysqlSession,
  others: number,
  env: Environment,
  signal: AbortSignal,
): Promise<SharedSnapshot> {
  if (others === 0) return beginAlone(leader, "");
  const { address } = leader.connection;
  let opened: MysqlSession[] = [];
  try {
    opened = await openSessions(address, env, signal, others + 1, leader);
    const [locker, ...workers] = opened;
    const shared = await beginLocked(leader, locker!, workers);
    await locker!.close();
    if (shared !== undefined) return shared;
    await closeAll(workers);
    return await beginAlone(leader, "; the user may not lock its tables, or others held them, so one connection reads");
  } catch (error) {
    await closeAll(opened);
    if (isAbortError(error) || signal.aborted) throw error;
    return beginAlone(leader, `; more connections could not be used: ${errorText(error)}`);
  }
}

async function beginAlone(leader: MysqlSession, remark: string): Promise<SharedSnapshot> {
  await leader.run(BEGIN);
  const asOf = new Date();
  return { sessions: [leader], asOf, method: `one transaction with a consistent snapshot${remark}` };
}

async function openSessions(
  address: MysqlAddress,
  env: Environment,
  signal: AbortSignal,
  count: number,
  like: MysqlSession,
): Promise<MysqlSession[]> {
  const attempts = Array.from({ length: count }, () => MysqlSession.open(address, env, signal, { like }));
  const results = await Promise.allSettled(attempts);
  const sessions = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const failed = results.find((result) => result.status === "rejected");
  if (failed === undefined) return sessions;
  await closeAll(sessions);
  throw failed.reason;
}

async function beginLocked(
  leader: MysqlSession,
  locker: MysqlSession,
  workers: readonly MysqlSession[],
): Promise<SharedSnapshot | undefined> {
  await locker.run(`SET lock_wait_timeout = ${LOCK_SECONDS}`);
  const started = performance.now();
  const lock = await takeLock(locker);
  if (lock === undefined) return undefined;
  const sessions = [leader, ...workers];
  await Promise.all(sessions.map((session) => session.run(BEGIN)));
  const asOf = new Date();
  await locker.run("UNLOCK TABLES");
  const waited = Math.ceil(performance.now() - started);
  const method = `${sessions.length} transactions with a consistent snapshot, begun under ${lock}, for which writers waited ${waited} ms at most`;
  return { sessions, asOf, method };
}

async function takeLock(locker: MysqlSession): Promise<string | undefined> {
  const { catalog } = locker;
  const tables = SQL_TABLES.filter(({ name }) => catalog.has(name)).map(({ name }) => `${catalog.table(name)} READ`);
  const locks = [
    [`LOCK TABLES ${tables.join(", ")}`, "a lock of the volume's tables"],
    ["FLUSH TABLES WITH READ LOCK", "a global read lock"],
  ] as const;
  for (const [statement, name] of locks) {
    try {
      await locker.run(statement);
      return name;
    } catch (error) {
      if (!NOT_LOCKED.has(mysqlErrno(error))) throw error;
    }
  }
  return undefined;
}

/** Never throws. */
export async function closeAll(sessions: readonly MysqlSession[]): Promise<void> {
  await Promise.all(sessions.map((session) => session.close()));
}
