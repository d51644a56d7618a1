import { decantVersion } from "../operations/own-version.ts";
import { CLIENT_VERSION } from "../volume/version.ts";

export { decantVersion } from "../operations/own-version.ts";

/** What `version` and `--version` print. */
export function versionLine(): string {
  return `decant version ${decantVersion()} (counts as JuiceFS ${CLIENT_VERSION})`;
}
