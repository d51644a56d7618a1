import type { ChildProcess } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type RedisOptions as IoRedisOptions, Redis } from "ioredis";
import { endGuarded, freePort, spawnGuarded } from "./guarded-process.ts";
import { ensureProgram } from "./install-package.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

export interface RedisOptions {
  /** `cluster`: `nodes` masters that share the slots. `sentinel`: one master and one sentinel that watches it. */
  readonly mode?: "single" | "cluster" | "sentinel";
  /** Masters of a cluster; 3 when not given. */
  readonly nodes?: number;
  readonly password?: string;
  /** Serve TLS only, with the certificate of test/support/tls; the client needs `tls-ca-cert-file` (see `TLS_DIRECTORY`). */
  readonly tls?: boolean;
  /** More options of redis-server, as `--name value`. */
  readonly args?: readonly string[];
  /** Another program than that which is installed (other-redis.ts). */
  readonly program?: string;
}

/** A private Redis of a test. It ends with the test process, whatever happens to that. */
export interface RedisServer {
  /** META-URL of a database. It names the CA file where the server speaks TLS. */
  url(db?: number): string;
  /** META-URL through the Unix socket (of the first node). */
  socketUrl(db?: number): string;
  readonly port: number;
  /** Process number of the server (the first node), for SIGSTOP and the like. */
  readonly pid: number;
  readonly directory: string;
  /** A client of the (first) server; whoever asks for it ends it with `disconnect()`. */
  client(db?: number): Redis;
  stop(): Promise<void>;
}

/** Where ca.crt, server.crt and client.crt (with their .key) are. */
export const TLS_DIRECTORY: string = join(import.meta.dirname, "tls");

const SENTINEL_MASTER = "mymaster";

