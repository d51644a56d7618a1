import { UsageError } from "../../base/errors.ts";
import { parseDurationSeconds } from "../../base/go-duration.ts";
import { redactUrl } from "../../base/redact-url.ts";
import { formatQuery } from "../sql/query-parameters.ts";
import { parseServerAddress } from "../sql/server-address.ts";

/** Where a server listens. */
export type MysqlEndpoint = { readonly host: string; readonly port: number } | { readonly socketPath: string };

/**
 * Whether the connection is encrypted: not at all, with a certificate for the host's name that is verified, without
 * looking at the certificate, or without looking and only where the server can.
 */
export type MysqlTls = "off" | "verify" | "skip-verify" | "preferred";

/** Names of files in PEM form: the authorities to trust, and the certificate and the key by which the client shows who it is. */
export interface MysqlTlsFiles {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/** A parsed `mysql://[user[:password]@][net][(address)]/database[?parameters]` (docs/spec/sql.md §1). */
export interface MysqlAddress {
  /** The META-URL, safe to print. */
  readonly url: string;
  readonly endpoint: MysqlEndpoint;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly tablePrefix: string;
  readonly tls: MysqlTls;
  readonly tlsFiles: MysqlTlsFiles;
  readonly connectTimeoutMs: number;
  /** True when the password may be sent in clear text, as some authentication plug-ins of the server want it. */
  readonly allowClearPassword: boolean;
  /** System variables that the address sets for its sessions: name and value as SQL text. */
  readonly variables: ReadonlyMap<string, string>;
  /** The address as the reference prints it in error texts, but for the variable of the isolation level. */
  readonly dsn: (isolationVariable: string) => string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const DEFAULT_PORT = 3306;
const DEFAULT_SOCKET = "/tmp/mysql.sock";
const DEFAULT_CONNECT_TIMEOUT_MS = 30_000;

/** Parameters that the reference's driver takes for itself; every other one is a variable of the session. */
const DRIVER_PARAMETERS: ReadonlySet<string> = new Set([
  "allowAllFiles",
  "allowCleartextPasswords",
  "allowFallbackToPlaintext",
  "allowNativePasswords",
  "allowOldPasswords",
  "charset",
  "checkConnLiveness",
  "clientFoundRows",
  "collation",
  "columnsWithAlias",
  "compress",
  "connectionAttributes",
  "interpolateParams",
  "loc",
  "maxAllowedPacket",
  "multiStatements",
  "parseTime",
  "readTimeout",
  "rejectReadOnly",
  "serverPubKey",
  "strict",
  "timeTruncate",
  "timeout",
  "tls",
  "writeTimeout",
]);

/** The reference does not quote names with a dot or a blank, nor a quotation mark in a name. */
const UNUSABLE_IN_PREFIX = /[\s.`]/;

/** Understands every form of docs/spec/sql.md §1. Throws `UsageError`, in the reference's own words where it has some. */
export function parseMysqlAddress(url: string, env: Environment): MysqlAddress {
  const { base, tablePrefix, parameters: given } = parseServerAddress(url, env, UNUSABLE_IN_PREFIX);
  const parameters = new Map(given);
  const printable = redactUrl(url);
  const slash = base.lastIndexOf("/");
  const at = base.lastIndexOf("@", slash);
  if (slash < 0 || (at < 0 && base.includes("@"))) {
    throw invalid(printable, "it has no slash before the name of a database");
  }
  const { user, password } = splitUser(at < 0 ? "" : base.slice(0, at));
  const { endpoint, text } = parseEndpoint(base.slice(at + 1, slash), printable);
  const database = decodeName(base.slice(slash + 1), printable);
  if (database === "") throw invalid(printable, "it names no database");
  const tlsFiles = takeTlsFiles(parameters, printable);
  const account = at < 0 ? "" : `${user}${password === "" ? "" : ":****"}@`;
  return {
    url: printable,
    endpoint,
    user,
    password,
    database,
    tablePrefix,
    tls: parseTls(parameters.get("tls"), tlsFiles, printable),
    tlsFiles,
    connectTimeoutMs: parseDuration(parameters.get("timeout"), printable) ?? DEFAULT_CONNECT_TIMEOUT_MS,
    allowClearPassword: isTrue(parameters.get("allowCleartextPasswords")),
    variables: sessionVariables(parameters, printable),
    dsn(isolationVariable) {
      const query = formatQuery(new Map([...parameters, [isolationVariable, "'repeatable-read'"]]));
      return `mysql://${account}${text}/${database}?${query}`;
    },
  };
}

