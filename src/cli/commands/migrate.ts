import { redactUrl } from "../../base/redact-url.ts";
import type { CommandOutcome, CommandSpec, Invocation } from "../command-spec.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";
import { isIncomplete, loadJson } from "../report-json.ts";
import { loadSummary } from "../report-text.ts";
import { UNSUPPORTED_OPTIONS, unsupportedOptions } from "../unsupported-options.ts";

/** `migrate SOURCE-URL TARGET-URL`: a dump and a load without a file between. */
export const migrateCommand: CommandSpec = {
  name: "migrate",
  summary: "Copy a volume to another metadata engine",
  description:
    "Copies the metadata of a volume from one engine to an empty other one without a file between. The copy is the volume " +
    "at one instant; what clients write to the source afterwards is not in it, so stop them first when the copy is to " +
    "replace the source. Secrets are kept. The target holds no volume until the last step.\n\n" +
    "WARNING: do not use the new engine and the old one at the same time, otherwise the volume will probably break.",
  arguments: [
    { name: "SOURCE-URL", required: true, description: "address of the volume's metadata" },
    { name: "TARGET-URL", required: true, description: "address of the empty target" },
  ],
  options: [
    { flags: "--dry-run", description: "read and check everything, write nothing" },
    { flags: "--clean", description: "first remove what a load of decant that was cut off has left in the target" },
    ...UNSUPPORTED_OPTIONS,
    ...RESOURCE_OPTIONS,
  ],
  examples: [
    { comment: "From SQLite to Redis", command: "decant migrate sqlite3://myjfs.db redis://localhost/1" },
    {
      comment: "Only see whether it would work",
      command: "decant migrate redis://localhost/1 sqlite3://new.db --dry-run",
    },
  ],
  run,
  describeInterruption: (invocation) => `${redactUrl(invocation.args[1]!)} holds no volume`,
};

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { migrate } = await import("../../operations/migrate.ts");
  const report = await migrate(
    {
      source: invocation.args[0]!,
      target: invocation.args[1]!,
      dryRun: invocation.options.flag("dry-run"),
      clean: invocation.options.flag("clean"),
      unsupported: unsupportedOptions(invocation.options),
    },
    invocation.context,
  );
  return { json: loadJson(report), summary: loadSummary(report), incomplete: isIncomplete(report) };
}
