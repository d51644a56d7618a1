import { BADGER, newBadgerTarget, readBadgerLines, unpackBadger } from "./badger-directory.ts";
import { volumePrefix } from "./etcd-gateway.ts";
import { requireEtcd } from "./etcd-server.ts";
import { requireMysql } from "./mysql-server.ts";
import { requirePostgres } from "./postgres-server.ts";
import { readRedisJsonl, restoreRedisJsonl } from "./redis-fixture.ts";
import { requireServer } from "./require-server.ts";
import { newSqliteTarget } from "./run-operations.ts";
import { ofMysql, ofPostgres, type SqlServer } from "./sql-servers.ts";
import { copySqliteFixture } from "./sqlite-fixture.ts";
import { readTables } from "./sqlite-tables.ts";
import { readTikvLines, restoreTikv } from "./tikv-keys.ts";
import { requireTikvCluster } from "./tikv-server.ts";

export type EngineName = "Redis" | "SQLite" | "PostgreSQL" | "MySQL" | "etcd" | "TiKV" | "BadgerDB";

/** What tests of all engines need of one. Databases go by their META-URL. */
export interface TestEngine {
  readonly name: EngineName;
  /** How the names of its fixtures end: `golden/engines/golden-json.<ending>`. */
  readonly ending: string;
  /** False where an extended attribute must have a value. */
  readonly holdsEmptyValues: boolean;
  /** A new, empty database. */
  createDatabase(): Promise<string>;
  /** A new database with what a fixture below test/fixtures holds; `path` is its full name. */
  restore(path: string): Promise<string>;
  /** Everything in a database, in lines by table: equal means equal. */
  readContent(url: string): Promise<ReadonlyMap<string, readonly string[]>>;
}

/** Every engine that can be had here, or those of the names: an engine that is added joins with one line. */
export async function requireEngines(names: readonly EngineName[] = ENGINE_NAMES): Promise<TestEngine[]> {
  const engines: TestEngine[] = [];
  for (const name of names) {
    const engine = await ENGINES[name]();
    if (engine !== undefined) engines.push(engine);
  }
  return engines;
}

const ENGINES: Readonly<Record<EngineName, () => Promise<TestEngine | undefined>>> = {
  Redis: redisEngine,
  SQLite: async () => sqliteEngine(),
  PostgreSQL: async () => sqlEngine("PostgreSQL", ofPostgres, await requirePostgres()),
  MySQL: async () => sqlEngine("MySQL", ofMysql, await requireMysql()),
  etcd: etcdEngine,
  TiKV: tikvEngine,
  BadgerDB: async () => badgerEngine(),
};

const ENGINE_NAMES = Object.keys(ENGINES) as EngineName[];

async function redisEngine(): Promise<TestEngine | undefined> {
  const server = await requireServer("redis");
  if (server === undefined) return undefined;
  let count = 0;
  const createDatabase = async (): Promise<string> => {
    const url = server.url(1 + (count++ % 15));
    await restoreRedisJsonl(url, EMPTY_FILE);
    return url;
  };
  return {
    name: "Redis",
    ending: "redis.jsonl",
    holdsEmptyValues: true,
    createDatabase,
    async restore(path) {
      const url = await createDatabase();
      await restoreRedisJsonl(url, path);
      return url;
    },
    readContent: async (url) => new Map([["keys", await readRedisJsonl(url)]]),
  };
}

const EMPTY_FILE = "/dev/null";

function sqliteEngine(): TestEngine {
  return {
    name: "SQLite",
    ending: "sqlite.db",
    holdsEmptyValues: true,
    createDatabase: async () => newSqliteTarget().url,
    restore: async (path) => copySqliteFixture(path).url,
    readContent: async (url) => readTables(url.slice("sqlite3://".length)),
  };
}

function sqlEngine<S>(name: EngineName, of: (server: S) => SqlServer, found: S | undefined): TestEngine | undefined {
  if (found === undefined) return undefined;
  const { ending, createDatabase, restore, readTables: readContent } = of(found);
  return { name, ending: `${ending}.sql`, holdsEmptyValues: true, createDatabase, restore, readContent };
}

async function etcdEngine(): Promise<TestEngine | undefined> {
  const server = await requireEtcd();
  if (server === undefined) return undefined;
  const pathOf = (url: string): string => url.slice(server.url().length);
  let count = 0;
  const createDatabase = async (): Promise<string> => {
    const path = `/engines-${process.pid}-${count++}`;
    await server.gateway.remove(volumePrefix(path));
    return server.url(path);
  };
  return {
    name: "etcd",
    ending: "etcd.jsonl",
    holdsEmptyValues: true,
    createDatabase,
    async restore(path) {
      const url = await createDatabase();
      await server.gateway.restore(path, pathOf(url));
      return url;
    },
    readContent: async (url) => new Map([["keys", await server.gateway.readLines(pathOf(url))]]),
  };
}

async function tikvEngine(): Promise<TestEngine | undefined> {
  const server = await requireTikvCluster({ stores: 2 });
  if (server === undefined) return undefined;
  let count = 0;
  const createDatabase = async (): Promise<string> => {
    const prefix = `engines-${count++}`;
    for (const key of ["A\x80", "D"]) await server.split(Buffer.from(`${prefix}\xfd${key}`, "latin1"));
    return server.url(prefix);
  };
  return {
    name: "TiKV",
    ending: "etcd.jsonl", // the keys are the same
    holdsEmptyValues: false,
    createDatabase,
    async restore(path) {
      const url = await createDatabase();
      await restoreTikv(url, path);
      return url;
    },
    readContent: async (url) => new Map([["keys", await readTikvLines(url)]]),
  };
}

function badgerEngine(): TestEngine {
  return {
    name: "BadgerDB",
    ending: "badger.tar.gz",
    holdsEmptyValues: true,
    createDatabase: async () => newBadgerTarget().url,
    restore: async (path) => BADGER + (await unpackBadger(path)),
    readContent: async (url) => new Map([["keys", await readBadgerLines(url.slice(BADGER.length))]]),
  };
}
