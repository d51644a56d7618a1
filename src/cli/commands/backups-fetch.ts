import { backupFetchJson } from "../backup-json.ts";
import { BACKUP_NAME, BACKUPS_GROUP, META_URL, PLACE_OPTIONS, readPlace } from "../backup-options.ts";
import { fetchSummary } from "../backup-text.ts";
import type { CommandSpec, Invocation } from "../command-spec.ts";

/** `backups fetch [META-URL] BACKUP [FILE]` (docs/backups.md). */
export const backupsFetchCommand: CommandSpec = {
  name: "backups fetch",
  group: BACKUPS_GROUP,
  summary: "Copy a backup from the bucket into a file",
  description:
    "Copies a backup out of the bucket, decrypted, for load. FILE appears under its name only when it is complete and has the " +
    "checksum that its manifest says.",
  arguments: [
    META_URL,
    BACKUP_NAME,
    { name: "FILE", required: false, description: "file to write; the name of the backup when absent, stdout for -" },
  ],
  options: [{ flags: "--force", description: "replace FILE" }, ...PLACE_OPTIONS],
  examples: [
    { comment: "The newest verified backup", command: "decant backups fetch redis://localhost/1 latest meta.json.gz" },
    {
      comment: "Restore when the database is gone",
      command: "decant backups fetch --bucket /var/jfs --volume myjfs latest - | decant load redis://localhost/2",
    },
  ],
  occupiesStdout: (invocation) => invocation.args.at(-1) === "-",
  describeInterruption: (invocation) =>
    invocation.args.at(-1) === "-" ? "the backup on stdout is cut off" : "no file was written",
  run,
};

async function run(invocation: Invocation) {
  const { place, rest } = readPlace(invocation, { least: 1, most: 2 });
  const [name, file] = rest;
  const { fetchVolumeBackup } = await import("../../operations/backups/backups.ts");
  const target = file === "-" ? { stream: invocation.io.stdout } : file === undefined ? undefined : { file };
  const report = await fetchVolumeBackup(
    {
      ...place,
      name: name!,
      ...(target === undefined ? {} : { target }),
      force: invocation.options.flag("force"),
    },
    invocation.context,
  );
  return { json: backupFetchJson(report), summary: fetchSummary(report) };
}
