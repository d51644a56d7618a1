import { createWriteStream } from "node:fs";
import type { Writable } from "node:stream";
import type { CommandOutcome, CommandSpec, Invocation } from "../command-spec.ts";
import { descriptorOf } from "../descriptor-path.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";
import { rawArgument } from "../raw-argument.ts";
import { dumpJson, isIncomplete } from "../report-json.ts";
import { dumpSummary } from "../report-text.ts";
import { SALVAGE_OPTIONS, salvageOptions } from "../salvage-options.ts";
import { SNAPSHOT_OPTIONS, snapshotChoice } from "../snapshot-options.ts";

/** `dump META-URL [FILE]` (docs/spec/cli.md §4). */
export const dumpCommand: CommandSpec = {
  name: "dump",
  summary: "Dump metadata into a file",
  description:
    "Writes the metadata of a volume into a JSON or binary file that decant and juicefs can load. The dump is the volume at one " +
    "instant, also while clients write; where an engine cannot give that, the report says so and the exit status is 3.\n\n" +
    "Without FILE, or with -, the dump goes to stdout. A FILE ending in .gz, .zst or .zstd is compressed. FILE appears under " +
    "its name only when it is complete; a file of that name is replaced.",
  arguments: [
    { name: "META-URL", required: true, description: "address of the volume's metadata" },
    { name: "FILE", required: false, description: "file to write; stdout when absent or -" },
  ],
  options: [
    { flags: "--subdir <PATH>", description: "only dump a sub-directory" },
    { flags: "--keep-secret-key", description: "keep secret keys intact (WARNING: be careful as they may be leaked)" },
    { flags: "--skip-trash", description: "skip files in trash" },
    {
      flags: "--manifest",
      description: "write FILE.manifest.json beside the dump: its SHA-256, counts, source and time, for verify",
    },
    ...SNAPSHOT_OPTIONS,
    { flags: "--threads <N>", description: "accepted for compatibility; decant decides by itself", default: "10" },
    { flags: "--fast", description: "accepted for compatibility; every dump is fast and needs bounded memory" },
    {
      flags: "--binary",
      description: "dump metadata into a binary file: exactly what the engine stores, smaller and faster",
    },
    {
      flags: "--raw-xattr-names",
      description:
        "with --binary: keep names of extended attributes that are not UTF-8 (juicefs cannot read such a dump)",
    },
    ...SALVAGE_OPTIONS,
    ...RESOURCE_OPTIONS,
  ],
  examples: [
    { comment: "Back up a volume, compressed", command: "decant dump redis://localhost/1 meta-dump.json.gz" },
    {
      comment: "Only a part of the volume, to another program",
      command: "decant dump sqlite3://myjfs.db --subdir /dir/in/jfs | jq .FSTree",
    },
    {
      comment: "With a manifest, and a check of what was written",
      command: "decant dump redis://localhost/1 meta.json.gz --manifest && decant verify meta.json.gz",
    },
    { comment: "Exactly as it is stored", command: "decant dump redis://localhost/1 meta.bin.zst --binary" },
    {
      comment: "A busy Redis as of the fork of its server",
      command: "decant dump redis://localhost/1 meta.json.gz --snapshot replica",
    },
    {
      comment: "What is left of a damaged volume, with a list of what is lost",
      command: "decant dump sqlite3://damaged.db rest.json --keep-going --lost-found --loss-report losses.jsonl",
    },
    {
      comment: "With its secrets, for a move to another engine",
      command: "decant dump sqlite3://myjfs.db meta.json --keep-secret-key",
    },
  ],
  run,
  occupiesStdout: (invocation) => outputFile(invocation) === undefined,
  describeInterruption(invocation) {
    const file = outputFile(invocation);
    return file === undefined ? "the dump on stdout is cut off" : `${file} was not written`;
  },
};

/** The file to write; undefined for stdout, whatever name it was given. */
function outputFile(invocation: Invocation): string | undefined {
  const file = invocation.args[1];
  return file === undefined || file === "-" || descriptorOf(file) === 1 ? undefined : file;
}

function dumpTarget(file: string | undefined, stdout: Writable): { file: string } | { stream: Writable } {
  if (file === undefined) return { stream: stdout };
  const descriptor = descriptorOf(file);
  return descriptor === undefined ? { file } : { stream: createWriteStream("", { fd: descriptor }) };
}

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { options, io, context } = invocation;
  const threads = options.integer("threads");
  if (threads !== undefined && threads <= 0n) context.logger.warn(`Invalid threads number ${threads}, reset to 1`);
  const file = outputFile(invocation);
  const subdir = options.text("subdir");
  const { dump } = await import("../../operations/dump.ts");
  const report = await dump(
    {
      source: invocation.args[0]!,
      target: dumpTarget(file, io.stdout),
      ...(subdir === undefined ? {} : { subdir: rawArgument(subdir) }),
      skipTrash: options.flag("skip-trash"),
      keepSecretKey: options.flag("keep-secret-key"),
      format: options.flag("binary") ? "binary" : "json",
      rawXattrNames: options.flag("raw-xattr-names"),
      manifest: options.flag("manifest"),
      ...snapshotChoice(options),
      ...salvageOptions(options),
    },
    context,
  );
  return {
    json: dumpJson(report),
    summary: dumpSummary(report),
    incomplete: isIncomplete(report) || !(report.consistency.pointInTime || report.consistency.asked === true),
  };
}
