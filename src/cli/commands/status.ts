import { UsageError } from "../../base/errors.ts";
import { formatJson } from "../../base/json-text.ts";
import type { CommandOutcome, CommandSpec, Invocation } from "../command-spec.ts";

/** `status META-URL` (docs/spec/settings.md §7). */
export const statusCommand: CommandSpec = {
  name: "status",
  summary: "Show status of a volume",
  description:
    "Prints the setting of a volume, its active sessions (mounts, gateways, ...) and its usage as JSON, byte for byte as " +
    "juicefs does. Read-only sessions do not register themselves and are not listed.",
  arguments: [{ name: "META-URL", required: true, description: "address of the volume's metadata" }],
  options: [
    { flags: "-s, --session <SID>", description: "only this session, with its sustained inodes and locks" },
    { flags: "-m, --more", description: "also count trash and pending deletions; may take a long time" },
  ],
  examples: [
    { comment: "Who uses the volume", command: "decant status redis://localhost/1 | jq .Sessions" },
    { comment: "What waits for deletion", command: "decant status redis://localhost/1 --more" },
    { comment: "The locks of session 7", command: "decant status redis://localhost/1 --session 7" },
  ],
  run,
};

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { options, context } = invocation;
  const source = invocation.args[0]!;
  const sid = options.integer("session") ?? 0n;
  if (sid < 0n || sid >= 1n << 64n) {
    throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${sid}" for "session": not a session number`);
  }
  const { sessionStatus, status } = await import("../../operations/status.ts");
  const { sessionReportJson, statusJson } = await import("../../operations/status-json.ts");
  const json =
    sid === 0n
      ? statusJson(await status({ source, more: options.flag("more") }, context))
      : sessionReportJson(await sessionStatus({ source, sid }, context));
  return { json, output: `${formatJson(json)}\n` };
}
