import { setTimeout as sleep } from "node:timers/promises";
import { EngineError } from "../../base/errors.ts";
import type { SqlCatalog, SqlSession } from "../sql/catalog.ts";
import type { MysqlAddress } from "./mysql-address.ts";
import { type ConnectionUse, MysqlConnection } from "./mysql-connection.ts";
import { readTables, type TableInfo } from "./mysql-schema.ts";

/** How long to wait before a server that takes no more connections is asked again. */
const BUSY_DELAYS_MS = [50, 100, 200, 400, 800];

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What every session is set to, as far as the server has the variable: strict about values, patient with a consumer that
 * is slow (a dump may spill for minutes between two reads), and with nothing that ends a long transaction.
 */
const VARIABLES: readonly (readonly [name: string, value: string])[] = [
  ["sql_mode", "'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'"],
  ["net_read_timeout", "86400"],
  ["net_write_timeout", "86400"],
  ["wait_timeout", "604800"],
  ["max_statement_time", "0"],
  ["max_execution_time", "0"],
  ["idle_transaction_timeout", "0"],
  ["idle_readonly_transaction_timeout", "0"],
  ["idle_write_transaction_timeout", "0"],
];

/** What a server said of itself. */
export interface ServerFacts {
  readonly version: string;
  readonly maxAllowedPacket: number;
  /** Whether it takes rows by `LOAD DATA LOCAL INFILE`, as far as it knows. */
  readonly hasLocalInfile: boolean;
  /** True when table names are stored in lower case or compared without regard to it. */
  readonly lowersTableNames: boolean;
  readonly connectionId: bigint;
  /** Name of the variable of the isolation level, which differs. */
  readonly isolationVariable: "tx_isolation" | "transaction_isolation";
}

/** A connection whose session is set up, with the tables of the volume. */
export class MysqlSession implements SqlSession {
  readonly connection: MysqlConnection;
  readonly server: ServerFacts;
  readonly #prefix: string;
  #tables: TableInfo | undefined;

  /** `like` has the same database: then its tables are not asked for again. */
  static async open(
    address: MysqlAddress,
    env: Environment,
    signal: AbortSignal,
    { like, ...use }: ConnectionUse & { readonly like?: MysqlSession } = {},
  ): Promise<MysqlSession> {
    const connect = () => MysqlConnection.open(address, env, signal, use);
    // Further connections are a matter of speed only: where they are refused, others do their work.
    const connection = await (like === undefined ? repeatWhileBusy(connect, signal) : connect());
    try {
      const session = new MysqlSession(connection, address.tablePrefix, await setUp(connection));
      if (like === undefined) await session.refreshCatalog();
      else session.#tables = like.tables;
      return session;
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  private constructor(connection: MysqlConnection, prefix: string, server: ServerFacts) {
    this.connection = connection;
    this.#prefix = prefix;
    this.server = server;
  }

  get catalog(): SqlCatalog {
    return this.tables.catalog;
  }

  get tables(): TableInfo {
    return this.#tables!;
  }

  /** Asks again which tables and columns there are. */
  async refreshCatalog(): Promise<void> {
    this.#tables = await readTables(this.connection, this.#prefix, this.server.lowersTableNames);
  }

  rows<T extends readonly unknown[]>(query: string): Promise<T[]> {
    return this.connection.rows<T>(query);
  }

  /** Statements without result, one after the other. */
  async run(...statements: readonly string[]): Promise<void> {
    for (const statement of statements) await this.connection.rows(statement);
  }

  close(): Promise<void> {
    return this.connection.close();
  }
}

/** A server goes on counting a connection for a moment after its end. Nothing has begun yet, so this can be repeated. */
async function repeatWhileBusy<T>(connect: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (const delay of BUSY_DELAYS_MS) {
    try {
      return await connect();
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== "DECANT_E_MYSQL_BUSY") throw error;
    }
    await sleep(delay, undefined, { signal });
  }
  return connect();
}

/** Opens a session, does `work` with it and closes it. */
export async function withSession<T>(
  address: MysqlAddress,
  env: Environment,
  signal: AbortSignal,
  work: (session: MysqlSession) => Promise<T>,
): Promise<T> {
  const session = await MysqlSession.open(address, env, signal);
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

async function setUp(connection: MysqlConnection): Promise<ServerFacts> {
  await connection.rows("SET NAMES utf8mb4");
  const asked = [...VARIABLES.map(([name]) => name), "transaction_isolation", "local_infile"];
  const names = asked.map((name) => `'${name}'`).join(",");
  const known = new Map(
    await connection.rows<[name: string, value: string]>(`SHOW SESSION VARIABLES WHERE Variable_name IN (${names})`),
  );
  const own = VARIABLES.filter(([name]) => known.has(name));
  for (const [name, value] of [...connection.address.variables, ...own])
    await connection.rows(`SET ${name} = ${value}`);
  await connection.rows("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
  const [facts] = await connection.rows<[version: string, lower: bigint, packet: bigint, id: bigint]>(
    "SELECT @@version, @@lower_case_table_names, @@max_allowed_packet, connection_id()",
  );
  const [version, lower, packet, connectionId] = facts!;
  return {
    version,
    maxAllowedPacket: Number(packet),
    hasLocalInfile: known.get("local_infile") === "ON",
    lowersTableNames: lower !== 0n,
    connectionId,
    isolationVariable: known.has("transaction_isolation") ? "transaction_isolation" : "tx_isolation",
  };
}
