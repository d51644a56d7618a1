import type { FormatReport } from "../../operations/format.ts";
import { formatSetting, settingToJson } from "../../volume/setting.ts";
import type { CommandOutcome, CommandSpec, Invocation } from "../command-spec.ts";
import { given, MANAGEMENT_OPTIONS, readSharedFlags, readTextFile, STORAGE_OPTIONS } from "../setting-options.ts";

const DATA_FORMAT = "Data format";

/** `format META-URL NAME` (docs/spec/settings.md §5). */
export const formatCommand: CommandSpec = {
  name: "format",
  summary: "Format a volume",
  description:
    "Creates a volume: META-URL is where its metadata will be, NAME the prefix of its objects in the data storage. A database " +
    "with other keys or tables in it is refused without --force. On an " +
    "existing volume the given options are applied to its setting; use config for that instead.\n\n" +
    "This version can test object storage of type file only. For others set JFS_NO_CHECK_OBJECT_STORAGE=1, which skips the " +
    "test, the check that the prefix is empty, and the object juicefs_uuid.\n\n" +
    "ACCESS_KEY, SECRET_KEY and SESSION_TOKEN in the environment are used for a new volume when the options are not given.",
  arguments: [
    { name: "META-URL", required: true, description: "address of the metadata engine" },
    { name: "NAME", required: true, description: "name of the volume: 3 to 63 of a-z, 0-9 and -" },
  ],
  options: [
    { flags: "--force", description: "overwrite existing format" },
    { flags: "--no-update", description: "don't update existing volume" },
    ...STORAGE_OPTIONS,
    {
      flags: "--block-size <SIZE>",
      description: "size of block, in KiB or with a unit",
      default: "4M",
      group: DATA_FORMAT,
    },
    {
      flags: "--compress <ALGO>",
      description: "compression algorithm (lz4, zstd, none)",
      default: "none",
      group: DATA_FORMAT,
    },
    { flags: "--encrypt-rsa-key <PEM>", description: "a path to RSA private key (PEM)", group: DATA_FORMAT },
    {
      flags: "--encrypt-algo <ALGO>",
      description: "encrypt algorithm (aes256gcm-rsa, chacha20-rsa, sm4gcm)",
      default: "aes256gcm-rsa",
      group: DATA_FORMAT,
    },
    { flags: "--hash-prefix", description: "add a hash prefix to name of objects", group: DATA_FORMAT },
    {
      flags: "--shards <N>",
      description: "store the blocks into N buckets by hash of key",
      default: "0",
      group: DATA_FORMAT,
    },
    ...MANAGEMENT_OPTIONS,
  ],
  examples: [
    { comment: "A simple test volume in a local directory", command: "decant format sqlite3://myjfs.db myjfs" },
    {
      comment: "With quotas and a longer trash",
      command: "decant format redis://localhost/1 myjfs --capacity 1T --inodes 10000000 --trash-days 7",
    },
    {
      comment: "With S3, which this version cannot test",
      command:
        "JFS_NO_CHECK_OBJECT_STORAGE=1 decant format redis://localhost/1 myjfs --storage s3 --bucket https://mybucket.s3.us-east-2.amazonaws.com",
    },
  ],
  run,
  describeInterruption: () => "no volume was created",
};

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { args, options, context } = invocation;
  const keyFile = options.text("encrypt-rsa-key");
  const encryptKey = keyFile === undefined ? undefined : await readTextFile(keyFile, `load RSA key from "${keyFile}"`);
  const blockBytes = options.size("block-size", "K");
  const flags = {
    ...(await readSharedFlags(options)),
    ...given({
      blockSize: blockBytes === undefined ? undefined : blockBytes >> 10n,
      compression: options.text("compress"),
      encryptKey,
      encryptAlgo: options.text("encrypt-algo"),
      hashPrefix: options.given("hash-prefix"),
      shards: options.integer("shards"),
    }),
  };
  const { format } = await import("../../operations/format.ts");
  const report = await format(
    {
      target: args[0]!,
      name: args[1]!,
      flags,
      force: options.flag("force"),
      noUpdate: options.given("update") === false,
    },
    context,
  );
  return outcomeOf(report);
}

function outcomeOf(report: FormatReport): CommandOutcome {
  const { setting } = report;
  const json = {
    operation: report.operation,
    outcome: report.outcome,
    volume: { name: setting.name, uuid: setting.uuid },
    setting: settingToJson(setting, { tiers: "effective", unknown: "drop" }),
  };
  if (report.outcome === "kept") return { json };
  const text = `Volume is formatted as ${formatSetting(setting, { form: "pretty" })}`;
  return { json, summary: [{ text, important: false }] };
}
