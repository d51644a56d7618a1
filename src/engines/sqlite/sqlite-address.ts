import { fileURLToPath } from "node:url";
import { UsageError } from "../../base/errors.ts";
import { redactUrl } from "../../base/redact-url.ts";
import { formatQuery, parseSqlAddress } from "../sql/query-parameters.ts";

/** A parsed `sqlite3://PATH[?parameters]` (docs/spec/sql.md §1, 1.2). */
export interface SqliteAddress {
  /** The META-URL, safe to print. */
  readonly url: string;
  /** File name, relative to the working directory or absolute. */
  readonly path: string;
  readonly tablePrefix: string;
  /** How long to wait for a lock. */
  readonly busyTimeoutMs: number;
  /** True unless the address asks for another journal mode: a new database is left in WAL mode. */
  readonly walMode: boolean;
  /** The address with the parameters that the reference adds; it stands in its error texts. */
  readonly dsn: string;
}

const DEFAULT_BUSY_TIMEOUT_MS = 5000;

/** Throws `UsageError` for an address without a file. */
export function parseSqliteAddress(url: string): SqliteAddress {
  const { base, tablePrefix, parameters } = parseSqlAddress(url);
  const path = toPath(base);
  if (path === "" || path === ":memory:" || path.includes("\0")) {
    throw new UsageError("DECANT_E_META_URL", `${redactUrl(url)} names no database file`, {
      hint: "Write sqlite3:///absolute/path.db or sqlite3://relative/path.db",
    });
  }
  if (path.trimEnd() !== path) {
    // The database library would cut the blank off and open another file.
    throw new UsageError("DECANT_E_META_URL", `${redactUrl(url)} ends with a blank, which decant cannot open`);
  }
  const journal = parameters.get("_journal") ?? parameters.get("_journal_mode");
  const timeout = parameters.get("_timeout") ?? parameters.get("_busy_timeout");
  const dsnParameters = new Map(parameters);
  if (journal === undefined) dsnParameters.set("_journal", "WAL");
  if (timeout === undefined) dsnParameters.set("_timeout", String(DEFAULT_BUSY_TIMEOUT_MS));
  if (!dsnParameters.has("cache")) dsnParameters.set("cache", "shared");
  return {
    url: redactUrl(url),
    path,
    tablePrefix,
    busyTimeoutMs: timeout === undefined ? DEFAULT_BUSY_TIMEOUT_MS : parseTimeout(timeout, url),
    walMode: journal === undefined || journal.toUpperCase() === "WAL",
    dsn: `sqlite3://${base}?${formatQuery(dsnParameters)}`,
  };
}

/** `file:` addresses are URIs for SQLite: percent-encoded, with an optional empty host. */
function toPath(base: string): string {
  if (!base.startsWith("file:")) return base;
  const name = base.slice("file:".length);
  try {
    return name.startsWith("//") ? fileURLToPath(base) : decodeURIComponent(name);
  } catch (error) {
    throw new UsageError("DECANT_E_META_URL", `Invalid file URI: ${base}`, { cause: error });
  }
}

function parseTimeout(text: string, url: string): number {
  if (!/^\d{1,9}$/.test(text)) {
    throw new UsageError(
      "DECANT_E_META_URL",
      `Invalid _timeout in ${redactUrl(url)}: expected milliseconds, got ${text}`,
    );
  }
  return Number(text);
}
