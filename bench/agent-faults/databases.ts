import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { startEtcd } from "../../test/support/etcd-server.ts";
import { endGuarded, freePort, spawnGuarded } from "../../test/support/guarded-process.ts";
import { startMysql } from "../../test/support/mysql-server.ts";
import { startPostgres } from "../../test/support/postgres-server.ts";
import { newSqliteTarget } from "../../test/support/run-operations.ts";
import { temporaryDirectory } from "../../test/support/temporary-directory.ts";

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

/** One that keeps its data when it is killed, and comes back at the same port. */
async function openRedis(): Promise<FaultyDatabase> {
  const [port, directory] = [await freePort(), temporaryDirectory()];
  const args = [
    ...["--port", String(port), "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--daemonize", "no"],
    ...["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"],
  ];
  const start = async () => {
    const child = spawnGuarded("redis-server", args);
    const client = new Redis({ port, host: "127.0.0.1", retryStrategy: () => 50 });
    client.on("error", () => undefined);
    for (;;) {
      if (child.exitCode !== null) throw new Error("redis-server does not start");
      if ((await client.ping().catch(() => "")) === "PONG") break;
      await sleep(50);
    }
    const info = await client.info("server");
    client.disconnect();
    return { child, pid: Number(/process_id:(\d+)/.exec(info)![1]) };
  };
  let running = await start();
  return {
    url: `redis://127.0.0.1:${port}/1`,
    crash: () => endGuarded(running.child),
    restart: async () => {
      running = await start();
    },
    freeze: async () => void process.kill(running.pid, "SIGSTOP"),
    thaw: async () => void process.kill(running.pid, "SIGCONT"),
    close: () => endGuarded(running.child),
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
