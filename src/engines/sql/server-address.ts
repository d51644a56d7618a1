import { UsageError } from "../../base/errors.ts";
import { redactUrl } from "../../base/redact-url.ts";
import { insertMetaPassword } from "./meta-password.ts";
import { parseSqlAddress, type SqlAddress } from "./query-parameters.ts";

/**
 * Nothing was heard of a server for so long: the kernel then asks its host once a second, and ends the connection when ten questions were
 * not answered. A statement may take as long as it needs, on a host that is there.
 */
export const SILENT_HOST_MS = 30_000;

/** `host:port/database` without a user: `(h:1)/db`, `[::1]:1/db`, `h:1/db`, `/db`. */
const WITHOUT_USER = /^(?:\w*\([^)]*\)|\[[^\]]*\]|[^:/]*)(?::\d*)?\//;

/**
 * Splits the META-URL of a SQL server, with the password of `META_PASSWORD` or its file where it has none (docs/spec/sql.md §1).
 * Throws `UsageError` for one whose password hides where the address ends, before any part of it can get into a message, and
 * for a table prefix that the reference cannot use: its volume would be one for decant alone.
 */
export function parseServerAddress(
  url: string,
  env: Readonly<Record<string, string | undefined>>,
  unusableInPrefix: RegExp,
): SqlAddress {
  assertWholeAccount(url);
  const address = parseSqlAddress(insertMetaPassword(url, env));
  if (unusableInPrefix.test(address.tablePrefix)) {
    throw new UsageError(
      "DECANT_E_META_URL",
      `Invalid address ${redactUrl(url)}: juicefs cannot use the table_prefix ${JSON.stringify(address.tablePrefix)}`,
      { hint: "Take letters, digits and underscores" },
    );
  }
  return address;
}

/** The reference takes the first `?` for the begin of the parameters, wherever it stands. */
function assertWholeAccount(url: string): void {
  const start = url.indexOf("://") + 3;
  const mark = url.indexOf("?", start);
  const atBehind = mark < 0 ? -1 : url.indexOf("@", mark);
  if (atBehind < 0) return;
  const base = url.slice(start, mark);
  const at = base.lastIndexOf("@");
  const isWhole = at < 0 ? WITHOUT_USER.test(base) : base.includes("/", at);
  if (isWhole && url.slice(mark, atBehind).includes("=")) return;
  throw new UsageError(
    "DECANT_E_META_URL",
    `Invalid address ${redactUrl(url)}: a ? ends it, so in the user or the password it must be escaped`,
    { hint: "Write %3F for ?, or leave the password out and set META_PASSWORD" },
  );
}
