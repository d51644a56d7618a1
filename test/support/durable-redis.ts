import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { endGuarded, freePort, spawnGuarded } from "./guarded-process.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** A private Redis that keeps what it has acknowledged when it is killed, and comes back at the same port. */
export interface DurableRedis {
  readonly port: number;
  url(db: number): string;
  /** Process number, for SIGSTOP and the like. */
  pid(): number;
  crash(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Throws where there is no redis-server: ask `requireRedisServer` before. */
export async function startDurableRedis(): Promise<DurableRedis> {
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
    port,
    url: (db) => `redis://127.0.0.1:${port}/${db}`,
    pid: () => running.pid,
    crash: () => endGuarded(running.child),
    start: async () => {
      running = await start();
    },
    stop: () => endGuarded(running.child),
  };
}