function invalid(printable: string, what: string): UsageError {
  return new UsageError("DECANT_E_META_URL", `Invalid address ${printable}: ${what}`, {
    hint: "Write mysql://user:password@(host:3306)/database or mysql://user:password@unix(/path/to.sock)/database",
  });
}

/** The user's name is taken as it is; the password is decoded where it is valid in a URL, else taken as it is, too. */
function splitUser(text: string): { user: string; password: string } {
  const colon = text.indexOf(":");
  if (colon < 0) return { user: text, password: "" };
  return { user: text.slice(0, colon), password: decodePassword(text.slice(colon + 1)) };
}

function decodePassword(text: string): string {
  if (!/^(?:[\w\-.:~!$&'()*+,;=@]|%[0-9a-f]{2})*$/i.test(text)) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // bytes that are no UTF-8
  }
}

function parseEndpoint(text: string, printable: string): { endpoint: MysqlEndpoint; text: string } {
  const open = text.indexOf("(");
  const network = (open < 0 ? text : text.slice(0, open)) || "tcp";
  if (open >= 0 && !text.endsWith(")")) throw invalid(printable, "the parentheses around the host are not closed");
  const address = open < 0 ? "" : text.slice(open + 1, -1);
  if (network === "unix") {
    const socketPath = address || DEFAULT_SOCKET;
    return { endpoint: { socketPath }, text: `unix(${socketPath})` };
  }
  if (network !== "tcp") {
    const reason = open < 0 ? `default addr for network '${network}' unknown` : `unknown network '${network}'`;
    throw invalid(printable, reason);
  }
  const { host, port } = parseHost(address, printable);
  return { endpoint: { host, port }, text: `tcp(${host.includes(":") ? `[${host}]` : host}:${port})` };
}

function parseHost(text: string, printable: string): { host: string; port: number } {
  if (text === "") return { host: "127.0.0.1", port: DEFAULT_PORT };
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(text);
  const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  if (match === null || port > 65535) throw invalid(printable, `"${text}" is no host and port`);
  return { host: match[1] ?? (match[2] || "127.0.0.1"), port };
}

function decodeName(text: string, printable: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(printable, "the name of the database has an invalid percent escape");
  }
}

/** The reference's driver has no such parameters: they are those of the programs of MySQL, for decant alone. */
function takeTlsFiles(parameters: Map<string, string>, printable: string): MysqlTlsFiles {
  const take = (name: string): string | undefined => {
    const file = parameters.get(name);
    // An empty name, from a variable that was not set perhaps, must not make a connection less safe.
    if (file === "") throw invalid(printable, `${name} names no file`);
    parameters.delete(name);
    return file;
  };
  return { ca: take("ssl-ca"), cert: take("ssl-cert"), key: take("ssl-key") };
}

/** With files, verifying is what goes without saying. */
function parseTls(text: string | undefined, { ca, cert, key }: MysqlTlsFiles, printable: string): MysqlTls {
  const hasFiles = (ca ?? cert ?? key) !== undefined;
  if (text === undefined || text === "") return hasFiles ? "verify" : "off";
  if (isTrue(text)) return "verify";
  const mode = isFalse(text) ? "off" : text.toLowerCase();
  if (mode !== "off" && mode !== "skip-verify" && mode !== "preferred") {
    throw invalid(printable, `tls must be true, false, skip-verify or preferred, not "${text}"`);
  }
  if (mode === "off" && hasFiles)
    throw invalid(printable, `tls=${text} leaves no use for ssl-ca, ssl-cert and ssl-key`);
  if (ca !== undefined) throw invalid(printable, `with tls=${text} nobody would look whether ssl-ca fits`);
  return mode;
}

function isTrue(text: string | undefined): boolean {
  return text !== undefined && ["1", "true", "True", "TRUE"].includes(text);
}

function isFalse(text: string): boolean {
  return ["0", "false", "False", "FALSE"].includes(text);
}

function parseDuration(text: string | undefined, printable: string): number | undefined {
  const seconds = parseDurationSeconds(text || "0");
  if (seconds === undefined || seconds < 0) {
    throw invalid(printable, `timeout must be a duration such as 10s, not "${text}"`);
  }
  return seconds === 0 ? undefined : Math.max(1, Math.round(seconds * 1000));
}

function sessionVariables(parameters: ReadonlyMap<string, string>, printable: string): Map<string, string> {
  const variables = new Map([...parameters].filter(([name]) => !DRIVER_PARAMETERS.has(name)));
  for (const name of variables.keys()) {
    if (!/^[\w.@]+$/.test(name)) throw invalid(printable, `"${name}" is no name of a variable`);
  }
  return variables;
}
