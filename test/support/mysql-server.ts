import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createConnection } from "mysql2/promise";
import { afterAll } from "vitest";
import { parseMysqlAddress } from "../../src/engines/mysql/mysql-address.ts";
import { crashGuarded, endGuarded, freePort, spawnGuarded } from "./guarded-process.ts";
import { ensureProgram } from "./install-package.ts";
import { mustRun } from "./run-command.ts";
import { reportSkip } from "./skip.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** Where ca.crt, server.crt and client.crt (with their .key) are. */
const TLS_DIRECTORY: string = join(import.meta.dirname, "tls");

/** A MySQL or MariaDB server on which tests may create databases at will. */
export interface MysqlServer {
  /** META-URL of a database. */
  url(database: string): string;
  /** A new, empty database; returns its name. */
  createDatabase(options?: string): Promise<string>;
  /** The rows of one or more statements as arrays, with all numbers that may be large as strings. */
  query(sql: string, database?: string): Promise<unknown[][]>;
  /** A new database with what a dump of mysqldump holds; returns its name. */
  restore(file: string): Promise<string>;
}

/** A private server of a test. It ends with the test process, whatever happens to that. */
export interface PrivateMysqlServer extends MysqlServer {
  readonly port: number;
  /** Process number of the server. */
  readonly pid: number;
  socketUrl(database: string): string;
  /** Ends the server at once (SIGKILL), as a crash does. */
  crash(): Promise<void>;
  /** Starts the server again after `crash`, with the same data and port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface MysqlOptions {
  /** Offers TLS with the certificate of test/support/tls. */
  readonly tls?: boolean;
  /** More options of mariadbd, as `--name=value`. */
  readonly args?: readonly string[];
}

/**
 * The server that `DECANT_TEST_MYSQL_URL` names (its user must be allowed to create databases, which are dropped
 * at the end), else a private one, whose
 * program is installed when that is possible. Undefined when it had to be skipped, which was said and is a failure with
 * `CI=true`.
 */
export async function requireMysql(): Promise<MysqlServer | undefined> {
  const given = process.env.DECANT_TEST_MYSQL_URL;
  if (given !== undefined && given !== "") {
    const { server, created } = serverOf(given);
    afterAll(async () => {
      for (const name of created) await server.query(`DROP DATABASE IF EXISTS ${name}`);
    });
    return server;
  }
  return (await requireMysqlProgram()) ? startMysql() : undefined;
}

/** True when `startMysql` can be used: for tests that need a server of their own. */
export async function requireMysqlProgram(): Promise<boolean> {
  const found = await ensureProgram("mariadbd", "mariadb-server");
  if ("missing" in found) reportSkip("mariadbd", found.missing);
  return !("missing" in found);
}

/** Starts a server of its own for a test: ask `requireMysqlProgram` before. */
export async function startMysql(options: MysqlOptions = {}): Promise<PrivateMysqlServer> {
  let failure: unknown;
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      return await tryStart(options); // another process may take the port between its choice and its use
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

async function tryStart(options: MysqlOptions): Promise<PrivateMysqlServer> {
  const directory = temporaryDirectory();
  const data = join(directory, "data");
  const socket = join(directory, "m.sock");
  const log = join(directory, "error.log");
  const user = process.getuid?.() === 0 ? ["--user=root"] : [];
  const install = [`--datadir=${data}`, "--auth-root-authentication-method=normal", "--skip-test-db", ...user];
  await mustRun("mariadb-install-db", ["--no-defaults", ...install], { timeoutMs: 120_000 });
  const port = await freePort();
  const pidFile = join(directory, "m.pid");
  const tls = (name: string): string => join(TLS_DIRECTORY, name);
  const args = [
    "--no-defaults",
    ...user,
    `--datadir=${data}`,
    ...[`--socket=${socket}`, `--port=${port}`, "--bind-address=127.0.0.1", `--pid-file=${pidFile}`],
    ...[`--log-error=${log}`, "--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci"],
    // Nothing here must survive the machine, but what was committed survives the process.
    ...["--innodb-flush-log-at-trx-commit=2", "--innodb-doublewrite=0", "--innodb-buffer-pool-size=64M"],
    ...(options.tls ? [`--ssl-cert=${tls("server.crt")}`, `--ssl-key=${tls("server.key")}`] : []),
    ...(options.tls ? [`--ssl-ca=${tls("ca.crt")}`] : []),
    ...(options.args ?? []),
  ];
  const { server } = serverOf(`mysql://root@(127.0.0.1:${port})/mysql`);
  const start = async (): Promise<ChildProcess> => {
    const child = spawnGuarded("mariadbd", args);
    const deadline = Date.now() + 60_000;
    for (;;) {
      try {
        await server.query("SELECT 1");
        return child;
      } catch (error) {
        if (child.exitCode !== null || Date.now() > deadline) {
          await endGuarded(child);
          throw new Error(`mariadbd did not start: ${readTail(log)}`, { cause: error });
        }
      }
      await sleep(50);
    }
  };
  let child = await start();
  const readPid = (): number => Number(readFileSync(pidFile, "utf8"));
  return {
    ...server,
    port,
    pid: readPid(),
    socketUrl: (database) => `mysql://root@unix(${socket})/${database}`,
    crash: () => crashGuarded(child, readPid()),
    async restart() {
      child = await start();
    },
    stop: () => endGuarded(child),
  };
}

function readTail(file: string): string {
  try {
    return readFileSync(file, "utf8").trim().split("\n").slice(-5).join("; ");
  } catch {
    return "no log";
  }
}

let databases = 0;

function serverOf(url: string): { server: MysqlServer; created: readonly string[] } {
  const { endpoint, user, password, tls } = parseMysqlAddress(url, process.env);
  const created: string[] = [];
  const query = async (sql: string, database?: string): Promise<unknown[][]> => {
    const options = { rowsAsArray: true, supportBigNumbers: true, bigNumberStrings: true, multipleStatements: true };
    const connection = await createConnection({
      ...endpoint,
      user,
      password,
      ...options,
      ...(tls === "off" ? {} : { ssl: { rejectUnauthorized: false } }),
      ...(database === undefined ? {} : { database }),
    });
    try {
      const [rows] = await connection.query(sql);
      return Array.isArray(rows) ? (rows as unknown[][]) : [];
    } finally {
      await connection.end();
    }
  };
  const createDatabase = async (options = ""): Promise<string> => {
    const name = `decant_${process.pid}_${++databases}`;
    created.push(name);
    await query(`DROP DATABASE IF EXISTS ${name}; CREATE DATABASE ${name} ${options}`);
    return name;
  };
  const server: MysqlServer = {
    url: (database) => url.replace(/\/[^/?]*(?=\?|$)/, `/${database}`),
    createDatabase,
    query,
    async restore(file) {
      const database = await createDatabase();
      const where =
        "socketPath" in endpoint
          ? [`--socket=${endpoint.socketPath}`]
          : [`--host=${endpoint.host}`, `--port=${endpoint.port}`, "--protocol=tcp"];
      const found = await ensureProgram("mariadb", "mariadb-client");
      if ("missing" in found) throw new Error(found.missing);
      const secure = tls === "off" ? [] : ["--ssl"];
      const args = [
        "--no-defaults",
        ...where,
        ...secure,
        `--user=${user}`,
        "--default-character-set=utf8mb4",
        database,
      ];
      await mustRun(found.program, args, {
        input: readFileSync(file),
        ...(password === "" ? {} : { env: { MYSQL_PWD: password } }),
      });
      return database;
    },
  };
  return { server, created };
}
