import { createWriteStream } from "node:fs";
import { UsageError } from "../../base/errors.ts";
import { formatBytes, formatDuration } from "../../base/units.ts";
import type { ConvertReport, ConvertRequest } from "../../operations/convert.ts";
import type { CommandOutcome, CommandSpec, Invocation, SummaryLine } from "../command-spec.ts";
import { descriptorOf } from "../descriptor-path.ts";
import { RESOURCE_OPTIONS } from "../global-options.ts";
import { convertJson, isIncomplete } from "../report-json.ts";
import { countsText, findingText } from "../report-text.ts";
import { SALVAGE_OPTIONS, salvageOptions } from "../salvage-options.ts";

const COMPRESSIONS = ["none", "gzip", "zstd"] as const;
const FORMATS = ["json", "binary"] as const;

/** `convert IN OUT` (docs/convert.md). */
export const convertCommand: CommandSpec = {
  name: "convert",
  summary: "Write a dump in another format, compression or encryption",
  description:
    "Reads a dump and writes it again, without a database: JSON or binary, plain or compressed, encrypted with another key or " +
    "with none. What IN is, its content tells. OUT is JSON when its name ends in .json, binary when it ends in .bin, each " +
    "with or without .gz, .zst or .zstd; else it has the format of IN. In the same format the document stays the same byte " +
    "for byte, and is checked as a load does it.\n\n" +
    "What a JSON dump cannot hold and cannot be computed again is reported, and the exit status is 3. With --keep-going a " +
    "damaged dump is converted as far as it can be read.",
  arguments: [
    { name: "IN", required: true, description: "dump to read; - for stdin" },
    { name: "OUT", required: true, description: "file to write; - for stdout" },
  ],
  options: [
    { flags: "--format <FORMAT>", description: "json or binary", default: "by the name of OUT, else that of IN" },
    { flags: "--compress <KIND>", description: "none, gzip or zstd", default: "by the name of OUT" },
    {
      flags: "--encrypt-rsa-key <PEM>",
      description: "decrypt IN with this private key (pass phrase: JFS_RSA_PASSPHRASE)",
      group: "Encryption",
    },
    {
      flags: "--encrypt-algo <ALGO>",
      description: "aes256gcm-rsa, chacha20-rsa or sm4gcm",
      default: "aes256gcm-rsa",
      group: "Encryption",
    },
    {
      flags: "--out-encrypt-rsa-key <PEM>",
      description: "encrypt OUT for the owner of this private key (the same pass phrase)",
      group: "Encryption",
    },
    {
      flags: "--out-encrypt-algo <ALGO>",
      description: "as above, for OUT",
      default: "aes256gcm-rsa",
      group: "Encryption",
    },
    {
      flags: "--raw-xattr-names",
      description:
        "into a binary dump: keep names of extended attributes that are not UTF-8 (juicefs cannot read such a dump)",
    },
    ...SALVAGE_OPTIONS,
    ...RESOURCE_OPTIONS,
  ],
  examples: [
    { comment: "A binary dump, to look into it", command: "decant convert meta.bin meta.json" },
    { comment: "Smaller", command: "decant convert meta.json meta.json.zst" },
    {
      comment: "An automatic backup, encrypted with a new key",
      command: "decant convert dump.json.gz new.json.gz --encrypt-rsa-key old.pem --out-encrypt-rsa-key new.pem",
    },
    { comment: "What is left of a cut-off dump", command: "decant convert cut.json.gz rest.json --keep-going" },
  ],
  run,
  occupiesStdout: (invocation) => outputFile(invocation) === undefined,
  describeInterruption(invocation) {
    const file = outputFile(invocation);
    return file === undefined ? "the dump on stdout is cut off" : `${file} was not written`;
  },
};

/** The file to write; undefined for stdout, whatever name it was given. */
function outputFile({ args }: Invocation): string | undefined {
  const file = args[1]!;
  return file === "-" || descriptorOf(file) === 1 ? undefined : file;
}

async function run(invocation: Invocation): Promise<CommandOutcome> {
  const { convert } = await import("../../operations/convert.ts");
  const report = await convert(convertRequest(invocation), invocation.context);
  return { json: convertJson(report), summary: summaryLines(report), incomplete: isIncomplete(report) };
}

function convertRequest(invocation: Invocation): ConvertRequest {
  const { args, options, io } = invocation;
  const file = outputFile(invocation);
  const format = choice(invocation, "format", FORMATS) ?? (file === undefined ? undefined : formatOfName(file));
  const compression = choice(invocation, "compress", COMPRESSIONS);
  const key = (option: string, algorithm: string): { keyFile: string; algorithm: string } | undefined => {
    const keyFile = options.text(option);
    return keyFile === undefined ? undefined : { keyFile, algorithm: options.text(algorithm) ?? "aes256gcm-rsa" };
  };
  const decryption = key("encrypt-rsa-key", "encrypt-algo");
  const encryption = key("out-encrypt-rsa-key", "out-encrypt-algo");
  return {
    source: args[0] === "-" ? { stream: io.stdin } : { file: args[0]! },
    target: target(file, io.stdout),
    ...(format === undefined ? {} : { format }),
    ...(compression === undefined ? {} : { compression }),
    ...(decryption === undefined ? {} : { decryption }),
    ...(encryption === undefined ? {} : { encryption }),
    ...salvageOptions(options),
    rawXattrNames: options.flag("raw-xattr-names"),
  };
}

function target(file: string | undefined, stdout: Invocation["io"]["stdout"]): ConvertRequest["target"] {
  if (file === undefined) return { stream: stdout };
  const descriptor = descriptorOf(file);
  return descriptor === undefined ? { file } : { stream: createWriteStream("", { fd: descriptor }) };
}

function choice<T extends string>({ options }: Invocation, name: string, values: readonly T[]): T | undefined {
  const text = options.text(name);
  const value = values.find((known) => known === text);
  if (text !== undefined && value === undefined) {
    throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${text}" for "${name}"`, {
      hint: `It must be one of ${values.join(", ")}`,
    });
  }
  return value;
}

function formatOfName(file: string): "json" | "binary" | undefined {
  const name = file.replace(/\.(gz|zst|zstd)$/, "");
  if (name.endsWith(".json")) return "json";
  return name.endsWith(".bin") ? "binary" : undefined;
}

function summaryLines(report: ConvertReport): SummaryLine[] {
  const stored = [report.encrypted ? "encrypted" : "", report.compression === "none" ? "" : report.compression];
  const how = stored.filter((text) => text !== "").join(" ");
  const written = `${formatBytes(report.writtenBytes)}${how === "" ? "" : ` (${how})`} written`;
  const { volume, format, sourceFormat } = report;
  const same = format === sourceFormat && !isIncomplete(report) ? "the same document" : `${sourceFormat} to ${format}`;
  return [
    { text: `Converted "${report.source}" to "${report.file ?? "STDOUT"}": ${same}`, important: false },
    { text: `  volume ${volume.name} (${volume.uuid})`, important: false },
    { text: `  ${countsText(report.counts)}; ${written} in ${formatDuration(report.durationMs)}`, important: false },
    ...report.findings.map((finding) => ({ text: `  ${findingText(finding)}`, important: finding.loss })),
  ];
}
