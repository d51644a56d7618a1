import type { Writable } from "node:stream";
import { recycle } from "../base/bytes.ts";
import { DataError } from "../base/errors.ts";
import { resume } from "../base/resume.ts";
import { type CompressionName, type Output, openOutput } from "../formats/container/output.ts";
import type { DumpFormat } from "../formats/dump-format.ts";
import { FileType } from "../volume/file-type.ts";
import { FindingList } from "../volume/findings.ts";
import { type RecordBatch, type RecordStream, unpackBatch } from "../volume/records.ts";
import { parseSetting, type Setting } from "../volume/setting.ts";
import { ENTRY_TYPE, ITEM_TAG, TREE_ENTRY } from "../volume/tree-item.ts";
import type { OperationContext } from "./context.ts";
import { binaryFromFlat, binaryFromTree, type ConvertResult, jsonFromFlat, jsonFromTree } from "./convert-records.ts";
import { type Decryption, type DumpFile, type DumpSource, decodeDump, openDumpFile } from "./dump-file.ts";
import type { ReportBase } from "./report.ts";
import { salvage } from "./salvage.ts";

export interface ConvertRequest {
  readonly source: DumpSource;
  /** File to write, or a stream (stdout). A file appears under its name only when it is complete. */
  readonly target: { readonly file: string } | { readonly stream: Writable };
  /** Default: that of the source. */
  readonly format?: DumpFormat;
  /** Default: by the suffix of the file; streams are not compressed. */
  readonly compression?: CompressionName;
  /** Of a source that is encrypted; pass phrase in `JFS_RSA_PASSPHRASE`, here and for `encryption`. */
  readonly decryption?: Decryption;
  /** Encrypt the target with this key; default: do not. */
  readonly encryption?: Decryption;
  /** Write what can be read of a damaged source. */
  readonly keepGoing?: boolean;
  /** Write names of extended attributes that are no UTF-8 into a binary dump: the reference cannot read it then. */
  readonly rawXattrNames?: boolean;
}

export interface ConvertReport extends ReportBase {
  readonly operation: "convert";
  readonly source: string;
  readonly sourceFormat: DumpFormat;
  /** File name, or undefined for stdout. */
  readonly file: string | undefined;
  readonly format: DumpFormat;
  readonly compression: CompressionName;
  readonly encrypted: boolean;
  readonly readBytes: number;
  /** Bytes of the document before compression and encryption, and bytes written. */
  readonly documentBytes: number;
  readonly writtenBytes: number;
}

/**
 * Writes a dump once more: in the other format, compressed, encrypted, or plain. The same format is the same document, byte for
 * byte, read and checked on the way. Into binary, what a JSON dump does not hold (parents, statistics, usage, references) is
 * computed as a load does, and counters and sessions are taken over; into JSON, what it has no place for is noted as lost.
 *
 * Throws `DataError` for a source that is damaged, `NotFoundError`, `FileError` and `UsageError` for files and keys; the target
 * file is then as it was.
 */
export async function convert(request: ConvertRequest, context: OperationContext): Promise<ConvertReport> {
  const startedAt = performance.now();
  const cutOff = request.keepGoing === true ? "accept" : "refuse";
  const source = await openDumpFile(request.source, request.decryption, context, cutOff);
  try {
    const format = request.format ?? source.format;
    const output = await openOutput(request.target, {
      signal: context.signal,
      ...(request.compression === undefined ? {} : { compression: request.compression }),
      ...(request.encryption === undefined ? {} : { encryption: { ...request.encryption, env: context.env } }),
    });
    const findings = new FindingList();
    const result: ConvertResult = { setting: undefined, counts: {}, bytes: 0 };
    try {
      await writeDocument(source, format, output, { request, context, findings, result });
      await output.commit();
    } catch (error) {
      await output.abort();
      throw error;
    }
    return {
      operation: "convert",
      source: source.name,
      sourceFormat: source.format,
      file: "file" in request.target ? request.target.file : undefined,
      format,
      compression: output.compression,
      encrypted: request.encryption !== undefined,
      volume: { name: result.setting?.name ?? "", uuid: result.setting?.uuid ?? "" },
      counts: result.counts,
      readBytes: source.readBytes(),
      documentBytes: result.bytes,
      writtenBytes: output.writtenBytes,
      durationMs: performance.now() - startedAt,
      findings: findings.all,
      nextSteps: [],
    };
  } finally {
    await source.close();
  }
}

