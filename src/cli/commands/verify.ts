import type { CommandOutcome, CommandSpec, Invocation } from "../command-spec.ts";
import { ExitCode } from "../exit-code.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";
import { verifyJson, verifyText } from "../verify-report.ts";

/** `verify FILE` (docs/verify.md). */
export const verifyCommand: CommandSpec = {
  name: "verify",
  summary: "Check whether a dump is whole and undamaged",
  description:
    "Reads a whole dump, JSON or binary, and checks its bytes (format, counts, compression, encryption) and its structure: " +
    "that every entry has an inode and every inode its entries, links, chunks and rules, that all directories hang together, " +
    "and that quotas and counters fit. Nothing is written. Format and compression are told by content.\n\n" +
    "Where FILE.manifest.json is beside the file (see dump --manifest), the file is compared with it too.\n\n" +
    "Prints each kind of problem with its first places, and ends with 6 when one of them is damage. Notes are what healthy " +
    "volumes have too: usage and statistics lag behind while clients write, deleted files may still be open.",
  arguments: [{ name: "FILE", required: false, description: "file to read; stdin when absent or -" }],
  options: [
    { flags: "--strict", description: "take what lags behind while clients write for damage too" },
    { flags: "--manifest <FILE>", description: "compare with this manifest", default: "FILE.manifest.json, if any" },
    {
      flags: "--encrypt-rsa-key <PEM>",
      description: "decrypt FILE with this private key (pass phrase: JFS_RSA_PASSPHRASE)",
    },
    { flags: "--encrypt-algo <ALGO>", description: "aes256gcm-rsa, chacha20-rsa or sm4gcm", default: "aes256gcm-rsa" },
    ...RESOURCE_OPTIONS,
  ],
  examples: [
    { comment: "Check a backup", command: "decant verify meta-dump.json.gz" },
    {
      comment: "The backup of a volume that nobody used, for a program",
      command: "decant verify meta-dump.json.gz --strict --json | jq .problems",
    },
    {
      comment: "An automatic backup of an encrypted volume",
      command: "JFS_RSA_PASSPHRASE=... decant verify dump-2026-11-23-064810.json.gz --encrypt-rsa-key my.pem",
    },
  ],
  run,
  describeInterruption: () => "the file was not read to its end",
};

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { args, options, io, context } = invocation;
  const file = args[0];
  const keyFile = options.text("encrypt-rsa-key");
  const algorithm = options.text("encrypt-algo") ?? "aes256gcm-rsa";
  const manifest = options.text("manifest");
  const { verify } = await import("../../operations/verify.ts");
  if (file === undefined && (io.stdin as { isTTY?: boolean }).isTTY === true) {
    context.logger.warn("Reading the dump from the terminal: give a FILE, or redirect one to stdin");
  }
  const report = await verify(
    {
      source: file === undefined || file === "-" ? { stream: io.stdin } : { file },
      ...(keyFile === undefined ? {} : { decryption: { keyFile, algorithm } }),
      ...(manifest === undefined ? {} : { manifest }),
      strict: options.flag("strict"),
    },
    context,
  );
  return {
    json: verifyJson(report),
    output: verifyText(report),
    exitCode: report.ok ? ExitCode.ok : ExitCode.badData,
  };
}
