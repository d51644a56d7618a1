import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type tls from "node:tls";
import { DecantError, EngineError, errorText, FileError } from "../../base/errors.ts";
import type { OpenOptions } from "../engine.ts";
import type { NodeSettings } from "./paced-socket.ts";
import { unavailableError } from "./redis-errors.ts";
import type { HostPort, RedisAddress } from "./redis-url.ts";
import { RespConnection } from "./resp-connection.ts";
import type { Reply } from "./resp-parser.ts";

/** The node that holds the volume, found. */
export interface RedisServer {
  /** For messages: password masked. */
  readonly printable: string;
  readonly node: NodeSettings;
  /** Put before every key: empty, or `{db}` in a cluster (docs/spec/redis.md §1.4). */
  readonly prefix: Buffer;
  readonly cluster: boolean;
}

/** Waits between attempts to connect; short, because whoever waits has often only mistyped. */
const RETRY_DELAYS_MS: readonly number[] = [250, 750, 2000];

const UNREACHABLE_CODES: ReadonlySet<string> = new Set(["DECANT_E_REDIS_CONNECT", "DECANT_E_REDIS_LOST"]);

/**
 * Finds the node and checks that it answers, with a few attempts where that may help. Throws `EngineError` with the last
 * cause.
 */
export async function findServer(address: RedisAddress, options: OpenOptions): Promise<RedisServer> {
  const { signal, logger } = options;
  for (let attempt = 0; ; attempt++) {
    try {
      return await resolve(address, signal);
    } catch (error) {
      const delay = RETRY_DELAYS_MS[attempt];
      if (delay === undefined || !(error instanceof DecantError) || !error.retryable) {
        throw error instanceof EngineError && error.code === "DECANT_E_REDIS_LOST"
          ? unavailableError(error, address.printable)
          : error;
      }
      logger.debug(`${errorText(error)}; trying again in ${delay} ms`);
      await sleep(delay, undefined, { signal });
    }
  }
}

/** Opens a connection to the node and closes it after `work`. */
export async function withConnection<T>(
  server: Pick<RedisServer, "node">,
  signal: AbortSignal,
  work: (connection: RespConnection) => Promise<T>,
): Promise<T> {
  const connection = await RespConnection.open(server.node, signal);
  try {
    return await work(connection);
  } finally {
    connection.close();
  }
}

async function resolve(address: RedisAddress, signal: AbortSignal): Promise<RedisServer> {
  const { topology } = address;
  switch (topology.kind) {
    case "sentinel": {
      const master = await askSentinels(address, topology.master, topology.sentinels, signal);
      return checked(address, nodeSettings(address, master), signal, true);
    }
    case "cluster":
      return resolveCluster(address, topology.seeds, signal);
    case "unix":
      return checked(address, nodeSettings(address, topology.path), signal, false);
    case "single":
      return checked(address, nodeSettings(address, topology.node), signal, false);
  }
}

/** Connects once: version, cluster mode, role and database number are looked at before anything else happens. */
async function checked(
  address: RedisAddress,
  node: NodeSettings,
  signal: AbortSignal,
  mustBeMaster: boolean,
): Promise<RedisServer> {
  return withConnection({ node: { ...node, db: 0 } }, signal, async (connection) => {
    if (await isCluster(connection)) return await slotOwner(address, connection, node, signal);
    await checkServer(connection, mustBeMaster);
    if (address.db !== 0) await connection.call(["SELECT", String(address.db)]);
    return { printable: address.printable, node, prefix: Buffer.alloc(0), cluster: false };
  });
}

/** A single host may be a node of a cluster: asked as the reference does it (docs/spec/redis.md §1.1). */
async function isCluster(connection: RespConnection): Promise<boolean> {
  try {
    return String(await connection.call(["CLUSTER", "INFO"])).includes("cluster_state:");
  } catch (error) {
    const text = errorText(error);
    if (text.includes("cluster mode")) return true;
    if (error instanceof EngineError && error.code === "DECANT_E_REDIS") return false;
    if (error instanceof EngineError && error.code === "DECANT_E_REDIS_PERMISSION") return false;
    throw error;
  }
}

async function checkServer(connection: RespConnection, mustBeMaster: boolean): Promise<void> {
  const info = await readInfo(connection);
  const version = /^redis_version:([0-9]+)\.[^\r]*/m.exec(info);
  if (version !== null && Number(version[1]) < 4) {
    throw new EngineError(
      "DECANT_E_REDIS_VERSION",
      `The Redis server at ${connection.printable} is too old: ${version[0].slice(14)}, 4.0 or newer is needed`,
    );
  }
  if (/^loading:1/m.test(info)) {
    throw new EngineError(
      "DECANT_E_REDIS_LOADING",
      `The Redis server at ${connection.printable} is still loading its data`,
      {
        hint: "Try again when it has finished",
        retryable: true,
      },
    );
  }
  if (mustBeMaster && /^role:slave/m.test(info)) {
    throw new EngineError(
      "DECANT_E_REDIS_READONLY",
      `The node that Sentinel names for ${connection.printable} is no master`,
      {
        retryable: true,
      },
    );
  }
}

