import type { BackupMarkRequest } from "../../operations/backups/backups.ts";
import { backupMarkJson } from "../backup-json.ts";
import { BACKUP_NAME, BACKUPS_GROUP, META_URL, PLACE_OPTIONS, readPlace } from "../backup-options.ts";
import type { CommandSpec, Invocation } from "../command-spec.ts";

const REASON = { flags: "--reason <TEXT>", description: "why, for those who come later" };

/** `backups pin [META-URL] BACKUP` (docs/backups.md). */
export const backupsPinCommand: CommandSpec = {
  name: "backups pin",
  group: BACKUPS_GROUP,
  summary: "Keep a backup for ever, whatever the policy says",
  description:
    "Keeps a backup until it is unpinned. Only decant knows of pins: clean-up by juicefs clients, which delete everything older " +
    "than two years, does not see them. Pin a backup below decant/ (--format binary), or fetch it, to be safe from them too.",
  arguments: [META_URL, BACKUP_NAME],
  options: [REASON, ...PLACE_OPTIONS],
  examples: [
    {
      comment: "Before a migration",
      command: 'decant backups pin redis://localhost/1 latest --reason "before the move"',
    },
  ],
  run: (invocation) => mark("pin", "is pinned: it stays until it is unpinned", invocation),
};

/** `backups unpin [META-URL] BACKUP` (docs/backups.md). */
export const backupsUnpinCommand: CommandSpec = {
  name: "backups unpin",
  group: BACKUPS_GROUP,
  summary: "Leave a pinned backup to the policy again",
  description: "Removes the pin of a backup. Nothing happens when it has none.",
  arguments: [META_URL, BACKUP_NAME],
  options: PLACE_OPTIONS,
  examples: [
    { comment: "After it", command: "decant backups unpin redis://localhost/1 dump-2026-11-23-060313.json.gz" },
  ],
  run: (invocation) => mark("unpin", "is not pinned: the policy decides", invocation),
};

/** `backups confirm [META-URL] BACKUP` (docs/backups.md). */
export const backupsConfirmCommand: CommandSpec = {
  name: "backups confirm",
  group: BACKUPS_GROUP,
  summary: "Say that what a suspicious backup has lost was meant to go",
  description:
    "A backup that is much smaller than the one before freezes clean-up, so that no older one goes while it may be needed. " +
    "This says that it, and those before it, are right: clean-up goes on, and later backups are compared with it.",
  arguments: [META_URL, BACKUP_NAME],
  options: [REASON, ...PLACE_OPTIONS],
  examples: [
    {
      comment: "After a great deletion",
      command:
        'decant backups confirm redis://localhost/1 dump-2026-11-23-060313.json.gz --reason "old project deleted"',
    },
  ],
  run: (invocation) => mark("confirm", "is confirmed: clean-up may go on", invocation),
};

async function mark(action: BackupMarkRequest["action"], done: string, invocation: Invocation) {
  const { place, rest } = readPlace(invocation, { least: 1, most: 1 });
  const reason = invocation.options.text("reason");
  const { markBackup } = await import("../../operations/backups/backups.ts");
  const request = { ...place, action, name: rest[0]!, ...(reason === undefined ? {} : { reason }) };
  const report = await markBackup(request, invocation.context);
  return {
    json: backupMarkJson(report),
    summary: [{ text: `${report.entry.backup.name} ${done}`, important: false }],
  };
}
