import { UsageError } from "../../base/errors.ts";
import type { BackupPlaceRequest } from "../../operations/backups/backup-place.ts";
import type { RestorePlan, RestoreRequest } from "../../operations/backups/restore.ts";
import { PLACE_OPTIONS, readBucket, readKey } from "../backup-options.ts";
import type { CommandOutcome, CommandSpec, Invocation } from "../command-spec.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";
import type { OptionValues } from "../option-values.ts";
import { askHidden, openPrompt } from "../prompt.ts";
import { restoreJson } from "../restore-json.ts";
import { planText, restoreSummary } from "../restore-text.ts";
import { given } from "../setting-options.ts";
import { UNSUPPORTED_OPTIONS, unsupportedOptions } from "../unsupported-options.ts";
import { describeInterruptedLoad, VERIFY_OPTION } from "../verify-option.ts";

const KEYS = "Keys of the object storage";

/** `restore META-URL --from PLACE` (docs/restore.md). */
export const restoreCommand: CommandSpec = {
  name: "restore",
  summary: "Restore a volume from the newest good backup in its bucket",
  description:
    "Finds the newest good backup of a volume in its bucket, shows what would be lost, and loads it into an empty metadata engine, " +
    "straight from the bucket. Backups that nobody has verified count too: all of it is read and checked before the target becomes " +
    "a volume, and one that is damaged makes way for the next older one. Suspicious ones are passed over unless --at names one.\n\n" +
    "Keys of the object storage, which a backup does not hold, are taken from the options, from ACCESS_KEY, SECRET_KEY and " +
    "SESSION_TOKEN in the environment, or from what --from was opened with; else they are asked for, on a terminal. In the end " +
    "some blocks of data are looked for in the bucket. On a terminal it asks before it begins; elsewhere it does not, since the " +
    "target must be empty. Nothing is written into the bucket.\n\n" +
    "It ends with 3 when it did not restore the newest backup, when something is missing in it, when a key or a block of data is " +
    "missing.\n\n" +
    "WARNING: the old database must not be used any more: two databases over one bucket destroy each other's data.",
  arguments: [{ name: "META-URL", required: true, description: "address of the empty target" }],
  options: [
    {
      flags: "--from <PLACE>",
      description:
        "the old volume, by its META-URL, or by its address in the bucket when the database is gone, such as " +
        "file:///var/jfs/myjfs or minio://host:9000/bucket/myjfs",
    },
    {
      flags: "--at <TIME>",
      description:
        "latest; or the newest backup at or before a time, a day, or so long ago (36h, 2d); or the name of one",
      default: "latest",
    },
    {
      flags: "--allow-suspicious",
      description: "take a backup that looks as if something was lost before it was made",
    },
    { flags: "--dry-run", description: "show what would be restored and what the other backups are, write nothing" },
    { flags: "-y, --yes", description: "do not ask" },
    { flags: "--clean", description: "first remove what a load of decant that was cut off has left in the target" },
    {
      flags: "--check-blocks <N>",
      description: "look in the bucket for the blocks of so many slices, drawn at random; 0 for none",
      default: "100",
    },
    VERIFY_OPTION,
    ...UNSUPPORTED_OPTIONS,
    { flags: "--access-key <KEY>", description: "access key to be stored", group: KEYS },
    { flags: "--secret-key <KEY>", description: "secret key to be stored", group: KEYS },
    { flags: "--session-token <TOKEN>", description: "session token to be stored; '' for none", group: KEYS },
    ...PLACE_OPTIONS.map((option) =>
      option.group === undefined ? option : { ...option, group: "Bucket instead of --from" },
    ),
    ...RESOURCE_OPTIONS,
  ],
  examples: [
    {
      comment: "The database is gone",
      command: "decant restore redis://localhost/2 --from minio://minio:9000/bucket/myjfs",
    },
    {
      comment: "What would be restored, and what else there is",
      command: "decant restore redis://localhost/2 --from file:///var/jfs/myjfs --dry-run",
    },
    {
      comment: "As it was before somebody deleted everything; the database is still there",
      command: "decant restore sqlite3://new.db --from redis://localhost/1 --at 2026-11-22T18:00:00Z",
    },
  ],
  run,
  describeInterruption: ({ args, context }) => describeInterruptedLoad(args[0]!, context),
};

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { args, options, io, context } = invocation;
  const { DEFAULT_CHECKED_SLICES, MAX_CHECKED_SLICES, restore } = await import("../../operations/backups/restore.ts");
  const { parseRestorePoint } = await import("../../operations/backups/restore-time.ts");
  const checked = options.integer("check-blocks") ?? BigInt(DEFAULT_CHECKED_SLICES);
  if (checked < 0n || checked > BigInt(MAX_CHECKED_SLICES)) {
    throw new UsageError(
      "DECANT_E_OPTION_VALUE",
      `Invalid value "${checked}" for "check-blocks": not 0 to ${MAX_CHECKED_SLICES}`,
    );
  }
  const isTerminal = (io.stdin as { isTTY?: boolean }).isTTY === true && io.stderr.isTTY === true;
  const report = await restore(
    {
      target: args[0]!,
      from: readFrom(options),
      point: parseRestorePoint(options.text("at") ?? "latest", new Date()),
      allowSuspicious: options.flag("allow-suspicious"),
      dryRun: options.flag("dry-run"),
      clean: options.flag("clean"),
      unsupported: unsupportedOptions(options),
      verify: options.flag("verify"),
      keys: given({
        accessKey: options.text("access-key"),
        secretKey: options.text("secret-key"),
        sessionToken: options.text("session-token"),
      }),
      confirm: (plan) => confirm(plan, isTerminal && !options.flag("yes"), invocation),
      ...(isTerminal ? { askSecret: askFor(invocation) } : {}),
      checkedSlices: Number(checked),
    },
    context,
  );
  const outcome = { json: restoreJson(report), incomplete: !report.isComplete };
  return report.dryRun
    ? { ...outcome, output: planText(report.plan), summary: restoreSummary(report) }
    : { ...outcome, summary: restoreSummary(report) };
}

function readFrom(options: OptionValues): BackupPlaceRequest {
  const [from, bucket] = [options.text("from"), readBucket(options)];
  if (from === undefined || from === "" ? bucket === undefined : bucket !== undefined) {
    throw new UsageError(
      "DECANT_E_USAGE",
      bucket === undefined
        ? "It is not said where the backups are: --from is missing"
        : "--from and --bucket are given",
      { hint: "Give --from the META-URL of the old volume or its address in the bucket, or --bucket and --volume" },
    );
  }
  return { volume: bucket ?? from!, ...readKey(options) };
}

async function confirm(plan: RestorePlan, isAsked: boolean, { io, context }: Invocation): Promise<boolean> {
  for (const line of planText(plan).trimEnd().split("\n")) context.logger.info(line);
  if (!isAsked) return true;
  const prompt = openPrompt(io.stdin, io.stderr, io.signal);
  try {
    return await prompt.confirm(`Restore ${plan.chosen.backup.name} into ${plan.target}? [y/N]: `);
  } finally {
    prompt.close();
  }
}

/** An empty answer is none for a secret key; a session token may well be empty. */
function askFor({ io }: Invocation): NonNullable<RestoreRequest["askSecret"]> {
  return async (secret, { volume, setting }) => {
    const what =
      secret === "secretKey"
        ? `Secret key of access key ${setting.accessKey || "(none)"}`
        : "Session token (empty for none)";
    const answer = await askHidden(`${what} for the data of ${volume.name}: `, io.stdin, io.stderr, io.signal);
    return secret === "secretKey" && answer === "" ? undefined : answer;
  };
}