interface Conversion {
  readonly request: ConvertRequest;
  readonly context: OperationContext;
  readonly findings: FindingList;
  readonly result: ConvertResult;
}

async function writeDocument(
  source: DumpFile,
  format: DumpFormat,
  output: Output,
  conversion: Conversion,
): Promise<void> {
  const { request, context, findings, result } = conversion;
  const keepGoing = request.keepGoing === true;
  if (format === source.format && !keepGoing) return copyChecked(source, output, conversion);
  const decoded = decodeDump(source.format, source.bytes, findings, context.signal, { keepGoing });
  const { setting, records } = await takeSetting(keepGoing ? salvage(decoded, findings) : decoded);
  result.setting = setting;
  const options = { setting, context, findings, result, rawXattrNames: request.rawXattrNames === true };
  const isTree = source.format === "json";
  const document =
    format === "json"
      ? (isTree ? jsonFromTree : jsonFromFlat)(records, options)
      : (isTree ? binaryFromTree : binaryFromFlat)(records, options);
  for await (const piece of document) await output.write(piece);
}

/** Writes the document as it is, and reads it as a load would. */
async function copyChecked(source: DumpFile, output: Output, conversion: Conversion): Promise<void> {
  const { context, findings, result } = conversion;
  async function* written(): AsyncGenerator<Buffer> {
    for await (const piece of source.bytes) {
      result.bytes += piece.length;
      // A piece is only ours until the next one; a compressor keeps what it is given.
      await output.write(Buffer.from(piece));
      yield piece;
    }
  }
  const counts = new Map<string, number>();
  const entries = { directory: 0, file: 0 };
  for await (const batch of decodeDump(source.format, written(), findings, context.signal)) {
    if (batch.kind === "setting") result.setting = settingOf(batch);
    if (batch.kind === "tree") {
      countEntries(batch.bytes, entries);
      recycle(batch.bytes);
    } else {
      counts.set(batch.kind, (counts.get(batch.kind) ?? 0) + batch.count);
    }
  }
  result.counts = { ...Object.fromEntries(counts), ...(source.format === "json" ? entries : {}) };
}

function countEntries(bytes: Buffer, entries: { directory: number; file: number }): void {
  for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
    if (bytes[at + ITEM_TAG] !== TREE_ENTRY) continue;
    if (bytes[at + ENTRY_TYPE] === FileType.directory) entries.directory++;
    else entries.file++;
  }
}

/** The setting, which stands first in every dump, and all other records. */
async function takeSetting(records: RecordStream): Promise<{ setting: Setting; records: RecordStream }> {
  const iterator = records[Symbol.asyncIterator]();
  const before: RecordBatch[] = [];
  let setting: Setting | undefined;
  while (setting === undefined) {
    const next = await iterator.next();
    if (next.done === true || next.value.kind === "tree") {
      await iterator.return?.();
      throw new DataError("DECANT_E_NO_SETTING", "The dump does not begin with its setting", {
        hint: "Dumps of decant and juicefs do; it says what volume this is",
      });
    }
    if (next.value.kind === "setting") setting = settingOf(next.value);
    else before.push(next.value);
  }
  return { setting, records: resume(before, iterator) };
}

function settingOf(batch: RecordBatch): Setting {
  const [first] = unpackBatch("setting", batch);
  return parseSetting(first!.json);
}
