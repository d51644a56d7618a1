import { readFileSync } from "node:fs";
import { errorText, UsageError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { redactUrl } from "../../base/redact-url.ts";

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Where the server is, before any discovery. */
export type RedisTopology =
  | { readonly kind: "single"; readonly node: HostPort }
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "sentinel"; readonly master: string; readonly sentinels: readonly HostPort[] }
  | { readonly kind: "cluster"; readonly seeds: readonly HostPort[] };

export interface RedisTls {
  readonly verify: boolean;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly caFile: string | undefined;
  /** Name to verify; undefined = the host of each connection. */
  readonly serverName: string | undefined;
}

/** A META-URL of Redis, understood. */
export interface RedisAddress {
  /** For messages: password masked. */
  readonly printable: string;
  readonly topology: RedisTopology;
  readonly db: number;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly sentinelPassword: string | undefined;
  readonly tls: RedisTls | undefined;
  readonly connectTimeoutMs: number;
  readonly readTimeoutMs: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

const DEFAULT_PORT = 6379;
const DEFAULT_SENTINEL_PORT = 26379;
const DEFAULT_CONNECT_TIMEOUT_MS = 5000;
const DEFAULT_READ_TIMEOUT_MS = 30_000;

/** Query parameters that JuiceFS itself takes (docs/spec/redis.md §1.3), and those of its driver. */
const JUICEFS_PARAMETERS = [
  "min-retry-backoff",
  "max-retry-backoff",
  "read-timeout",
  "write-timeout",
  "route-read",
  "insecure-skip-verify",
  "tls-cert-file",
  "tls-key-file",
  "tls-ca-cert-file",
  "tls-server-name",
  "client-cache",
  "client-cache-size",
  "client-cache-expire",
  "client-cache-preload",
];
const DRIVER_PARAMETERS = [
  "db",
  "protocol",
  "client_name",
  "max_retries",
  "min_retry_backoff",
  "max_retry_backoff",
  "dial_timeout",
  "read_timeout",
  "write_timeout",
  "pool_fifo",
  "pool_size",
  "pool_timeout",
  "min_idle_conns",
  "max_idle_conns",
  "max_active_conns",
  "conn_max_idle_time",
  "idle_timeout",
  "conn_max_lifetime",
  "max_conn_age",
  "skip_verify",
  "client_cache_size",
  "client_cache_expire",
  "client_cache_preload",
];
const KNOWN_PARAMETERS: ReadonlySet<string> = new Set([...JUICEFS_PARAMETERS, ...DRIVER_PARAMETERS]);

/**
 * Understands every form of docs/spec/redis.md §1. Throws `UsageError`, in the reference's own words where it has some.
 * `env` is asked for passwords only.
 */
export function parseRedisUrl(url: string, env: Environment, logger: Logger): RedisAddress {
  const printable = redactUrl(url);
  const match = /^(redis|rediss|unix):\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?$/.exec(url);
  if (match === null) throw new UsageError("DECANT_E_REDIS_URL", `Cannot understand the address ${printable}`);
  const [, scheme, authority, path, query] = match as unknown as [string, string, string, string, string | undefined];
  const at = authority.lastIndexOf("@");
  const credentials = parseCredentials(at < 0 ? "" : authority.slice(0, at), printable);
  const hosts = authority.slice(at + 1);
  const parameters = parseQuery(query ?? "", printable);
  return {
    printable,
    topology: scheme === "unix" ? unixTopology(hosts + path, printable) : parseTopology(hosts, printable),
    db: databaseNumber(scheme === "unix" ? "" : path, parameters),
    user: credentials.user,
    password: findPassword(credentials.password, env, logger),
    sentinelPassword: env.SENTINEL_PASSWORD || undefined,
    tls: scheme === "rediss" ? tlsOf(parameters) : undefined,
    connectTimeoutMs: duration(parameters, "dial_timeout", logger) ?? DEFAULT_CONNECT_TIMEOUT_MS,
    readTimeoutMs: duration(parameters, "read-timeout", logger) ?? DEFAULT_READ_TIMEOUT_MS,
  };
}

function parseCredentials(text: string, printable: string): { user: string | undefined; password: string | undefined } {
  const colon = text.indexOf(":");
  const user = decode(colon < 0 ? text : text.slice(0, colon), printable);
  const password = colon < 0 ? "" : decode(text.slice(colon + 1), printable);
  return { user: user || undefined, password: password || undefined };
}

function decode(text: string, printable: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new UsageError("DECANT_E_REDIS_URL", `Invalid percent escape in the address ${printable}`, { cause });
  }
}

function parseQuery(query: string, printable: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) parameters.set(name, value);
  const unknown = [...parameters.keys()].filter((name) => !KNOWN_PARAMETERS.has(name)).sort();
  if (unknown.length > 0) {
    throw new UsageError("DECANT_E_REDIS_URL", `redis: unexpected option: ${unknown.join(", ")}`, {
      hint: `${printable} knows the query parameters of docs/spec/redis.md §1.3 only`,
    });
  }
  return parameters;
}

