import { FileError, UsageError } from "../../base/errors.ts";
import { formatJsonLine } from "../../base/json-text.ts";
import { formatCount, formatDuration } from "../../base/units.ts";
import type { Difference, DiffReport, DiffRequest, DiffSide } from "../../operations/diff.ts";
import { DIFF_PARTS, type DiffPart } from "../../operations/diff-parts.ts";
import type { CommandOutcome, CommandSpec, Invocation, SummaryLine } from "../command-spec.ts";
import { ExitCode } from "../exit-code.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";
import { rawArgument } from "../raw-argument.ts";
import { findingText } from "../report-text.ts";
import { SNAPSHOT_OPTIONS, snapshotChoice } from "../snapshot-options.ts";

/** `diff A B` (docs/diff.md). */
export const diffCommand: CommandSpec = {
  name: "diff",
  summary: "Compare two volumes or dumps",
  description:
    "Compares two states of a volume by path. Each side is a META-URL (with its scheme, such as redis://), a JSON or binary dump " +
    "(plain, gzip, zstd, encrypted; told by content), or - for a dump on stdin. Prints one line per difference:\n\n" +
    "    A /path                       only in B\n" +
    "    D /path                       only in A\n" +
    "    R /old -> /new                the same inode under another name; what is below a renamed directory is compared there\n" +
    "    M /path (mode 0644 -> 0600)   on both sides, but different\n" +
    "    M setting TrashDays (1 -> 7)  settings, counters, quotas, files waiting for deletion\n\n" +
    "Access times are not compared unless asked for. When the UUIDs differ, numbers of inodes say nothing: they are not " +
    "compared, and renames are not looked for. Secrets are compared where both sides have them, and never printed.\n\n" +
    "Ends with 0 when there is no difference, with 1 when there are some, and with another code when something went wrong, as " +
    "diff(1) does. Without differences the code is 3 where a side could not be read whole or at one instant.",
  arguments: [
    { name: "A", required: true, description: "the old side: META-URL, dump file, or - for stdin" },
    { name: "B", required: true, description: "the new side" },
  ],
  options: [
    { flags: "--summary", description: "only say how many differences there are" },
    { flags: "--subdir <PATH>", description: "only compare this directory of both sides, and no settings or counters" },
    { flags: "--skip-trash", description: "do not compare files in trash" },
    { flags: "--atime", description: "compare access times too" },
    { flags: "--ignore <LIST>", description: `what not to compare, separated by commas: ${DIFF_PARTS.join(", ")}` },
    {
      flags: "--no-renames",
      description: "show a renamed file as removed and added; differences are then printed at once",
    },
    {
      flags: "--encrypt-rsa-key <PEM>",
      description: "private key for those of the files that are encrypted (pass phrase: JFS_RSA_PASSPHRASE)",
    },
    { flags: "--encrypt-algo <ALGO>", description: "aes256gcm-rsa, chacha20-rsa or sm4gcm", default: "aes256gcm-rsa" },
    ...SNAPSHOT_OPTIONS,
    ...RESOURCE_OPTIONS,
  ],
  examples: [
    { comment: "What has happened since the backup", command: "decant diff backup.json.gz redis://localhost/1" },
    {
      comment: "Is the copy complete?",
      command: "decant diff redis://localhost/1 postgres://user@host/jfs --summary && echo equal",
    },
    { comment: "One directory, for a program", command: "decant diff old.json new.json --subdir /home --json | jq ." },
  ],
  run,
  jsonLines: true,
  failureCode: ExitCode.fault,
};

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { options, io, context, json } = invocation;
  const request = diffRequest(invocation);
  const { diff } = await import("../../operations/diff.ts");
  const { differenceText } = await import("../difference-text.ts");
  const { differenceJson, diffJson } = await import("../difference-json.ts");
  const { openOutput } = await import("../../formats/container/output.ts");
  const line = json
    ? (difference: Difference) => `${formatJsonLine(differenceJson(difference))}\n`
    : (difference: Difference) => `${differenceText(difference)}\n`;
  const output = await openOutput({ stream: io.stdout }, { signal: context.signal });
  try {
    const report = await diff(request, context, async (differences) => {
      if (options.flag("summary")) return;
      await output.write(Buffer.from(differences.map(line).join("")));
    });
    return {
      json: diffJson(report),
      ...(options.flag("summary") ? { output: `${countsText(report)}\n` } : {}),
      summary: closingLines(report),
      exitCode: report.equal ? (report.complete ? ExitCode.ok : ExitCode.incomplete) : ExitCode.different,
    };
  } catch (error) {
    // A reader that has seen enough has seen a difference.
    if (error instanceof FileError && error.code === "DECANT_E_PIPE_CLOSED") {
      return { json: null, exitCode: ExitCode.different };
    }
    throw error;
  }
}

function diffRequest({ args, options, io }: Invocation): DiffRequest {
  const subdir = options.text("subdir");
  const keyFile = options.text("encrypt-rsa-key");
  const algorithm = options.text("encrypt-algo") ?? "aes256gcm-rsa";
  if (args[0] === "-" && args[1] === "-") {
    throw new UsageError("DECANT_E_OPTION_VALUE", "Only one side can come from stdin");
  }
  const side = (argument: string): DiffRequest["from"] => (argument === "-" ? { stream: io.stdin } : argument);
  return {
    from: side(args[0]!),
    to: side(args[1]!),
    ...(subdir === undefined ? {} : { subdir: rawArgument(subdir) }),
    skipTrash: options.flag("skip-trash"),
    ...snapshotChoice(options),
    renames: options.given("renames") !== false,
    ignore: ignoredParts(options.text("ignore") ?? "", options.flag("atime")),
    ...(keyFile === undefined ? {} : { decryption: { keyFile, algorithm } }),
  };
}

function ignoredParts(list: string, withAtime: boolean): Set<DiffPart> {
  const ignored = new Set<DiffPart>(withAtime ? [] : ["atime"]);
  for (const name of list.split(",").map((text) => text.trim())) {
    if (name === "") continue;
    const part = DIFF_PARTS.find((known) => known === name);
    if (part === undefined) {
      throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${name}" for "ignore"`, {
        hint: `Known are ${DIFF_PARTS.join(", ")}`,
      });
    }
    ignored.add(part);
  }
  return ignored;
}

function countsText({ counts }: DiffReport): string {
  const { added, removed, renamed, changed, values, equal } = counts;
  const parts = [
    `${formatCount(added)} added`,
    `${formatCount(removed)} removed`,
    `${formatCount(renamed)} renamed`,
    `${formatCount(changed)} changed`,
    `${formatCount(equal)} the same`,
    `${formatCount(values)} settings, counters or quotas`,
  ];
  return parts.join(", ");
}

function closingLines(report: DiffReport): SummaryLine[] {
  const { from, to } = report;
  const verdict = report.equal ? "are equal" : "differ";
  return [
    { text: `${from.source} and ${to.source} ${verdict}`, important: false },
    { text: `  ${countsText(report)}; ${formatDuration(report.durationMs)}`, important: false },
    ...sideLines("A", from),
    ...sideLines("B", to),
  ];
}

function sideLines(letter: string, side: DiffSide): SummaryLine[] {
  return side.findings.map((finding) => ({ text: `  ${letter}: ${findingText(finding)}`, important: finding.loss }));
}