/** Starts a Redis of its own for a test. Throws where there is no redis-server: ask `requireServer("redis-server")` before. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const { program } = options;
  const found = program === undefined ? await ensureProgram("redis-server", "redis-server") : { program };
  if ("missing" in found) throw new Error(found.missing);
  if (options.mode === "cluster") return startCluster(found.program, options);
  if (options.mode === "sentinel") return startSentinel(found.program, options);
  return singleServer(await startNode(found.program, options), options);
}

interface Node {
  readonly port: number;
  readonly directory: string;
  readonly pid: number;
  client(db?: number): Redis;
  stop(): Promise<void>;
}

function singleServer(node: Node, options: RedisOptions, hosts: string = `127.0.0.1:${node.port}`): RedisServer {
  const account = options.password === undefined ? "" : `:${encodeURIComponent(options.password)}@`;
  const scheme = options.tls ? "rediss" : "redis";
  const query = options.tls ? `?tls-ca-cert-file=${join(TLS_DIRECTORY, "ca.crt")}` : "";
  return {
    ...node,
    url: (db = 0) => `${scheme}://${account}${hosts}/${db}${query}`,
    socketUrl: (db = 0) => `unix://${account}${join(node.directory, "redis.sock")}?db=${db}`,
  };
}

async function startCluster(program: string, options: RedisOptions): Promise<RedisServer> {
  const count = options.nodes ?? 3;
  const nodes: Node[] = [];
  for (let i = 0; i < count; i++) nodes.push(await startNode(program, options, ["--cluster-enabled", "yes"]));
  const clients = nodes.map((node) => node.client());
  for (const [i, client] of clients.entries()) {
    const first = Math.floor((i * 16384) / count);
    const last = Math.floor(((i + 1) * 16384) / count) - 1;
    await client.call("CLUSTER", "ADDSLOTSRANGE", String(first), String(last));
    if (i > 0) await client.call("CLUSTER", "MEET", "127.0.0.1", String(nodes[0]!.port));
  }
  for (const client of clients) await waitFor("the cluster", async () => isClusterComplete(client, count));
  for (const client of clients) client.disconnect();
  const server = singleServer(nodes[0]!, options, nodes.map((node) => `127.0.0.1:${node.port}`).join(","));
  return {
    ...server,
    stop: async () => {
      await Promise.all(nodes.map((node) => node.stop()));
    },
  };
}

async function isClusterComplete(client: Redis, count: number): Promise<boolean> {
  const info = String(await client.call("CLUSTER", "INFO"));
  return info.includes("cluster_state:ok") && info.includes(`cluster_known_nodes:${count}`);
}

async function startSentinel(program: string, options: RedisOptions): Promise<RedisServer> {
  const master = await startNode(program, options);
  const lines = [
    `sentinel monitor ${SENTINEL_MASTER} 127.0.0.1 ${master.port} 1`,
    ...(options.password === undefined ? [] : [`sentinel auth-pass ${SENTINEL_MASTER} ${options.password}`]),
  ];
  const sentinel = await startNode(program, {}, ["--sentinel"], lines.join("\n"));
  const server = singleServer(master, options, `${SENTINEL_MASTER},127.0.0.1:${sentinel.port}`);
  return {
    ...server,
    stop: async () => {
      await Promise.all([master.stop(), sentinel.stop()]);
    },
  };
}

/** Another process may take the port between its choice and its use: then another one is tried. */
async function startNode(program: string, options: RedisOptions, args: string[] = [], config = ""): Promise<Node> {
  let failure: unknown;
  for (let attempt = 0; attempt < 5; attempt++) {
    try {
      return await tryStartNode(program, options, args, config);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

async function tryStartNode(program: string, options: RedisOptions, args: string[], config: string): Promise<Node> {
  const directory = temporaryDirectory();
  const port = await freePort();
  const configFile = join(directory, "redis.conf");
  writeFileSync(configFile, `${config}\n`);
  const isSentinel = args.includes("--sentinel");
  const child = spawnGuarded(program, [
    configFile,
    ...listenOptions(directory, port, options),
    ...(isSentinel ? [] : ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]),
    ...(options.password === undefined ? [] : ["--requirepass", options.password]),
    ...args,
    ...(options.args ?? []),
  ]);
  const client = (db = 0): Redis => new Redis(clientOptions(port, db, options));
  try {
    await waitForServer(child, client, directory);
  } catch (error) {
    await endGuarded(child);
    throw error;
  }
  const pid = Number(readFileSync(join(directory, "redis.pid"), "utf8"));
  return { port, directory, pid, client, stop: () => endGuarded(child) };
}

function listenOptions(directory: string, port: number, options: RedisOptions): string[] {
  const tls = (name: string): string => join(TLS_DIRECTORY, name);
  return [
    ...(options.tls ? ["--port", "0", "--tls-port", String(port)] : ["--port", String(port)]),
    ...(options.tls ? ["--tls-cert-file", tls("server.crt"), "--tls-key-file", tls("server.key")] : []),
    ...(options.tls ? ["--tls-ca-cert-file", tls("ca.crt"), "--tls-auth-clients", "optional"] : []),
    ...["--bind", "127.0.0.1", "--dir", directory, "--daemonize", "no"],
    ...["--unixsocket", join(directory, "redis.sock"), "--pidfile", join(directory, "redis.pid")],
    ...["--logfile", join(directory, "redis.log")],
  ];
}

function clientOptions(port: number, db: number, options: RedisOptions): Omit<IoRedisOptions, "replyMapping"> {
  return {
    host: "127.0.0.1",
    port,
    db,
    retryStrategy: (times) => (times > 20 ? null : 50),
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(options.tls ? { tls: { ca: readFileSync(join(TLS_DIRECTORY, "ca.crt")) } } : {}),
  };
}

async function waitForServer(child: ChildProcess, connect: () => Redis, directory: string): Promise<void> {
  const client = connect();
  client.on("error", () => undefined); // refused until the server is up
  try {
    await waitFor("redis-server", async () => {
      if (child.exitCode !== null) throw new Error(`redis-server did not start: ${readLog(directory)}`);
      return client.status === "ready" && (await client.call("PING")) === "PONG";
    });
  } finally {
    client.disconnect();
  }
}

function readLog(directory: string): string {
  try {
    return readFileSync(join(directory, "redis.log"), "utf8").trim().split("\n").slice(-5).join("; ");
  } catch {
    return "no log";
  }
}

async function waitFor(what: string, isReady: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await isReady())) {
    if (Date.now() > deadline) throw new Error(`Waited 20 s for ${what}`);
    await sleep(20);
  }
}
