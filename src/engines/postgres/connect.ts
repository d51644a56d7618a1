import { Socket } from "node:net";
import pg, { type Client } from "pg";
import { DecantError, errorText, UsageError } from "../../base/errors.ts";
import { SILENT_HOST_MS } from "../sql/server-address.ts";
import type { HostPort, PostgresAddress } from "./postgres-address.ts";
import { connectError, sqlState } from "./postgres-errors.ts";
import { type TlsAttempt, tlsAttempts } from "./postgres-tls.ts";

/** A session with the server and the socket below it. */
export interface ServerSession {
  readonly client: Client;
  readonly socket: Socket;
  /** What broke the session first. The library tells later calls only that it is broken. */
  readonly failure: () => Error | undefined;
}

/** Type numbers of PostgreSQL whose values become bigint: int8, int2, int4, oid, numeric. */
const INTEGER_TYPES: ReadonlySet<number> = new Set([20, 21, 23, 26, 1700]);

/** The parser of a column's text: integers become bigint, all others what the library makes of them. */
function getTypeParser(type: number, format?: "text" | "binary"): (text: string) => unknown {
  if (INTEGER_TYPES.has(type)) return BigInt;
  return pg.types.getTypeParser(type, format as "text");
}

/**
 * Connects to the first host that answers, with or without TLS as the address asks for it. Throws `EngineError` with the
 * reason of the last attempt, `NotFoundError` when the server has no such database.
 */
export async function connect(address: PostgresAddress, signal: AbortSignal): Promise<ServerSession> {
  let failure: unknown;
  for (const host of address.hosts) {
    for (const [i, tls] of tlsAttempts(address.tls, host.host).entries()) {
      signal.throwIfAborted();
      if (i > 0 && !isWorthOtherTls(failure)) break;
      try {
        return await attempt(address, host, tls, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof DecantError) throw error;
        // The first error says more: the second attempt differs only in TLS.
        if (i === 0 || sqlState(error) !== undefined) failure = error;
      }
    }
  }
  throw connectError(failure, address.url);
}

/** A server that cannot be reached is not reached in another way either; a refusal may be of this kind of connection. */
function isWorthOtherTls(error: unknown): boolean {
  const state = sqlState(error);
  if (state !== undefined) return state === "28000";
  const code = error instanceof Error ? ("code" in error ? String(error.code) : error.message) : "";
  return !/^(timeout|ECONN|ENOTFOUND|EAI_|EHOST|ENET|ETIMEDOUT|ENOENT|EACCES)/.test(code);
}

async function attempt(
  address: PostgresAddress,
  { host, port }: HostPort,
  tls: TlsAttempt,
  signal: AbortSignal,
): Promise<ServerSession> {
  const socket = new Socket();
  const client = new pg.Client({
    host,
    port,
    user: address.user,
    password: address.password,
    database: address.database,
    ssl: tls,
    connectionTimeoutMillis: address.connectTimeoutMs,
    application_name: address.applicationName,
    options: address.options,
    keepAlive: true,
    keepAliveInitialDelayMillis: SILENT_HOST_MS,
    types: { getTypeParser: getTypeParser as typeof pg.types.getTypeParser },
    stream: () => socket,
  });
  let failure: Error | undefined;
  client.on("error", (error) => {
    failure ??= error;
  });
  const abort = (): void => void socket.destroy();
  signal.addEventListener("abort", abort, { once: true });
  try {
    await client.connect();
    await prepareSession(client, address);
    return { client, socket, failure: () => failure };
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/**
 * What decant relies on in a session. No time limit that an administrator set for short statements; a server that notices when
 * this client has gone; an error instead of some of the rows where a policy hides the others from this user; texts that
 * mean what they say; and no answer to a COMMIT that the server's crash could undo. Servers do not know all of these.
 */
const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  statement_timeout: "0",
  transaction_timeout: "0",
  idle_session_timeout: "0",
  idle_in_transaction_session_timeout: "0",
  client_connection_check_interval: "1s",
  row_security: "off",
  standard_conforming_strings: "on",
  synchronous_commit: "on",
};

/**
 * The settings of the address, then those of decant; unqualified names are found in the schema of the address only. Replicas that
 * a commit waits for go on being waited for, and who asks in the address for commits that may be lost gets them.
 */
async function prepareSession(client: Client, address: PostgresAddress): Promise<void> {
  for (const [name, value] of address.settings) await setParameter(client, address, name, value);
  await client.query(
    `SELECT set_config('search_path', quote_ident($1), false),
            (SELECT count(set_config(s.name, $2::json ->> s.name, false))
               FROM pg_catalog.pg_settings s
              WHERE ($2::json ->> s.name) IS NOT NULL
                AND (s.name <> 'synchronous_commit' OR s.setting = 'off' AND s.source <> 'session'))`,
    [address.schema, JSON.stringify(SESSION_SETTINGS)],
  );
  if (!address.needsPrimary) return;
  const { rows } = await client.query<{ standby: boolean }>("SELECT pg_is_in_recovery() AS standby");
  if (rows[0]?.standby) throw new Error("the server is a standby");
}

async function setParameter(client: Client, { url }: PostgresAddress, name: string, value: string): Promise<void> {
  try {
    await client.query("SELECT set_config($1, $2, false)", [name, value]);
  } catch (cause) {
    if (sqlState(cause) === undefined) throw cause;
    throw new UsageError("DECANT_E_META_URL", `Cannot set the parameter ${name} of ${url}: ${errorText(cause)}`, {
      cause,
      hint: "What the address has behind the ? and no client of PostgreSQL knows is set for the session",
    });
  }
}
