import type { ChildProcess } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll } from "vitest";
import { parsePostgresAddress } from "../../src/engines/postgres/postgres-address.ts";
import { crashGuarded, endGuarded, freePort, spawnGuarded } from "./guarded-process.ts";
import { findProgram, installPackage } from "./install-package.ts";
import { TLS_DIRECTORY } from "./redis-server.ts";
import { mustRun } from "./run-command.ts";
import { reportSkip } from "./skip.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

export interface PostgresOptions {
  /** The user `tester` must give this password; without one everybody is let in. */
  readonly password?: string;
  /** Speak TLS with the certificate of test/support/tls. */
  readonly tls?: boolean;
  /** Lines of pg_hba.conf in place of those that let everybody in. */
  readonly hostBasedAccess?: readonly string[];
  /** More settings of the server. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A PostgreSQL on which tests may create databases at will. */
export interface PostgresServer {
  /** META-URL of a database. */
  url(database: string): string;
  /** A new database; returns its name. */
  createDatabase(): Promise<string>;
  /** Runs SQL with psql; returns its unaligned output. */
  psql(database: string, sql: string): Promise<string>;
  /** A new database with the content of a SQL file; returns its name. */
  restore(file: string): Promise<string>;
  /** What pg_dump says of the schema, without what differs from call to call. */
  dumpSchema(database: string): Promise<string>;
}

/** A private PostgreSQL of a test. It ends with the test process, whatever happens to that. */
export interface PrivatePostgresServer extends PostgresServer {
  readonly port: number;
  /** Directory of the Unix socket. */
  readonly directory: string;
  /** META-URL of a database through the Unix socket. */
  socketUrl(database: string): string;
  /** What the server has written into its log. */
  readLog(): string;
  /** Ends the server's main process at once (SIGKILL), as a crash does. */
  crash(): Promise<void>;
  /** Starts the server again after `crash`, with the same data and port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const DEBIAN_PACKAGE = "postgresql";
const PROGRAMS = "/usr/lib/postgresql";

/**
 * What a server does against the crash of its machine, and what a test has no need of. What it does against its own crash
 * stays: with `synchronous_commit = off` a commit that was answered may be gone after `crash`.
 */
const FAST_SETTINGS: Readonly<Record<string, string>> = {
  fsync: "off",
  full_page_writes: "off",
  shared_buffers: "64MB",
  max_connections: "60",
  logging_collector: "off",
};

/** True when `startPostgres` can be used; the server is installed first where that is possible. */
export async function requirePostgresServer(): Promise<boolean> {
  const failure = programDirectory() === undefined ? await installPackage(DEBIAN_PACKAGE) : undefined;
  if (programDirectory() !== undefined) return true;
  reportSkip("postgres", failure ?? `${DEBIAN_PACKAGE} brings no programs below ${PROGRAMS}`);
  return false;
}

/** Where the programs of the newest installed server are. */
function programDirectory(): string | undefined {
  const versions = existsSync(PROGRAMS) ? readdirSync(PROGRAMS).sort((a, b) => Number(b) - Number(a)) : [];
  return versions.map((version) => join(PROGRAMS, version, "bin")).find((path) => existsSync(join(path, "postgres")));
}

/** The server refuses to run as root: then it runs as the user that Debian's package made. */
function asServerUser(program: string, args: readonly string[]): [program: string, args: string[]] {
  if (process.getuid?.() !== 0) return [program, [...args]];
  return [findProgram("setpriv")!, ["--reuid=postgres", "--regid=postgres", "--init-groups", program, ...args]];
}

/**
 * The server that `DECANT_TEST_POSTGRES_URL` names (its user must be allowed to create databases, which are dropped at the end),
 * else a private one. Undefined when it had to be skipped, which was said and is a failure with `CI=true`.
 */
export async function requirePostgres(): Promise<PostgresServer | undefined> {
  const given = process.env.DECANT_TEST_POSTGRES_URL;
  if (!(await requirePostgresServer())) return undefined; // psql and pg_dump are needed in any case
  if (given === undefined || given === "") return startPostgres();
  const { server, created } = givenServer(given);
  afterAll(async () => {
    const drops = created.map((name) => `DROP DATABASE IF EXISTS ${name} WITH (FORCE);`);
    await server.psql(parsePostgresAddress(given, process.env).database, drops.join("\n"));
  });
  return server;
}

function givenServer(given: string): { server: PostgresServer; created: readonly string[] } {
  const { hosts, user, password, database, tls } = parsePostgresAddress(given, process.env);
  const environment = {
    PGHOST: hosts[0]!.host,
    PGPORT: String(hosts[0]!.port),
    PGUSER: user,
    PGPASSWORD: password,
    PGSSLMODE: tls.mode,
    PGSSLROOTCERT: tls.rootCert,
    PGSSLCERT: tls.cert,
    PGSSLKEY: tls.key,
  };
  return serverOf((name) => withDatabase(given, name), environment, database);
}

/** The same address with another database; everything that the path of an address may hold is escaped there. */
function withDatabase(url: string, database: string): string {
  return url.replace(/^([a-z]+:\/\/[^/?]*)(?:\/[^?]*)?/, `$1/${database}`);
}

/** What can be done with a server by its programs alone. `environment` says how they connect. */
function serverOf(
  url: (database: string) => string,
  environment: Readonly<Record<string, string | undefined>>,
  maintenanceDatabase: string,
): { server: PostgresServer; created: readonly string[] } {
  const programs = programDirectory()!;
  const created: string[] = [];
  const psql = async (database: string, sql: string): Promise<string> => {
    const args = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"];
    return (await mustRun(join(programs, "psql"), args, { input: sql, env: environment })).out;
  };
  const createDatabase = async (): Promise<string> => {
    const name = `decant_${process.pid}_${++databases}`;
    created.push(name);
    const statements = [
      `DROP DATABASE IF EXISTS ${name};`,
      `CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8';`,
    ];
    await psql(maintenanceDatabase, statements.join("\n"));
    return name;
  };
  const server: PostgresServer = {
    url,
    createDatabase,
    psql,
    async restore(file) {
      const name = await createDatabase();
      await psql(name, readFileSync(file, "utf8"));
      return name;
    },
    async dumpSchema(database) {
      const { out } = await mustRun(join(programs, "pg_dump"), ["-s", "-O", "-d", database], { env: environment });
      return out.replace(/^\\(?:un)?restrict .*\n/gm, "");
    },
  };
  return { server, created };
}

let databases = 0;

/** Starts a PostgreSQL of its own for a test. Throws where there is none: ask `requirePostgresServer` before. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PrivatePostgresServer> {
  const programs = programDirectory();
  if (programs === undefined) throw new Error("PostgreSQL is not installed");
  const directory = temporaryDirectory();
  chmodSync(directory, 0o777);
  const data = join(directory, "data");
  const [initialise, initialiseArgs] = asServerUser(join(programs, "initdb"), [
    ...["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
  ]);
  await mustRun(initialise, initialiseArgs, { cwd: directory });
  if (options.hostBasedAccess !== undefined) await writeAs(join(data, "pg_hba.conf"), options.hostBasedAccess);
  const port = await freePort();
  const settings = {
    ...FAST_SETTINGS,
    listen_addresses: "127.0.0.1",
    port: String(port),
    unix_socket_directories: directory,
    ...(options.tls ? await tlsSettings(directory) : {}),
    ...options.settings,
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const [program, allArgs] = asServerUser(join(programs, "postgres"), ["-D", data, ...args]);
  const log = join(directory, "log");
  const readLog = (): string => (existsSync(log) ? readFileSync(log, "utf8") : "no log");
  const start = async (): Promise<ChildProcess> => {
    const child = spawnGuarded(
      "/bin/sh",
      ["-c", 'log=$1; shift; exec "$@" >>"$log" 2>&1', "sh", log, program, ...allArgs],
      "QUIT",
    );
    const client = { host: directory, port, user: "postgres" };
    for (const deadline = Date.now() + 20_000; !(await answers(client)); await sleep(20)) {
      if (Date.now() > deadline || child.exitCode !== null) throw new Error(`PostgreSQL did not start: ${readLog()}`);
    }
    return child;
  };
  let child = await start();
  const url = (database: string): string => `postgres://postgres@127.0.0.1:${port}/${database}`;
  const environment = { PGHOST: directory, PGPORT: String(port), PGUSER: "postgres", PGPASSWORD: undefined };
  const { server } = serverOf(url, environment, "postgres");
  if (options.password !== undefined) {
    const password = options.password.replaceAll("'", "''");
    await server.psql("postgres", `CREATE ROLE tester SUPERUSER LOGIN PASSWORD '${password}'`);
  }
  return {
    ...server,
    port,
    directory,
    socketUrl: (database) => `postgres://postgres@/${database}?host=${encodeURIComponent(directory)}&port=${port}`,
    readLog,
    crash: () => crashGuarded(child, Number(readFileSync(join(data, "postmaster.pid"), "utf8").split("\n")[0])),
    async restart() {
      // Processes of the server that was killed may hold its memory a little longer.
      for (const deadline = Date.now() + 60_000; ; await sleep(200)) {
        try {
          child = await start();
          return;
        } catch (error) {
          if (Date.now() > deadline) throw error;
        }
      }
    },
    stop: () => endGuarded(child),
  };
}

async function answers(config: pg.ClientConfig): Promise<boolean> {
  const client = new pg.Client({ ...config, database: "postgres" });
  client.on("error", () => undefined);
  try {
    await client.connect();
    await client.end();
    return true;
  } catch {
    return false;
  }
}

async function tlsSettings(directory: string): Promise<Record<string, string>> {
  const files = { ssl_cert_file: "server.crt", ssl_key_file: "server.key", ssl_ca_file: "ca.crt" };
  const folder = join(directory, "tls");
  mkdirSync(folder, { mode: 0o777 });
  chmodSync(folder, 0o777);
  const entries = Object.entries(files).map(([setting, name]): [string, string] => [setting, join(folder, name)]);
  for (const [, path] of entries) {
    const source = readFileSync(join(TLS_DIRECTORY, path.slice(folder.length + 1)), "utf8");
    await writeAs(path, [source]);
  }
  return { ssl: "on", ...Object.fromEntries(entries) };
}

/** Writes a file that belongs to the server and is nobody else's to read. */
async function writeAs(path: string, lines: readonly string[]): Promise<void> {
  const [program, args] = asServerUser("/bin/sh", ["-c", 'umask 077; cat >"$1"', "sh", path]);
  await mustRun(program, args, { input: `${lines.join("\n")}\n` });
}
