import { UsageError } from "../../../base/errors.ts";
import { redactUrl } from "../../../base/redact-url.ts";

/** A parsed `rdb://PATH[?db=N]`. */
export interface RdbAddress {
  /** The META-URL, safe to print. */
  readonly url: string;
  /** File name, relative to the working directory or absolute. */
  readonly path: string;
  readonly database: number;
}

/** All behind `://` is the file, as it stands, up to a query. Throws `UsageError` when there is none. */
export function parseRdbAddress(url: string): RdbAddress {
  const [, path = "", query] = /^rdb:\/\/(.*?)(?:\?([^?]*))?$/s.exec(url) ?? [];
  const printable = redactUrl(url);
  if (path === "" || path.includes("\0")) {
    throw new UsageError("DECANT_E_META_URL", `${printable} names no file`, {
      hint: "Write rdb:///absolute/dump.rdb, with ?db=N for another database than 0",
    });
  }
  const parameters = new URLSearchParams(query ?? "");
  const unknown = [...parameters.keys()].filter((name) => name !== "db");
  if (unknown.length > 0) {
    throw new UsageError("DECANT_E_META_URL", `Unknown parameter in ${printable}: ${unknown.join(", ")}`, {
      hint: "Only db is known: the number of the database in the file",
    });
  }
  const database = parameters.get("db") ?? "0";
  if (!/^[0-9]{1,9}$/.test(database)) {
    throw new UsageError("DECANT_E_META_URL", `Invalid database number in ${printable}: ${JSON.stringify(database)}`);
  }
  return { url: printable, path, database: Number(database) };
}
