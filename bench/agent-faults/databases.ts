import { startDurableRedis } from "../../test/support/durable-redis.ts";
import { startEtcd } from "../../test/support/etcd-server.ts";
import { startMysql } from "../../test/support/mysql-server.ts";
import { startPostgres } from "../../test/support/postgres-server.ts";
import { newSqliteTarget } from "../../test/support/run-operations.ts";

export type DatabaseName = "sqlite" | "redis" | "postgres" | "mariadb" | "etcd";

/** A database of its own that can be taken away. */
export interface FaultyDatabase {
  readonly url: string;
  /** Kills the server; what it has said to be stored stays. */
  crash(): Promise<void>;
  restart(): Promise<void>;
  /** The server takes requests and does not answer, until `thaw`. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  close(): Promise<void>;
}

export async function openDatabase(name: DatabaseName): Promise<FaultyDatabase> {
  switch (name) {
    case "sqlite":
      return { url: newSqliteTarget().url, ...cannot("SQLite"), close: async () => undefined };
    case "redis":
      return openRedis();
    case "postgres": {
      const server = await startPostgres({ settings: { fsync: "on", synchronous_commit: "on" } });
      const { url, crash, restart, stop } = { ...server, url: server.url(await server.createDatabase()) };
      return { ...cannot("PostgreSQL"), url, crash, restart, close: stop };
    }
    case "mariadb": {
      const server = await startMysql();
      const { url, crash, restart, stop } = { ...server, url: server.url(await server.createDatabase()) };
      return { ...cannot("MariaDB"), url, crash, restart, close: stop };
    }
    case "etcd":
      return openEtcd();
  }
}

function cannot(name: string): Pick<FaultyDatabase, "crash" | "restart" | "freeze" | "thaw"> {
  const refuse = (): never => {
    throw new Error(`${name} has no such fault here`);
  };
  return { crash: refuse, restart: refuse, freeze: refuse, thaw: refuse };
}

async function openRedis(): Promise<FaultyDatabase> {
  const server = await startDurableRedis();
  return {
    url: server.url(1),
    crash: server.crash,
    restart: server.start,
    freeze: async () => void process.kill(server.pid(), "SIGSTOP"),
    thaw: async () => void process.kill(server.pid(), "SIGCONT"),
    close: server.stop,
  };
}

async function openEtcd(): Promise<FaultyDatabase> {
  const server = await startEtcd({ args: ["--unsafe-no-fsync=false"] });
  return {
    url: server.url("/faults"),
    crash: server.crash,
    restart: server.start,
    freeze: async () => void process.kill(await server.pid(), "SIGSTOP"),
    thaw: async () => void process.kill(await server.pid(), "SIGCONT"),
    close: server.stop,
  };
}
