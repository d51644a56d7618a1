import { UsageError } from "../base/errors.ts";
import { redactUrl } from "../base/redact-url.ts";
import type { Engine, MetadataStore, OpenOptions } from "./engine.ts";

/** URL scheme → engine, loaded when it is first used. One line per scheme. */
const ENGINES: Readonly<Record<string, () => Promise<Engine>>> = {
  redis: async () => (await import("./redis/redis-engine.ts")).redisEngine,
  rediss: async () => (await import("./redis/redis-engine.ts")).redisEngine,
  rdb: async () => (await import("./redis/rdb/rdb-engine.ts")).rdbEngine,
  unix: async () => (await import("./redis/redis-engine.ts")).redisEngine,
  postgres: async () => (await import("./postgres/postgres-engine.ts")).postgresEngine,
  postgresql: async () => (await import("./postgres/postgres-engine.ts")).postgresEngine,
  mysql: async () => (await import("./mysql/mysql-engine.ts")).mysqlEngine,
  etcd: async () => (await import("./etcd/etcd-engine.ts")).etcdEngine,
  tikv: async () => (await import("./tikv/tikv-engine.ts")).tikvEngine,
  badger: async () => (await import("./badger/badger-engine.ts")).badgerEngine,
  fdb: async () => (await import("./foundationdb/foundationdb-engine.ts")).foundationdbEngine,
  sqlite3: async () => (await import("./sqlite/sqlite-engine.ts")).sqliteEngine,
};

/** The schemes that `openStore` knows. */
export const ENGINE_SCHEMES: readonly string[] = Object.keys(ENGINES);

/**
 * Opens a META-URL. Without `://` it means `redis://` (docs/spec/cli.md §3). Throws `UsageError` for a scheme that no
 * engine serves.
 */
export async function openStore(url: string, options: OpenOptions): Promise<MetadataStore> {
  const address = url.includes("://") ? url : `redis://${url}`;
  const scheme = address.slice(0, address.indexOf("://"));
  const load = Object.hasOwn(ENGINES, scheme) ? ENGINES[scheme] : undefined;
  if (load === undefined) {
    throw new UsageError("DECANT_E_SCHEME", `Invalid meta driver: ${scheme}`, {
      hint: `${redactUrl(url)} must begin with one of ${ENGINE_SCHEMES.map((name) => `${name}://`).join(", ")}`,
    });
  }
  const engine = await load();
  return engine.open(address, options);
}
