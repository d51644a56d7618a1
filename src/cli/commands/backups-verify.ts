import { backupVerifyJson } from "../backup-json.ts";
import { BACKUP_NAME, BACKUPS_GROUP, META_URL, PLACE_OPTIONS, readPlace } from "../backup-options.ts";
import { backupVerifyText } from "../backup-text.ts";
import type { CommandSpec } from "../command-spec.ts";
import { ExitCode } from "../exit-code.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";

/** `backups verify [META-URL] [BACKUP]` (docs/backups.md). */
export const backupsVerifyCommand: CommandSpec = {
  name: "backups verify",
  group: BACKUPS_GROUP,
  summary: "Check whether a backup is whole and undamaged",
  description:
    "Reads a backup from the bucket to its end, without a copy on disk, checks it as verify does a file, compares it with its " +
    "manifest, and leaves word of the result in the bucket: it is then verified, or damaged, for list and prune. Ends with 6 " +
    "when it is damaged.",
  arguments: [META_URL, { ...BACKUP_NAME, description: `${BACKUP_NAME.description}; the newest of all when absent` }],
  options: [
    { flags: "--unverified", description: "all that nobody has verified, such as those of juicefs clients" },
    { flags: "--no-record", description: "leave no word of it in the bucket" },
    { flags: "--strict", description: "take what lags behind while clients write for damage too" },
    ...PLACE_OPTIONS,
    ...RESOURCE_OPTIONS,
  ],
  examples: [
    { comment: "The newest backup", command: "decant backups verify redis://localhost/1" },
    { comment: "All that clients have made", command: "decant backups verify redis://localhost/1 --unverified" },
  ],
  describeInterruption: () => "the backup was not read to its end",
  async run(invocation) {
    const { options, context } = invocation;
    const { place, rest } = readPlace(invocation, { least: 0, most: 1 });
    const { verifyBackups } = await import("../../operations/backups/backups.ts");
    const report = await verifyBackups(
      {
        ...place,
        names: rest,
        unverified: options.flag("unverified"),
        noRecord: options.given("record") === false,
        strict: options.flag("strict"),
      },
      context,
    );
    return {
      json: backupVerifyJson(report),
      output: backupVerifyText(report),
      exitCode: report.results.every(({ ok }) => ok) ? ExitCode.ok : ExitCode.badData,
    };
  },
};
