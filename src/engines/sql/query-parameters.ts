import { UsageError } from "../../base/errors.ts";
import { redactUrl } from "../../base/redact-url.ts";

/** What stands behind the first `?` of a META-URL of a SQL database (docs/spec/sql.md §1). */
export interface SqlAddress {
  /** Everything between `://` and the first `?`, as it is. */
  readonly base: string;
  readonly tablePrefix: string;
  /** Parameters for the driver: all but those that the reference takes for itself (docs/spec/sql.md §1.1). */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Pool sizes and life times; decant opens the few connections it needs, so they only have to be recognised. */
const POOL_PARAMETERS = ["max_open_conns", "max_idle_conns", "max_idle_time", "max_life_time"];

/** Splits `scheme://base?parameters`. Throws `UsageError` for a query that cannot be decoded. */
export function parseSqlAddress(url: string): SqlAddress {
  const address = url.slice(url.indexOf("://") + 3);
  const mark = address.indexOf("?");
  const parameters = new Map(mark < 0 ? [] : parseQuery(address.slice(mark + 1), url));
  const tablePrefix = parameters.get("table_prefix") ?? "";
  for (const name of ["table_prefix", ...POOL_PARAMETERS]) parameters.delete(name);
  return { base: mark < 0 ? address : address.slice(0, mark), tablePrefix, parameters };
}

/** Names and values; the first of several equal names counts. */
function parseQuery(query: string, url: string): [string, string][] {
  const pairs = query.split("&").filter((part) => part !== "");
  return pairs.reverse().map((part) => {
    const equals = part.indexOf("=");
    const [name, value] = equals < 0 ? [part, ""] : [part.slice(0, equals), part.slice(equals + 1)];
    try {
      return [decodeQueryText(name), decodeQueryText(value)];
    } catch (error) {
      throw new UsageError(
        "DECANT_E_META_URL",
        `Invalid parameter ${redactUrl(`?${part}`).slice(1)} in ${redactUrl(url)}`,
        {
          cause: error,
        },
      );
    }
  });
}

function decodeQueryText(text: string): string {
  return decodeURIComponent(text.replaceAll("+", " "));
}

/** The parameters as the reference prints them: sorted by name, values escaped. */
export function formatQuery(parameters: ReadonlyMap<string, string>): string {
  return [...parameters]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${encodeQueryText(name)}=${encodeQueryText(value)}`)
    .join("&");
}

function encodeQueryText(text: string): string {
  const encoded = encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return encoded.replaceAll("%20", "+");
}
