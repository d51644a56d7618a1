import { readFileSync } from "node:fs";
import { errorText, UsageError } from "../../base/errors.ts";
import { redactUrl } from "../../base/redact-url.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The META-URL of a SQL server with the password of `META_PASSWORD`, else that of the file `META_PASSWORD_FILE`, where the
 * URL has a user but no password of its own (docs/spec/sql.md §1). Throws `UsageError` for a URL that cannot take one, as
 * the reference does, and for a file that cannot be read.
 */
export function insertMetaPassword(url: string, env: Environment): string {
  if (!env.META_PASSWORD && !env.META_PASSWORD_FILE) return url;
  const start = url.indexOf("://") + 3;
  const mark = url.indexOf("?", start);
  const at = url.lastIndexOf("@", mark < 0 ? url.length : mark);
  const [user, password, ...rest] = url.slice(start, Math.max(at, start)).split(":");
  if (at < start || rest.length > 0) {
    throw new UsageError("DECANT_E_META_URL", `invalid uri: ${redactUrl(url)}`, {
      hint: "With META_PASSWORD or META_PASSWORD_FILE, the address must have a user before the @, and no other colon there",
    });
  }
  if (password) return url;
  const found = env.META_PASSWORD || readPasswordFile(env.META_PASSWORD_FILE!);
  return `${url.slice(0, start)}${user}:${encodeURIComponent(found)}${url.slice(at)}`;
}

function readPasswordFile(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new UsageError(
      "DECANT_E_META_URL",
      `Cannot read the password file of META_PASSWORD_FILE: ${errorText(error)}`,
      {
        cause: error,
      },
    );
  }
}
