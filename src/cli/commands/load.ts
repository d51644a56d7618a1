import { UsageError } from "../../base/errors.ts";
import type { BinaryStatRequest } from "../../operations/binary-stat.ts";
import type { CommandOutcome, CommandSpec, Invocation } from "../command-spec.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";
import type { OptionValues } from "../option-values.ts";
import { isIncomplete, loadJson } from "../report-json.ts";
import { loadSummary } from "../report-text.ts";
import { RESUME_OPTIONS, resumeOptions } from "../resume-options.ts";
import { SALVAGE_OPTIONS, salvageOptions } from "../salvage-options.ts";
import { UNSUPPORTED_OPTIONS, unsupportedOptions } from "../unsupported-options.ts";
import { describeInterruptedLoad, VERIFY_OPTION } from "../verify-option.ts";

/** `load META-URL [FILE]` (docs/spec/cli.md §5). */
export const loadCommand: CommandSpec = {
  name: "load",
  summary: "Load metadata from a previously dumped file",
  description:
    "Loads a JSON or binary dump, made by decant or juicefs, into an empty metadata engine. A binary dump is stored exactly as " +
    "it is, a JSON dump as one consistent volume. The target holds no volume until the " +
    "last step; a load that fails leaves it as it was. The file may be plain, gzip or zstd, and encrypted like the " +
    "automatic backups in the object storage; compression is told by content, not by name.\n\n" +
    "WARNING: do not use the new engine and the old one at the same time, otherwise the volume will probably break.",
  arguments: [
    { name: "META-URL", required: true, description: "address of the empty target" },
    { name: "FILE", required: false, description: "file to read; stdin when absent or -" },
  ],
  options: [
    { flags: "--dry-run", description: "read and check everything, write nothing" },
    ...RESUME_OPTIONS,
    VERIFY_OPTION,
    ...UNSUPPORTED_OPTIONS,
    {
      flags: "--encrypt-rsa-key <PEM>",
      description: "decrypt FILE with this private key (pass phrase: JFS_RSA_PASSPHRASE)",
    },
    {
      flags: "--encrypt-algo <ALGO>",
      description: "aes256gcm-rsa, chacha20-rsa or sm4gcm",
      default: "aes256gcm-rsa",
    },
    { flags: "--encrypt-alg <ALGO>", description: "same as --encrypt-algo", hidden: true },
    { flags: "--threads <N>", description: "accepted for compatibility; decant decides by itself", default: "10" },
    { flags: "--binary", description: "FILE must be a binary dump; without this the format is told by content" },
    { flags: "--stat", description: "load nothing, show what is in a binary dump: decant load FILE --binary --stat" },
    { flags: "--offset <N>", description: "with --stat: show the segment at this offset; -1 lists all offsets" },
    ...SALVAGE_OPTIONS,
    ...RESOURCE_OPTIONS,
  ],
  examples: [
    { comment: "Restore a volume", command: "decant load redis://localhost/1 meta-dump.json.gz" },
    { comment: "Go on with it after a failure", command: "decant load redis://localhost/1 meta-dump.json.gz --resume" },
    { comment: "Check a dump without writing", command: "decant load sqlite3://new.db meta-dump.json --dry-run" },
    {
      comment: "What is left of a dump that is cut off",
      command: "decant load sqlite3://new.db cut.json.gz --keep-going --loss-report losses.jsonl",
    },
    { comment: "What is in a binary dump", command: "decant load meta-dump.bin --binary --stat" },
    {
      comment: "Restore an automatic backup of an encrypted volume",
      command:
        "JFS_RSA_PASSPHRASE=... decant load redis://localhost/1 dump-2026-11-23-064810.json.gz --encrypt-rsa-key my.pem",
    },
  ],
  run,
  describeInterruption: (invocation) => describeInterruptedLoad(invocation.args[0]!, invocation.context),
};

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { args, options, io, context } = invocation;
  const threads = options.integer("threads");
  if (threads !== undefined && threads <= 0n) context.logger.warn(`Invalid threads number ${threads}, reset to 1`);
  const offset = options.integer("offset");
  if (options.flag("stat")) return stat(invocation, offset);
  if (offset !== undefined) {
    throw new UsageError("DECANT_E_OPTION_VALUE", "--offset shows a part of a binary dump: it needs --stat");
  }
  const file = args[1];
  const { load } = await import("../../operations/load.ts");
  if (file === undefined && (io.stdin as { isTTY?: boolean }).isTTY === true) {
    context.logger.warn("Reading the dump from the terminal: give a FILE, or redirect one to stdin");
  }
  const report = await load(
    {
      target: args[0]!,
      source: file === undefined || file === "-" ? { stream: io.stdin } : { file },
      ...decryptionOf(options),
      dryRun: options.flag("dry-run"),
      ...resumeOptions(options),
      ...salvageOptions(options),
      ...(options.flag("binary") ? { format: "binary" } : {}),
      unsupported: unsupportedOptions(options),
      verify: options.flag("verify"),
    },
    context,
  );
  return { json: loadJson(report), summary: loadSummary(report), incomplete: isIncomplete(report) };
}

function decryptionOf(options: OptionValues): Pick<BinaryStatRequest, "decryption"> {
  const keyFile = options.text("encrypt-rsa-key");
  const algorithm = options.text("encrypt-algo") ?? options.text("encrypt-alg") ?? "aes256gcm-rsa";
  return keyFile === undefined ? {} : { decryption: { keyFile, algorithm } };
}

/** `load FILE --binary --stat [--offset N]`: the first argument is the file. */
async function stat(invocation: Invocation, offset: bigint | undefined): Promise<CommandOutcome> {
  const { args, options, io, context } = invocation;
  const file = args[0]!;
  const request = { source: file === "-" ? { stream: io.stdin } : { file }, ...decryptionOf(options) };
  const { binarySegment, binaryStat } = await import("../../operations/binary-stat.ts");
  const { segmentViewText, statJson, statText } = await import("../binary-stat-text.ts");
  if (offset !== undefined && offset >= 0n) {
    const segment = await binarySegment({ ...request, offset }, context);
    return { json: { segment: segment.name, value: segment.text }, output: segmentViewText(segment) };
  }
  const footer = await binaryStat(request, context);
  return { json: statJson(footer), output: statText(footer, offset !== undefined) };
}
