import type { CommandOutcome, CommandSpec, Invocation } from "../command-spec.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";
import { isIncomplete, loadJson } from "../report-json.ts";
import { loadSummary } from "../report-text.ts";
import { RESUME_OPTIONS, resumeOptions } from "../resume-options.ts";
import { SNAPSHOT_OPTIONS, snapshotChoice } from "../snapshot-options.ts";
import { UNSUPPORTED_OPTIONS, unsupportedOptions } from "../unsupported-options.ts";
import { DEFAULT_VERIFY_OPTION, describeInterruptedLoad } from "../verify-option.ts";

/** `migrate SOURCE-URL TARGET-URL`: a dump and a load without a file between. */
export const migrateCommand: CommandSpec = {
  name: "migrate",
  summary: "Copy a volume to another metadata engine",
  description:
    "Copies the metadata of a volume from one engine to an empty other one without a file between. The copy is the volume " +
    "at one instant; what clients write to the source afterwards is not in it, so stop them first when the copy is to " +
    "replace the source. Secrets are kept. The target holds no volume until all is written; then it is read again and compared with what was written, so " +
    "nobody may use it before the command has ended.\n\n" +
    "WARNING: do not use the new engine and the old one at the same time, otherwise the volume will probably break.",
  arguments: [
    { name: "SOURCE-URL", required: true, description: "address of the volume's metadata" },
    { name: "TARGET-URL", required: true, description: "address of the empty target" },
  ],
  options: [
    { flags: "--dry-run", description: "read and check everything, write nothing" },
    ...RESUME_OPTIONS,
    DEFAULT_VERIFY_OPTION,
    ...SNAPSHOT_OPTIONS,
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
  describeInterruption: (invocation) => describeInterruptedLoad(invocation.args[1]!, invocation.context),
};

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { migrate } = await import("../../operations/migrate.ts");
  const report = await migrate(
    {
      source: invocation.args[0]!,
      target: invocation.args[1]!,
      dryRun: invocation.options.flag("dry-run"),
      ...resumeOptions(invocation.options),
      ...snapshotChoice(invocation.options),
      unsupported: unsupportedOptions(invocation.options),
      verify: invocation.options.given("verify") !== false,
    },
    invocation.context,
  );
  return { json: loadJson(report), summary: loadSummary(report), incomplete: isIncomplete(report) };
}
