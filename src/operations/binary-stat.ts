import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";
import { DataError, UsageError } from "../base/errors.ts";
import type { Footer } from "../formats/binary/footer.ts";
import { readFooterOfFile, readFooterOfStream, readSegmentAt } from "../formats/binary/read-parts.ts";
import { segmentText } from "../formats/binary/segment-text.ts";
import { type Input, openInput } from "../formats/container/input.ts";
import { detectDumpFormat } from "../formats/dump-format.ts";
import type { OperationContext } from "./context.ts";

export interface BinaryStatRequest {
  /** A binary dump; plain, gzip or zstd, told by content. */
  readonly source: { readonly file: string } | { readonly stream: Readable };
  /** Decrypt it first; pass phrase in `JFS_RSA_PASSPHRASE`. */
  readonly decryption?: { readonly keyFile: string; readonly algorithm: string };
}

/** What the footer of a binary dump says of it. Of a plain file only the end is read. */
export async function binaryStat(request: BinaryStatRequest, context: OperationContext): Promise<Footer> {
  return withInput(request, context, async (input) => {
    const file = plainFile(request, input);
    const dump = await detectDumpFormat(input.bytes);
    if (dump.format !== "binary") {
      throw new DataError("DECANT_E_BINARY_FORMAT", "This is not a binary dump: it does not begin with a segment", {
        hint: "Give the file that `dump --binary` has written",
        location: { offset: 0 },
      });
    }
    return file === undefined ? readFooterOfStream(dump.bytes) : readFooterOfFile(file);
  });
}

/** One segment of a binary dump, by the offset at which it begins. */
export interface SegmentView {
  /** As in the footer. */
  readonly name: string;
  /** JSON text: the setting, or the records of the segment. */
  readonly text: string;
}

/** Reads one segment of a binary dump. Throws `DataError` when none begins at that offset. */
export async function binarySegment(
  request: BinaryStatRequest & { readonly offset: bigint },
  context: OperationContext,
): Promise<SegmentView> {
  const offset = Number(request.offset);
  if (request.offset < 0n || !Number.isSafeInteger(offset)) {
    throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${request.offset}" for "offset": not in any file`);
  }
  return withInput(request, context, async (input) => {
    const file = plainFile(request, input);
    const { type, body } =
      file === undefined
        ? await readSegmentAt(input.bytes, offset)
        : await readSegmentAt(await readFrom(file, offset, context.signal), offset, offset);
    return { name: type.name, text: segmentText(type, body) };
  });
}

async function withInput<T>(
  request: BinaryStatRequest,
  context: OperationContext,
  use: (input: Input) => Promise<T>,
): Promise<T> {
  const { signal, env } = context;
  const { source, decryption } = request;
  const input = await openInput(source, { signal, env, ...(decryption === undefined ? {} : { decryption }) });
  try {
    return await use(input);
  } finally {
    await input.close();
  }
}

/** The name of a file whose bytes are the document itself, and can be read from anywhere. */
function plainFile(request: BinaryStatRequest, input: Input): string | undefined {
  const isPlain = input.description === "plain" && input.totalBytes !== undefined;
  return isPlain && "file" in request.source ? request.source.file : undefined;
}

async function readFrom(file: string, start: number, signal: AbortSignal): Promise<AsyncIterable<Buffer>> {
  const handle = await open(file, "r");
  return createReadStream("", { fd: handle, start, signal });
}
