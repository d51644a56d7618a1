import { createWriteStream } from "node:fs";
import type { Writable } from "node:stream";
import { UsageError } from "../../base/errors.ts";
import type { CommandOutcome, CommandSpec, Invocation } from "../command-spec.ts";
import { descriptorOf } from "../descriptor-path.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";
import { rawArgument } from "../raw-argument.ts";
import { dumpJson, isIncomplete } from "../report-json.ts";
import { dumpSummary } from "../report-text.ts";

/** `dump META-URL [FILE]` (docs/spec/cli.md §4). */
export const dumpCommand: CommandSpec = {
  name: "dump",
  summary: "Dump metadata into a file",
  description:
    "Writes the metadata of a volume into a JSON file that decant and juicefs can load. The dump is the volume at one " +
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
    { flags: "--threads <N>", description: "accepted for compatibility; decant decides by itself", default: "10" },
    { flags: "--fast", description: "accepted for compatibility; every dump is fast and needs bounded memory" },
    { flags: "--binary", description: "dump metadata into a binary file (not in this version)" },
    ...RESOURCE_OPTIONS,
  ],
  examples: [
    { comment: "Back up a volume, compressed", command: "decant dump redis://localhost/1 meta-dump.json.gz" },
    {
      comment: "Only a part of the volume, to another program",
      command: "decant dump sqlite3://myjfs.db --subdir /dir/in/jfs | jq .FSTree",
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
  if (options.flag("binary")) {
    throw new UsageError("DECANT_E_BINARY", "Binary dumps are not supported yet", {
      hint: "Leave --binary out: a JSON dump holds the same files and any juicefs client can load it",
    });
  }
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
    },
    context,
  );
  return {
    json: dumpJson(report),
    summary: dumpSummary(report),
    incomplete: isIncomplete(report) || !report.consistency.pointInTime,
  };
}
