import { UsageError } from "../../base/errors.ts";
import { redactUrl } from "../../base/redact-url.ts";
import { formatQuery } from "../sql/query-parameters.ts";
import { parseServerAddress } from "../sql/server-address.ts";

export type SslMode = "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full";

export interface HostPort {
  /** A name, an address, or the directory of a Unix socket (begins with `/`). */
  readonly host: string;
  readonly port: number;
}

export interface PostgresTls {
  readonly mode: SslMode;
  /** File names; `system` as the root certificate means those of the system. */
  readonly rootCert: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly keyPassword: string | undefined;
}

/** A parsed `postgres://[user[:password]@][host[:port]][/database][?parameters]` (docs/spec/sql.md §1). */
export interface PostgresAddress {
  /** The META-URL, safe to print. */
  readonly url: string;
  /** Tried in this order. */
  readonly hosts: readonly HostPort[];
  readonly user: string;
  readonly password: string | undefined;
  readonly database: string;
  readonly tls: PostgresTls;
  /** 0 = no limit. */
  readonly connectTimeoutMs: number;
  /** True when a standby server will not do. */
  readonly needsPrimary: boolean;
  readonly applicationName: string;
  /** Command-line options for the server: `-c name=value`. */
  readonly options: string | undefined;
  /** Run-time settings of the session. */
  readonly settings: ReadonlyMap<string, string>;
  /** The schema of the tables. */
  readonly schema: string;
  readonly tablePrefix: string;
  /** The address as the reference prints it in error texts. */
  readonly dsn: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const DEFAULT_PORT = 5432;
const DEFAULT_CONNECT_TIMEOUT_MS = 30_000;
const DEFAULT_HOST = "localhost";

/** The reference does not quote names with a dot or a blank, and not for every purpose names with a quotation mark. */
const UNUSABLE_IN_PREFIX = /[\s."']/;

const SSL_MODES: ReadonlySet<string> = new Set(["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]);

/** Parameters that say how to connect, by the name of the environment variable that stands in for each. */
const CONNECTION_VARIABLES: Readonly<Record<string, string>> = {
  host: "PGHOST",
  port: "PGPORT",
  user: "PGUSER",
  password: "PGPASSWORD",
  dbname: "PGDATABASE",
  sslmode: "PGSSLMODE",
  sslrootcert: "PGSSLROOTCERT",
  sslcert: "PGSSLCERT",
  sslkey: "PGSSLKEY",
  sslpassword: "PGSSLPASSWORD",
  connect_timeout: "PGCONNECT_TIMEOUT",
  application_name: "PGAPPNAME",
  options: "PGOPTIONS",
  target_session_attrs: "PGTARGETSESSIONATTRS",
};

/** Parameters of the reference's driver that mean nothing here. All others are settings of the session. */
const IGNORED_PARAMETERS: ReadonlySet<string> = new Set([
  "database",
  "client_encoding",
  "default_query_exec_mode",
  "description_cache_capacity",
  "fallback_application_name",
  "krbspn",
  "krbsrvname",
  "min_read_buffer_size",
  "passfile",
  "search_path",
  "service",
  "servicefile",
  "sslinline",
  "sslsni",
  "statement_cache_capacity",
]);

/**
 * Understands every form of docs/spec/sql.md §1. Throws `UsageError`, in the reference's own words where it has some. `env`
 * is asked for `META_PASSWORD` and the variables of PostgreSQL's own clients.
 */
export function parsePostgresAddress(url: string, env: Environment): PostgresAddress {
  const { base, tablePrefix, parameters } = parseServerAddress(url, env, UNUSABLE_IN_PREFIX);
  const printable = redactUrl(url);
  const { credentials, hosts, path } = splitBase(base, printable);
  const colon = credentials.indexOf(":");
  const fromUrl: Readonly<Record<string, string>> = {
    user: decode(colon < 0 ? credentials : credentials.slice(0, colon)),
    password: colon < 0 ? "" : decode(credentials.slice(colon + 1)),
    dbname: decode(path) || (parameters.get("database") ?? ""),
  };
  const value = (name: string): string | undefined =>
    parameters.get(name) || fromUrl[name] || env[CONNECTION_VARIABLES[name]!] || undefined;
  const user = value("user") ?? env.USER ?? env.LOGNAME ?? "postgres";
  return {
    url: printable,
    hosts: parseHosts(parameters.get("host") ?? (hosts || env.PGHOST || DEFAULT_HOST), value("port"), printable),
    user,
    password: value("password"),
    database: value("dbname") ?? user,
    tls: {
      mode: parseSslMode(value("sslmode"), printable),
      rootCert: value("sslrootcert"),
      cert: value("sslcert"),
      key: value("sslkey"),
      keyPassword: value("sslpassword"),
    },
    connectTimeoutMs: parseTimeout(value("connect_timeout"), printable),
    needsPrimary: parseTarget(value("target_session_attrs"), printable),
    applicationName: value("application_name") ?? "decant",
    options: value("options"),
    settings: new Map([...parameters].filter(([name]) => !isConnectionParameter(name))),
    schema: parseSchema(parameters.get("search_path"), printable),
    tablePrefix,
    dsn: formatDsn(url, base, parameters),
  };
}

function isConnectionParameter(name: string): boolean {
  return Object.hasOwn(CONNECTION_VARIABLES, name) || IGNORED_PARAMETERS.has(name);
}

/**
 * Parts of `user:password@hosts/database`. A password that was not escaped may contain `@`, and also `/` where the part
 * before it can be no host with a port.
 */
function splitBase(base: string, printable: string): { credentials: string; hosts: string; path: string } {
  let slash = base.indexOf("/");
  let at = base.lastIndexOf("@", slash < 0 ? base.length : slash);
  if (at < 0 && slash >= 0 && base.includes("@")) {
    if (/^[^:]*(?::\d*)?$/.test(base.slice(0, slash))) {
      throw invalid(printable, "a / ends the hosts, so in the user or the password it must be written %2F");
    }
    at = base.lastIndexOf("@");
    slash = base.indexOf("/", at);
  }
  const end = slash < 0 ? base.length : slash;
  return {
    credentials: base.slice(0, Math.max(at, 0)),
    hosts: base.slice(at + 1, end),
    path: base.slice(end + 1),
  };
}

/** A text that was not escaped is taken as it is. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Hosts separated by commas; `port` is for those without one of their own, or a list of as many ports. */
function parseHosts(text: string, port: string | undefined, printable: string): HostPort[] {
  const ports = port?.split(",") ?? [];
  return text.split(",").map((item, i) => {
    const fallback = ports[i] ?? ports[0] ?? String(DEFAULT_PORT);
    if (item.startsWith("/") || /^[0-9a-f]*:[0-9a-f:.]*:[0-9a-f:.]*$/i.test(item)) {
      return { host: item, port: parsePort(fallback, printable) };
    }
    const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d*))?$/.exec(item);
    if (match === null) throw invalid(printable, `"${item}" is no host`);
    const host = decode(match[1] ?? match[2] ?? "");
    return { host: host || DEFAULT_HOST, port: parsePort(match[3] || fallback, printable) };
  });
}

function parsePort(text: string, printable: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65535) throw invalid(printable, `"${text}" is no port`);
  return port;
}

function parseSslMode(text: string | undefined, printable: string): SslMode {
  if (text === undefined) return "prefer";
  if (!SSL_MODES.has(text)) throw invalid(printable, `sslmode must be one of ${[...SSL_MODES].join(", ")}`);
  return text as SslMode;
}

function parseTimeout(text: string | undefined, printable: string): number {
  if (text === undefined) return DEFAULT_CONNECT_TIMEOUT_MS;
  if (!/^\d{1,6}$/.test(text)) throw invalid(printable, `connect_timeout must be a number of seconds, not "${text}"`);
  return Number(text) * 1000;
}

function parseTarget(text: string | undefined, printable: string): boolean {
  if (text === undefined || text === "any") return false;
  if (text === "read-write" || text === "primary") return true;
  throw invalid(printable, "target_session_attrs must be any, read-write or primary");
}

/** One schema for everything; without a name that is `public`, where the reference looks for tables. */
function parseSchema(text: string | undefined, printable: string): string {
  if (text === undefined || text.trim() === "") return "public";
  if (text.includes(",")) {
    throw new UsageError("DECANT_E_META_URL", `currently, only one schema is supported in search_path: ${printable}`);
  }
  return text.trim();
}

function formatDsn(url: string, base: string, parameters: ReadonlyMap<string, string>): string {
  const query = formatQuery(parameters);
  return redactUrl(`${url.slice(0, url.indexOf("://"))}://${base}${query === "" ? "" : `?${query}`}`);
}

function invalid(printable: string, what: string): UsageError {
  return new UsageError("DECANT_E_META_URL", `Invalid address ${printable}: ${what}`, {
    hint: "Write postgres://user:password@host:5432/database, or postgres://user@/database?host=/directory/of/socket",
  });
}
