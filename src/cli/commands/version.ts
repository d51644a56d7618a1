import { CLIENT_VERSION } from "../../volume/version.ts";
import type { CommandSpec } from "../command-spec.ts";
import { decantVersion, versionLine } from "../version-line.ts";

/** `version`: the same line as `--version`. */
export const versionCommand: CommandSpec = {
  name: "version",
  summary: "Show version",
  description: "Prints the version of decant and the JuiceFS release whose formats it speaks.",
  arguments: [],
  options: [],
  examples: [{ comment: "For a bug report", command: "decant version --json" }],
  async run() {
    const json = { version: decantVersion(), clientVersion: CLIENT_VERSION, node: process.versions.node };
    return { json, output: `${versionLine()}\n` };
  },
};
