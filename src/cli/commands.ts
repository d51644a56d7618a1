import type { CommandSpec } from "./command-spec.ts";
import { agentCommand } from "./commands/agent.ts";
import { backupCommand } from "./commands/backup.ts";
import { backupsFetchCommand } from "./commands/backups-fetch.ts";
import { backupsListCommand, backupsShowCommand } from "./commands/backups-list.ts";
import { backupsConfirmCommand, backupsPinCommand, backupsUnpinCommand } from "./commands/backups-mark.ts";
import { backupsPruneCommand } from "./commands/backups-prune.ts";
import { backupsVerifyCommand } from "./commands/backups-verify.ts";
import { configCommand } from "./commands/config.ts";
import { convertCommand } from "./commands/convert.ts";
import { diffCommand } from "./commands/diff.ts";
import { dumpCommand } from "./commands/dump.ts";
import { formatCommand } from "./commands/format.ts";
import { loadCommand } from "./commands/load.ts";
import { migrateCommand } from "./commands/migrate.ts";
import { restoreCommand } from "./commands/restore.ts";
import { statusCommand } from "./commands/status.ts";
import { verifyCommand } from "./commands/verify.ts";
import { versionCommand } from "./commands/version.ts";

/** All commands, in the order of the help page. */
export const COMMANDS: readonly CommandSpec[] = [
  dumpCommand,
  loadCommand,
  migrateCommand,
  verifyCommand,
  diffCommand,
  convertCommand,
  backupCommand,
  backupsListCommand,
  backupsShowCommand,
  backupsVerifyCommand,
  backupsFetchCommand,
  backupsPinCommand,
  backupsUnpinCommand,
  backupsConfirmCommand,
  backupsPruneCommand,
  restoreCommand,
  agentCommand,
  formatCommand,
  configCommand,
  statusCommand,
  versionCommand,
];
