import { UsageError } from "../../base/errors.ts";
import type { CompressionName } from "../../formats/container/output.ts";
import type { DumpFormat } from "../../formats/dump-format.ts";
import { backupJson } from "../backup-json.ts";
import { NO_WAIT_OPTION, PLACE_OPTIONS, POLICY_OPTION, readKey } from "../backup-options.ts";
import { backupSummary } from "../backup-text.ts";
import type { CommandOutcome, CommandSpec, Invocation } from "../command-spec.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";
import type { OptionValues } from "../option-values.ts";
import { SNAPSHOT_OPTIONS, snapshotChoice } from "../snapshot-options.ts";

/** `backup META-URL` (docs/backups.md). */
export const backupCommand: CommandSpec = {
  name: "backup",
  summary: "Back up metadata into the volume's object storage now",
  description:
    "Makes one backup, as mounted clients do every hour: a gzip JSON dump under meta/ in the bucket of the volume, which juicefs " +
    "loads and cleans up like its own. It is uploaded as it is made, read back and compared, and only then counts. With " +
    "--format binary or another compression it goes below decant/, where no juicefs client looks.\n\n" +
    "It tells others by the time that clients leave in the volume, so that none makes another one at once. Old backups are " +
    "deleted with --prune only.\n\n" +
    "A backup that is much smaller than the last good one is kept and reported as suspicious, and nothing is deleted until " +
    "backups confirm says that this is right. The exit status is then 3, as it is when the backup is not one point in time or " +
    "something could not be written.",
  arguments: [{ name: "META-URL", required: true, description: "address of the volume's metadata" }],
  options: [
    { flags: "--format <FORMAT>", description: "json, or binary: exactly what the engine stores", default: "json" },
    {
      flags: "--compression <NAME>",
      description: "gzip, zstd or none",
      default: "gzip; zstd with --format binary",
    },
    { flags: "--skip-trash", description: "skip files in trash" },
    {
      flags: "--max-shrink <PERCENT>",
      description: "by how much inodes, used space or size may fall since the last good backup",
      default: "50",
    },
    { flags: "--prune", description: "delete old backups when this one is verified" },
    { ...POLICY_OPTION, description: `with --prune: ${POLICY_OPTION.description}` },
    ...SNAPSHOT_OPTIONS,
    NO_WAIT_OPTION,
    ...PLACE_OPTIONS.filter(({ group }) => group === undefined),
    ...RESOURCE_OPTIONS,
  ],
  examples: [
    { comment: "One backup now", command: "decant backup redis://localhost/1" },
    { comment: "Every night, by cron", command: "decant backup redis://localhost/1 --prune --quiet" },
    { comment: "Exactly what is stored, small", command: "decant backup redis://localhost/1 --format binary" },
  ],
  run,
  describeInterruption: () => "no verified backup was made: see decant backups list for what is there",
};

async function run({ args, options, context }: Invocation): Promise<CommandOutcome> {
  const { parsePolicy, DEFAULT_POLICY_TEXT } = await import("../../operations/backups/retention-policy.ts");
  const { DEFAULT_MAX_SHRINK, parseMaxShrink } = await import("../../operations/backups/shrink-guard.ts");
  const { backup } = await import("../../operations/backups/backup.ts");
  const { acquireTurn } = await import("../backup-turn.ts");
  const format = oneOf<DumpFormat>(options, "format", ["json", "binary"]) ?? "json";
  const compression = oneOf<CompressionName>(options, "compression", ["gzip", "zstd", "none"]);
  const policy = parsePolicy(options.text("policy") ?? DEFAULT_POLICY_TEXT);
  if (options.text("policy") !== undefined && !options.flag("prune")) {
    throw new UsageError("DECANT_E_USAGE", "--policy says what --prune deletes, and --prune was not given");
  }
  const maxShrink = options.text("max-shrink");
  const report = await backup(
    {
      volume: args[0]!,
      format,
      ...(compression === undefined ? {} : { compression }),
      skipTrash: options.flag("skip-trash"),
      maxShrink: maxShrink === undefined ? DEFAULT_MAX_SHRINK : parseMaxShrink(maxShrink),
      ...(options.flag("prune") ? { prune: policy } : {}),
      ...snapshotChoice(options),
      ...readKey(options),
      acquire: acquireTurn({ wait: options.given("wait") !== false, logger: context.logger }),
    },
    context,
  );
  const { manifest, findings, pruned } = report;
  return {
    json: backupJson(report),
    summary: backupSummary(report),
    incomplete:
      !(manifest.consistency.pointInTime || options.text("snapshot") === "none") ||
      manifest.backup.suspicious.length > 0 ||
      findings.some(({ loss }) => loss) ||
      pruned?.refusal !== undefined ||
      (pruned?.failed.length ?? 0) > 0,
  };
}

function oneOf<T extends string>(options: OptionValues, name: string, values: readonly T[]): T | undefined {
  const text = options.text(name);
  if (text === undefined) return undefined;
  const found = values.find((value) => value === text);
  if (found !== undefined) return found;
  throw new UsageError(
    "DECANT_E_OPTION_VALUE",
    `Invalid value "${text}" for "${name}": not one of ${values.join(", ")}`,
  );
}