/** The text of INFO, empty where the user may not see it. */
export async function readInfo(connection: RespConnection, section?: string): Promise<string> {
  try {
    return String(await connection.call(section === undefined ? ["INFO"] : ["INFO", section]));
  } catch (error) {
    if (error instanceof EngineError && error.code === "DECANT_E_REDIS_PERMISSION") return "";
    throw error;
  }
}

function askSentinels(
  address: RedisAddress,
  master: string,
  sentinels: readonly HostPort[],
  signal: AbortSignal,
): Promise<HostPort> {
  const nodes = sentinels.map((sentinel) => {
    return { ...nodeSettings(address, sentinel), user: undefined, password: address.sentinelPassword, db: 0 };
  });
  return firstAnswer(nodes, signal, async (connection) => {
    const reply = await connection.call(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master]);
    if (Array.isArray(reply)) return { host: String(reply[0]), port: Number(String(reply[1])) };
    throw new EngineError("DECANT_E_REDIS_SENTINEL", `No master named "${master}" is known to Sentinel`);
  });
}

function resolveCluster(address: RedisAddress, seeds: readonly HostPort[], signal: AbortSignal): Promise<RedisServer> {
  const nodes = seeds.map((seed) => ({ ...nodeSettings(address, seed), db: 0 }));
  return firstAnswer(nodes, signal, (connection, node) => slotOwner(address, connection, node, signal));
}

/**
 * Asks one node after the other until one answers. Where none does, the first that said something says more about what is
 * wrong than one that could not be reached.
 */
async function firstAnswer<T>(
  nodes: readonly NodeSettings[],
  signal: AbortSignal,
  ask: (connection: RespConnection, node: NodeSettings) => Promise<T>,
): Promise<T> {
  let failure: unknown;
  for (const node of nodes) {
    try {
      return await withConnection({ node }, signal, (connection) => ask(connection, node));
    } catch (error) {
      signal.throwIfAborted();
      if (failure === undefined || (isUnreachable(failure) && !isUnreachable(error))) failure = error;
    }
  }
  throw failure;
}

function isUnreachable(error: unknown): boolean {
  return error instanceof EngineError && UNREACHABLE_CODES.has(error.code);
}

/** The volume lives in one slot, that of its hash tag `{db}`, so one master has all of it (docs/spec/redis.md §1.4). */
async function slotOwner(
  address: RedisAddress,
  connection: RespConnection,
  node: NodeSettings,
  signal: AbortSignal,
): Promise<RedisServer> {
  const tag = String(address.db);
  const slot = crc16(Buffer.from(tag)) & 0x3fff;
  const ranges = (await connection.call(["CLUSTER", "SLOTS"])) as Reply[];
  const range = ranges.find((item) => Array.isArray(item) && Number(item[0]) <= slot && slot <= Number(item[1]));
  if (range === undefined) {
    throw new EngineError("DECANT_E_REDIS_CLUSTER", `No node of the cluster ${address.printable} serves slot ${slot}`, {
      retryable: true,
    });
  }
  const [host, port] = (range as Reply[])[2] as Reply[];
  const owner =
    host === null || String(host) === "" ? node : nodeSettings(address, { host: String(host), port: Number(port) });
  const settings = { ...owner, db: 0 };
  const server = { printable: address.printable, node: settings, prefix: Buffer.from(`{${tag}}`), cluster: true };
  await withConnection(server, signal, (opened) => checkServer(opened, false));
  return server;
}

function nodeSettings(address: RedisAddress, at: HostPort | string): NodeSettings {
  return {
    printable: address.printable,
    socket: typeof at === "string" ? { path: at } : { host: at.host, port: at.port },
    tls: typeof at === "string" ? undefined : tlsOptions(address, at.host),
    user: address.user,
    password: address.password,
    db: address.db,
    connectTimeoutMs: address.connectTimeoutMs,
    readTimeoutMs: address.readTimeoutMs,
  };
}

function tlsOptions(address: RedisAddress, host: string): tls.ConnectionOptions | undefined {
  const settings = address.tls;
  if (settings === undefined) return undefined;
  const name = settings.serverName ?? host;
  return {
    rejectUnauthorized: settings.verify,
    // An IP address is no valid SNI name; it is verified against the certificate by `host` then.
    ...(/^[0-9.]+$|:/.test(name) ? {} : { servername: name }),
    ...(settings.caFile === undefined ? {} : { ca: readPem(settings.caFile) }),
    ...(settings.certFile === undefined ? {} : { cert: readPem(settings.certFile) }),
    ...(settings.keyFile === undefined ? {} : { key: readPem(settings.keyFile) }),
  };
}

function readPem(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new FileError("DECANT_E_FILE", `Cannot read the certificate file ${path}: ${errorText(cause)}`, { cause });
  }
}

/** CRC-16/XMODEM, which decides a key's slot in a cluster. */
export function crc16(bytes: Buffer): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc;
}
