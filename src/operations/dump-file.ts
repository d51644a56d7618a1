import type { Readable } from "node:stream";
import type { DataError } from "../base/errors.ts";
import type { Progress } from "../base/progress.ts";
import { decodeBinaryDump } from "../formats/binary/decode.ts";
import { type Input, type InputOptions, openInput } from "../formats/container/input.ts";
import { isEncryptedFile } from "../formats/container/sniff.ts";
import { type DumpFormat, detectDumpFormat } from "../formats/dump-format.ts";
import { decodeJsonDump, type LeftOut } from "../formats/json/decode.ts";
import type { FindingList } from "../volume/findings.ts";
import type { RecordStream } from "../volume/records.ts";
import type { OperationContext } from "./context.ts";

export type DumpSource = { readonly file: string } | { readonly stream: Readable };

export interface Decryption {
  readonly keyFile: string;
  readonly algorithm: string;
}

/** An opened dump file or stream, of either format. Close it in any case. */
export interface DumpFile {
  /** File name or `STDIN`. */
  readonly name: string;
  readonly format: DumpFormat;
  /** How it was stored. */
  readonly description: Input["description"];
  /** Size of the file as it is stored; undefined for what can be read only once. */
  readonly totalBytes: number | undefined;
  /** The document, decrypted and decompressed. To be iterated once; a piece is valid until the next is asked for. */
  readonly bytes: AsyncIterable<Buffer>;
  /** Bytes taken from the file or stream so far. */
  readBytes(): number;
  close(): Promise<void>;
}

/** Opens a dump and tells its format by content. A file is decrypted when it is encrypted, a stream always when a key is given. */
export async function openDumpFile(
  source: DumpSource,
  decryption: Decryption | undefined,
  context: OperationContext,
  watch: Pick<InputOptions, "onDamage" | "onRead"> = {},
): Promise<DumpFile> {
  const { signal, env, progress } = context;
  const isEncrypted = decryption !== undefined && (!("file" in source) || (await isEncryptedFile(source.file)));
  const input = await openInput(source, { signal, env, ...watch, ...(isEncrypted ? { decryption } : {}) });
  const name = "file" in source ? source.file : "STDIN";
  try {
    const { format, bytes } = await detectDumpFormat(input.bytes);
    return {
      name,
      format,
      description: input.description,
      totalBytes: input.totalBytes,
      bytes: counted(bytes, input, name, progress),
      readBytes: input.readBytes,
      close: input.close,
    };
  } catch (error) {
    await input.close();
    throw error;
  }
}

export interface DecodeDumpOptions {
  /** Entries and records that cannot be understood are left out and noted. */
  readonly keepGoing?: boolean;
  /** With `keepGoing`: see `JsonDecodeOptions`. */
  readonly lostFound?: boolean;
  /** Length of the document, where it is known; see `BinaryDecodeOptions`. */
  readonly totalBytes?: number | undefined;
  /** See `JsonDecodeOptions`. */
  readonly strictText?: boolean;
}

/** Records of a dump's document: in tree order from JSON, flat from a binary one. */
export function decodeDump(
  format: DumpFormat,
  bytes: AsyncIterable<Buffer>,
  findings: Pick<FindingList, "addOther">,
  signal: AbortSignal,
  { keepGoing = false, lostFound = false, totalBytes, strictText = false }: DecodeDumpOptions = {},
): RecordStream {
  if (format === "binary") {
    return decodeBinaryDump(bytes, {
      signal,
      onNote: (kind, text, loss, example) => findings.addOther(kind, text, loss, example),
      ...(totalBytes === undefined ? {} : { totalBytes }),
      ...(keepGoing ? { onLeftOut: (error) => noteLeftOut(findings, "record", error) } : {}),
    });
  }
  return decodeJsonDump(bytes, {
    signal,
    strictText,
    onWarning: (kind, text, example) =>
      findings.addOther(kind, text, false, example === undefined ? undefined : () => example),
    ...(keepGoing ? { lostFound, onLeftOut: (error, what, line) => noteLeftOut(findings, what, error, line) } : {}),
  });
}

const LEFT_OUT: Readonly<Record<LeftOut | "record", string>> = {
  record: "A record that cannot be understood was left out",
  part: "A part of an entry that cannot be understood was left out: chunks, extended attributes or an access control list",
  directory: "A directory that cannot be understood in full was kept, without what is damaged of its own",
  name: "An entry whose name cannot be understood was kept under another one",
  lines: "Text that is damaged was passed over, to the next entry",
  entry: "An entry that cannot be understood was left out, with everything below it",
  value: "A counter, a quota or the like that cannot be understood was left out",
  text: "Text that is damaged was passed over: everything in it, to the next section, is lost",
};

function noteLeftOut(
  findings: Pick<FindingList, "addOther">,
  what: LeftOut | "record",
  error: DataError,
  line?: number,
): void {
  const until = what === "lines" ? `; read again from line ${line} on` : "";
  findings.addOther("left-out", LEFT_OUT[what], true, () => `${error.message}${until}`);
}

async function* counted(
  bytes: AsyncIterable<Buffer>,
  input: Input,
  name: string,
  progress: Progress,
): AsyncGenerator<Buffer> {
  const phase = progress.begin(`Reading ${name}`, input.totalBytes === undefined ? {} : { bytes: input.totalBytes });
  try {
    for await (const piece of bytes) {
      phase.bytes = input.readBytes();
      yield piece;
    }
  } finally {
    progress.end(phase);
  }
}
