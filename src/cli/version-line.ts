import { readFileSync } from "node:fs";
import { CLIENT_VERSION } from "../volume/version.ts";

/** The version of this package. */
export function decantVersion(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}

/** What `version` and `--version` print. */
export function versionLine(): string {
  return `decant version ${decantVersion()} (counts as JuiceFS ${CLIENT_VERSION})`;
}
