import { backupPruneJson } from "../backup-json.ts";
import { BACKUPS_GROUP, META_URL, NO_WAIT_OPTION, PLACE_OPTIONS, POLICY_OPTION, readPlace } from "../backup-options.ts";
import { pruneSummary, pruneTable } from "../backup-text.ts";
import type { CommandSpec } from "../command-spec.ts";

/** `backups prune [META-URL]` (docs/backups.md). */
export const backupsPruneCommand: CommandSpec = {
  name: "backups prune",
  group: BACKUPS_GROUP,
  summary: "Delete the backups that the policy keeps no longer",
  description:
    "Keeps one backup of each day, week, ... of the calendar as the policy says, verified ones before others, and deletes the " +
    "rest. Pinned ones, the newest, the newest verified one, and whatever is no backup by its exact name always stay.\n\n" +
    "Deletes nothing and ends with 3 when in doubt: no backup of the last days is verified, one is suspicious, clocks disagree. " +
    "Only one process cleans up at a time, so it needs the META-URL; --dry-run does not.",
  arguments: [META_URL],
  options: [
    POLICY_OPTION,
    { flags: "--dry-run", description: "say for each backup why it stays or goes, delete nothing" },
    NO_WAIT_OPTION,
    ...PLACE_OPTIONS,
  ],
  examples: [
    { comment: "What would go, and why", command: "decant backups prune redis://localhost/1 --dry-run" },
    {
      comment: "Two weeks of days and a year of months",
      command: "decant backups prune redis://localhost/1 --policy all=2d,day=2w,month=1y",
    },
  ],
  describeInterruption: () => "decant backups list shows what is left",
  async run(invocation) {
    const { options, context } = invocation;
    const { place } = readPlace(invocation, { least: 0, most: 0 });
    const { parsePolicy, DEFAULT_POLICY_TEXT } = await import("../../operations/backups/retention-policy.ts");
    const { pruneVolumeBackups } = await import("../../operations/backups/backups.ts");
    const { acquireTurn } = await import("../backup-turn.ts");
    const report = await pruneVolumeBackups(
      {
        ...place,
        policy: parsePolicy(options.text("policy") ?? DEFAULT_POLICY_TEXT),
        dryRun: options.flag("dry-run"),
        acquire: acquireTurn({ wait: options.given("wait") !== false, logger: context.logger }),
      },
      context,
    );
    return {
      json: backupPruneJson(report),
      output: pruneTable(report, new Date()),
      summary: pruneSummary(report),
      incomplete: report.refusal !== undefined || report.failed.length > 0,
    };
  },
};
