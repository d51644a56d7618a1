import { UsageError } from "../../base/errors.ts";
import { parseDurationSeconds } from "../../base/go-duration.ts";
import { parseMbps } from "../../base/units.ts";
import type { ConfigFlags } from "../../operations/config-plan.ts";
import { formatSetting, settingToJson } from "../../volume/setting.ts";
import type { CommandOutcome, CommandSpec, Invocation } from "../command-spec.ts";
import type { OptionValues } from "../option-values.ts";
import { openPrompt } from "../prompt.ts";
import { given, MANAGEMENT_OPTIONS, readSharedFlags, STORAGE_OPTIONS } from "../setting-options.ts";

const STORAGE = "Data storage";
const MANAGEMENT = "Management";

/** `config META-URL [flags]` (docs/spec/settings.md §6). */
export const configCommand: CommandSpec = {
  name: "config",
  summary: "Change configuration of a volume",
  description:
    "Without options the setting of the volume is printed, secrets removed. Only options explicitly given are changed.\n\n" +
    "After loading a dump whose secrets were removed, give all of them in one call: a secret that has no value is never " +
    "stored as if the place holder were one.",
  arguments: [{ name: "META-URL", required: true, description: "address of the volume's metadata" }],
  options: [
    { flags: "-y, --yes", description: "automatically answer 'yes' to all prompts and run non-interactively" },
    { flags: "--force", description: "skip sanity check and force update the configurations" },
    { flags: "--dry-run", description: "check and show what would change, write nothing" },
    ...STORAGE_OPTIONS.map(({ default: _default, ...option }) => option),
    {
      flags: "--upload-limit <MBPS>",
      description: "default bandwidth limit of a client for upload in Mbps; 0 for none",
      group: STORAGE,
    },
    {
      flags: "--download-limit <MBPS>",
      description: "default bandwidth limit of a client for download in Mbps; 0 for none",
      group: STORAGE,
    },
    ...MANAGEMENT_OPTIONS.map(({ default: _default, ...option }) => option),
    {
      flags: "--encrypt-secret",
      description: "encrypt the secret key if it was previously stored in plain format",
      group: MANAGEMENT,
    },
    {
      flags: "--min-client-version <VERSION>",
      description: "minimum client version allowed to connect",
      group: MANAGEMENT,
    },
    {
      flags: "--max-client-version <VERSION>",
      description: "maximum client version allowed to connect",
      group: MANAGEMENT,
    },
    {
      flags: "--dir-stats",
      description: "enable dir stats, which is necessary for fast summary and dir quota",
      group: MANAGEMENT,
    },
    { flags: "--user-group-quota", description: "enable user and group quota management", group: MANAGEMENT },
    { flags: "--changelog", description: "enable changelog", group: MANAGEMENT },
    {
      flags: "--changelog-max-age <DURATION>",
      description: "max age of changelog entries (e.g. 2h, 30m); 0 to disable time-based cleanup",
      default: "2h when the changelog is enabled",
      group: MANAGEMENT,
    },
    {
      flags: "--changelog-max-lines <N>",
      description: "max number of changelog entries to keep; 0 means unlimited",
      group: MANAGEMENT,
    },
    {
      flags: "--tier <N>",
      description: "which tier --storage-class and --tag are for: 0 to 3",
      default: "0",
      group: MANAGEMENT,
    },
  ],
  examples: [
    { comment: "Show the current configuration", command: "decant config redis://localhost/1" },
    {
      comment: 'Change the volume "quota"',
      command: "decant config redis://localhost/1 --inodes 10000000 --capacity 1T",
    },
    {
      comment: "Give the secret key again after loading a dump",
      command: "decant config redis://localhost/1 --secret-key xxxx --session-token ''",
    },
  ],
  run,
  describeInterruption: () => "run config without options to see the setting as it is now",
};

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { args, options, context, io, json } = invocation;
  const flags = await readFlags(options);
  const dryRun = options.flag("dry-run");
  const { config } = await import("../../operations/config.ts");
  const showOnly = Object.keys(flags).length === 0 && !options.flag("yes") && !options.flag("force") && !dryRun;
  const output = json ? io.stderr : io.stdout;
  const prompt = openPrompt(io.stdin, output, io.signal);
  const confirm = async (warning: string): Promise<boolean> => {
    output.write(`${warning}\n`);
    return dryRun || options.flag("yes") || (await prompt.confirm("Proceed anyway? [y/N]: "));
  };
  try {
    const report = await config({ target: args[0]!, flags, dryRun, force: options.flag("force"), confirm }, context);
    const document = {
      operation: report.operation,
      volume: { ...report.volume },
      dryRun: report.dryRun,
      changes: report.changes.map((line) => line.trim()),
      setting: settingToJson(report.setting, { tiers: "effective", unknown: "drop" }),
    };
    if (showOnly) return { json: document, output: `${formatSetting(report.setting, { form: "pretty" })}\n` };
    const lines = report.changes.length === 0 ? ["Nothing changed."] : report.changes;
    const summary = dryRun ? [{ text: "Nothing was written (dry run)", important: false }] : [];
    return { json: document, output: `${lines.join("\n")}\n`, summary };
  } finally {
    prompt.close();
  }
}

async function readFlags(options: OptionValues): Promise<ConfigFlags> {
  const upload = options.text("upload-limit");
  const download = options.text("download-limit");
  return {
    ...(await readSharedFlags(options)),
    ...given({
      tag: options.text("tag"),
      uploadLimit: upload === undefined ? undefined : parseMbps(upload, "upload-limit"),
      downloadLimit: download === undefined ? undefined : parseMbps(download, "download-limit"),
      encryptSecret: options.given("encrypt-secret"),
      minClientVersion: options.text("min-client-version"),
      maxClientVersion: options.text("max-client-version"),
      dirStats: options.given("dir-stats"),
      userGroupQuota: options.given("user-group-quota"),
      changeLog: options.given("changelog"),
      changeLogMaxAge: changeLogMaxAge(options),
      changeLogMaxLines: options.integer("changelog-max-lines"),
      tier: options.integer("tier"),
    }),
  };
}

/** Whole seconds; the sign is kept, so that a negative age is refused by name. */
function changeLogMaxAge(options: OptionValues): bigint | undefined {
  const text = options.text("changelog-max-age");
  if (text === undefined) return undefined;
  const seconds = parseDurationSeconds(text);
  if (seconds === undefined) {
    throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${text}" for "changelog-max-age"`, {
      hint: "A duration has a unit: 90s, 30m, 2h, 1h30m",
    });
  }
  return BigInt(Math.trunc(seconds));
}