function unixTopology(path: string, printable: string): RedisTopology {
  if (path === "" || path === "/") {
    throw new UsageError("DECANT_E_REDIS_URL", `redis: empty unix socket path in ${printable}`);
  }
  return { kind: "unix", path: decode(path, printable) };
}

/** A comma tells several hosts; before the first colon it tells the name of a Sentinel master (docs/spec/redis.md §1.1). */
function parseTopology(hosts: string, printable: string): RedisTopology {
  const comma = hosts.indexOf(",");
  if (comma < 0) return { kind: "single", node: parseHost(hosts, DEFAULT_PORT, printable) };
  const colon = hosts.indexOf(":");
  const items = hosts.split(",");
  if (colon >= 0 && colon < comma) {
    return { kind: "cluster", seeds: parseHosts(items, DEFAULT_PORT, printable) };
  }
  const [master, ...sentinels] = items;
  if (master === "" || sentinels.some((host) => host === "")) {
    throw new UsageError("DECANT_E_REDIS_URL", `Empty host name in the address ${printable}`);
  }
  return {
    kind: "sentinel",
    master: decode(master!, printable),
    sentinels: parseHosts(sentinels, DEFAULT_SENTINEL_PORT, printable),
  };
}

/** An address without port takes that of the last one. */
function parseHosts(items: readonly string[], fallback: number, printable: string): HostPort[] {
  const last = parseHost(items.at(-1)!, fallback, printable).port;
  return items.map((item) => parseHost(item, last, printable));
}

function parseHost(text: string, fallbackPort: number, printable: string): HostPort {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::([0-9]*))?$/.exec(text);
  const port = match?.[3] ? Number(match[3]) : fallbackPort;
  if (match === null || port > 65535) {
    throw new UsageError("DECANT_E_REDIS_URL", `Invalid host or port in the address ${printable}`, {
      hint: "Characters such as / @ : in a user name or password must be percent-encoded",
    });
  }
  return { host: decode(match[1] ?? match[2] ?? "", printable) || "localhost", port };
}

function databaseNumber(path: string, parameters: ReadonlyMap<string, string>): number {
  const parts = path.split("/").filter((part) => part !== "");
  if (parts.length > 1) throw new UsageError("DECANT_E_REDIS_URL", `redis: invalid URL path: ${path}`);
  const fromPath = parts.length === 0 ? 0 : databaseIndex(parts[0]!);
  if (fromPath !== 0) return fromPath;
  const fromQuery = parameters.get("db");
  return fromQuery === undefined || fromQuery === "" ? 0 : databaseIndex(fromQuery);
}

function databaseIndex(text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) {
    throw new UsageError("DECANT_E_REDIS_URL", `redis: invalid database number: ${JSON.stringify(text)}`);
  }
  return Number(text);
}

/** The first source that is not empty wins (docs/spec/redis.md §1.2). */
function findPassword(fromUrl: string | undefined, env: Environment, logger: Logger): string | undefined {
  const direct = fromUrl || env.REDIS_PASSWORD || env.META_PASSWORD;
  if (direct) return direct;
  const file = env.META_PASSWORD_FILE;
  if (!file) return undefined;
  try {
    return readFileSync(file, "utf8").trim() || undefined;
  } catch (error) {
    logger.warn(`Cannot read the password file META_PASSWORD_FILE: ${errorText(error)}`);
    return undefined;
  }
}

function tlsOf(parameters: ReadonlyMap<string, string>): RedisTls {
  const skip = (parameters.get("insecure-skip-verify") ?? "") !== "" || isTrue(parameters.get("skip_verify"));
  const text = (name: string): string | undefined => parameters.get(name) || undefined;
  return {
    verify: !skip,
    certFile: text("tls-cert-file"),
    keyFile: text("tls-key-file"),
    caFile: text("tls-ca-cert-file"),
    serverName: text("tls-server-name"),
  };
}

function isTrue(text: string | undefined): boolean {
  return text === "1" || text?.toLowerCase() === "true";
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "\u00b5s": 1e-3,
  "\u03bcs": 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** `300ms`, `5s`, `1m30s`, or seconds. What does not parse, or is not above 0, is warned about and ignored. */
function duration(parameters: ReadonlyMap<string, string>, name: string, logger: Logger): number | undefined {
  const text = parameters.get(name) || parameters.get(name.replaceAll("-", "_"));
  if (!text) return undefined;
  if (/^[0-9]+$/.test(text)) return Number(text) > 0 ? Number(text) * 1000 : undefined;
  const whole = /^(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+$/;
  let total = 0;
  if (whole.test(text)) {
    for (const [, value, unit] of text.matchAll(/([0-9.]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/g)) {
      total += Number(value) * UNIT_MS[unit!]!;
    }
  }
  if (total > 0) return Math.max(1, Math.round(total));
  logger.warn(`Ignored the query parameter ${name}: ${JSON.stringify(text)} is not a duration`);
  return undefined;
}
