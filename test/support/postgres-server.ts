import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { endGuarded, freePort, spawnGuarded } from "./guarded-process.ts";
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

/** A private PostgreSQL of a test. It ends with the test process, whatever happens to that. */
export interface PostgresServer {
  readonly port: number;
  /** Directory of the Unix socket. */
  readonly directory: string;
  /** META-URL of a database. */
  url(database: string): string;
  /** META-URL of a database through the Unix socket. */
  socketUrl(database: string): string;
  /** A new database; returns its name. */
  createDatabase(): Promise<string>;
  /** Runs SQL with psql; returns its unaligned output. */
  psql(database: string, sql: string): Promise<string>;
  /** A new database with the content of a SQL file; returns its name. */
  restore(file: string): Promise<string>;
  /** What pg_dump says of the schema, without what differs from call to call. */
  dumpSchema(database: string): Promise<string>;
  stop(): Promise<void>;
}

const DEBIAN_PACKAGE = "postgresql";
const PROGRAMS = "/usr/lib/postgresql";

/** Everything that a server should do to be safe, and what a test has no need of. */
const FAST_SETTINGS: Readonly<Record<string, string>> = {
  fsync: "off",
  full_page_writes: "off",
  synchronous_commit: "off",
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

/** Starts a PostgreSQL of its own for a test. Throws where there is none: ask `requirePostgresServer` before. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
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
  const child = spawnGuarded(
    "/bin/sh",
    ["-c", 'log=$1; shift; exec "$@" >"$log" 2>&1', "sh", log, program, ...allArgs],
    "QUIT",
  );
  const client = { host: directory, port, user: "postgres" };
  for (const deadline = Date.now() + 20_000; !(await answers(client)); await sleep(20)) {
    if (Date.now() > deadline || child.exitCode !== null) {
      throw new Error(`PostgreSQL did not start: ${existsSync(log) ? readFileSync(log, "utf8") : "no log"}`);
    }
  }
  const connection = ["-h", directory, "-p", String(port), "-U", "postgres"];
  let databases = 0;
  const psql = async (database: string, sql: string): Promise<string> => {
    const options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"];
    return (await mustRun(join(programs, "psql"), [...connection, "-d", database, ...options], { input: sql })).out;
  };
  const createDatabase = async (): Promise<string> => {
    const name = `test${++databases}`;
    await psql("postgres", `CREATE DATABASE ${name}`);
    return name;
  };
  if (options.password !== undefined) {
    await psql("postgres", `CREATE ROLE tester SUPERUSER LOGIN PASSWORD '${options.password.replaceAll("'", "''")}'`);
  }
  return {
    port,
    directory,
    url: (database) => `postgres://postgres@127.0.0.1:${port}/${database}`,
    socketUrl: (database) => `postgres://postgres@/${database}?host=${encodeURIComponent(directory)}&port=${port}`,
    createDatabase,
    psql,
    async restore(file) {
      const name = await createDatabase();
      await psql(name, readFileSync(file, "utf8"));
      return name;
    },
    async dumpSchema(database) {
      const { out } = await mustRun(join(programs, "pg_dump"), [...connection, "-s", "-O", database]);
      return out.replace(/^\\(?:un)?restrict .*\n/gm, "");
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

/** The process number of the connection that runs a statement like `pattern`, as text; undefined when there is none. */
export async function backendOf(server: PostgresServer, pattern: string): Promise<string | undefined> {
  const query = `SELECT pid FROM pg_stat_activity WHERE query LIKE '${pattern}' AND pid <> pg_backend_pid() LIMIT 1`;
  return (await server.psql("postgres", query)).trim() || undefined;
}
