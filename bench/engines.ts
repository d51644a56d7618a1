import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { type EtcdServer, requireEtcdServer, startEtcd } from "../test/support/etcd-server.ts";
import { requireMysqlProgram, startMysql } from "../test/support/mysql-server.ts";
import { requirePostgresServer, startPostgres } from "../test/support/postgres-server.ts";
import { startRedis } from "../test/support/redis-server.ts";
import { type Floors, mariadbFloors, postgresFloors } from "./floors.ts";

/** Loads the corpus into a database. */
export type LoadCorpus = (url: string) => Promise<void>;

/** The volume in one engine, and room for loads into it. */
export interface BenchEngine {
  readonly url: string;
  /** An empty target: what an earlier run left in it is gone. */
  emptyTarget(): Promise<string>;
  readonly floors?: Floors;
  close(): Promise<void>;
}

export type EngineName = "sqlite" | "redis" | "postgres" | "mariadb" | "badger" | "etcd";

/** `directory` keeps what need not be built again, `scratch` is for single runs. */
export const ENGINES: Readonly<
  Record<EngineName, (directory: string, scratch: string, load: LoadCorpus) => Promise<BenchEngine>>
> = {
  sqlite: openSqlite,
  redis: openRedis,
  postgres: openPostgres,
  mariadb: openMariadb,
  badger: openBadger,
  etcd: openEtcd,
};

async function openSqlite(directory: string, scratch: string, load: LoadCorpus): Promise<BenchEngine> {
  const file = join(directory, "volume.db");
  if (!existsSync(file)) {
    const partial = `${file}.partial`;
    removeSqlite(partial);
    await load(`sqlite3://${partial}`);
    checkpoint(partial);
    renameSync(partial, file);
  }
  const target = join(scratch, "loaded.db");
  return {
    url: `sqlite3://${file}`,
    emptyTarget: async () => {
      removeSqlite(target);
      return `sqlite3://${target}`;
    },
    close: async () => undefined,
  };
}

function removeSqlite(file: string): void {
  for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(file + suffix, { force: true });
}

/** The reference leaves the end of what it wrote in the write-ahead log: bring it into the file before that is renamed. */
function checkpoint(file: string): void {
  const database = new Database(file);
  database.pragma("wal_checkpoint(TRUNCATE)");
  database.close();
}

const TARGET_DB = 1;

/** The keys are kept as a Redis snapshot file, which the server reads when it starts. Loads go to another database. */
async function openRedis(directory: string, _scratch: string, load: LoadCorpus): Promise<BenchEngine> {
  const file = join(directory, "corpus.rdb");
  const isBuilt = existsSync(file);
  const server = await startRedis({ args: ["--dir", directory, "--dbfilename", "corpus.rdb"] });
  if (!isBuilt) {
    await load(server.url(0));
    const connection = server.client();
    await connection.call("SAVE");
    connection.disconnect();
  }
  return {
    url: server.url(0),
    emptyTarget: async () => {
      const connection = server.client(TARGET_DB);
      await connection.call("FLUSHDB", "SYNC");
      connection.disconnect();
      return server.url(TARGET_DB);
    },
    close: () => server.stop(),
  };
}

async function openPostgres(_directory: string, scratch: string, load: LoadCorpus): Promise<BenchEngine> {
  if (!(await requirePostgresServer())) throw new Error("The benchmark needs PostgreSQL");
  const server = await startPostgres({ settings: { shared_buffers: "256MB", max_wal_size: "8GB" } });
  const drop = (name: string) => server.psql("postgres", `DROP DATABASE ${name} WITH (FORCE)`);
  return serverEngine(server, load, drop, (source) => postgresFloors(server, source, scratch));
}

async function openMariadb(_directory: string, scratch: string, load: LoadCorpus): Promise<BenchEngine> {
  if (!(await requireMysqlProgram())) throw new Error("The benchmark needs MariaDB");
  const server = await startMysql({ args: ["--innodb-buffer-pool-size=512M", "--innodb-log-file-size=512M"] });
  const drop = (name: string) => server.query(`DROP DATABASE ${name}`);
  return serverEngine(server, load, drop, (source) => mariadbFloors(server, source, scratch));
}

/** The volume and every load into a database of their own. */
async function serverEngine(
  server: { url(database: string): string; createDatabase(): Promise<string>; stop(): Promise<void> },
  load: LoadCorpus,
  drop: (database: string) => Promise<unknown>,
  floors: (source: string) => Floors,
): Promise<BenchEngine> {
  const source = await server.createDatabase();
  await load(server.url(source));
  let target: string | undefined;
  return {
    url: server.url(source),
    emptyTarget: async () => {
      if (target !== undefined) await drop(target);
      target = await server.createDatabase();
      return server.url(target);
    },
    floors: floors(source),
    close: () => server.stop(),
  };
}

/** The directory stays as the reference leaves it: what it wrote last is in a memtable log until somebody opens it to write. */
async function openBadger(directory: string, scratch: string, load: LoadCorpus): Promise<BenchEngine> {
  const volume = join(directory, "badger");
  if (!existsSync(volume)) {
    const partial = `${volume}.partial`;
    rmSync(partial, { recursive: true, force: true });
    await load(`badger://${partial}`);
    renameSync(partial, volume);
  }
  const target = join(scratch, "loaded-badger");
  return {
    url: `badger://${volume}`,
    emptyTarget: async () => {
      rmSync(target, { recursive: true, force: true });
      return `badger://${target}`;
    },
    close: async () => undefined,
  };
}

/**
 * The server's own directory is kept. Loads go to a second server, which starts with nothing each time: deleting millions of keys
 * would leave their history to it, and to all that is measured after that.
 */
async function openEtcd(directory: string, scratch: string, load: LoadCorpus): Promise<BenchEngine> {
  if (!(await requireEtcdServer())) throw new Error("The benchmark needs etcd");
  const volume = join(directory, "etcd");
  if (!existsSync(volume)) {
    const partial = `${volume}.partial`;
    rmSync(partial, { recursive: true, force: true });
    const server = await startLargeEtcd(partial);
    await load(server.url());
    await server.stop();
    renameSync(partial, volume);
  }
  const source = await startLargeEtcd(volume);
  const targetDirectory = join(scratch, "loaded-etcd");
  let target: EtcdServer | undefined;
  return {
    url: source.url(),
    emptyTarget: async () => {
      await target?.stop();
      rmSync(targetDirectory, { recursive: true, force: true });
      target = await startLargeEtcd(targetDirectory);
      return target.url();
    },
    close: async () => {
      await target?.stop();
      await source.stop();
    },
  };
}

/** A million files take about 800 MB, the server's own limit is 2 GiB. The last of two equal flags counts. */
function startLargeEtcd(directory: string): Promise<EtcdServer> {
  return startEtcd({ args: [`--data-dir=${directory}`, `--quota-backend-bytes=${32 * 1024 ** 3}`] });
}
