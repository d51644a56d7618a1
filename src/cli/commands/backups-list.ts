import { backupListJson, backupShowJson } from "../backup-json.ts";
import { BACKUP_NAME, BACKUPS_GROUP, META_URL, PLACE_OPTIONS, readPlace } from "../backup-options.ts";
import { backupListText, backupShowText } from "../backup-text.ts";
import type { CommandSpec } from "../command-spec.ts";

/** `backups list [META-URL]` (docs/backups.md). */
export const backupsListCommand: CommandSpec = {
  name: "backups list",
  group: BACKUPS_GROUP,
  summary: "List the backups of a volume",
  description:
    "Lists the backups in the bucket of a volume, newest first, with what is known of each, and what became of the last runs " +
    "where they made none. Times in names are UTC.",
  arguments: [META_URL],
  options: PLACE_OPTIONS,
  examples: [
    { comment: "All backups of a volume", command: "decant backups list redis://localhost/1" },
    {
      comment: "The database is gone",
      command: "decant backups list --storage file --bucket /var/jfs --volume myjfs",
    },
    {
      comment: "For a program: those that nobody has verified",
      command: `decant backups list redis://localhost/1 --json | jq '.backups[] | select(.quality != "good") | .name'`,
    },
  ],
  async run(invocation) {
    const { place } = readPlace(invocation, { least: 0, most: 0 });
    const { listBackups } = await import("../../operations/backups/backups.ts");
    const report = await listBackups(place, invocation.context);
    return { json: backupListJson(report), output: backupListText(report, new Date()) };
  },
};

/** `backups show [META-URL] BACKUP` (docs/backups.md). */
export const backupsShowCommand: CommandSpec = {
  name: "backups show",
  group: BACKUPS_GROUP,
  summary: "Show all that is known of a backup",
  description: "Shows what the manifest of a backup says and what became of it since: checks, pins and confirmations.",
  arguments: [META_URL, BACKUP_NAME],
  options: PLACE_OPTIONS,
  examples: [{ comment: "The newest verified backup", command: "decant backups show redis://localhost/1 latest" }],
  async run(invocation) {
    const { place, rest } = readPlace(invocation, { least: 1, most: 1 });
    const { showBackup } = await import("../../operations/backups/backups.ts");
    const report = await showBackup({ ...place, name: rest[0]! }, invocation.context);
    return { json: backupShowJson(report), output: backupShowText(report, new Date()) };
  },
};
