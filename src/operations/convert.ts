import type { Writable } from "node:stream";
import { recycle } from "../base/bytes.ts";
import { DataError } from "../base/errors.ts";
import { type CompressionName, type Output, openOutput } from "../formats/container/output.ts";
import type { DumpFormat } from "../formats/dump-format.ts";
import { FileType } from "../volume/file-type.ts";
import { FindingList } from "../volume/findings.ts";
import { ENTRY_TYPE, ITEM_TAG, TREE_ENTRY } from "../volume/tree-item.ts";
import type { OperationContext } from "./context.ts";
import { type ConvertResult, documentOf, salvagedDocument } from "./convert-records.ts";
import { type Decryption, type DumpFile, type DumpSource, decodeDump, openDumpFile } from "./dump-file.ts";
import { checkSalvage, type SalvageOptions, withLossReport } from "./loss-report.ts";
import { removeStaleManifest } from "./manifest.ts";
import type { ReportBase } from "./report.ts";
import { noteContainer, salvage } from "./salvage.ts";
import { flatTree } from "./snapshot-tree.ts";
import { settingOf } from "./volume-setting.ts";
import { canReadOnce } from "./volume-source.ts";

/** With `lostFound`, a binary dump is taken for damaged in any case: what it says need not hang together. */
export interface ConvertRequest extends SalvageOptions {
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
  checkSalvage(request, false);
  return withLossReport(request.lossReport, (findings) => convertWith(findings, request, context));
}

async function convertWith(
  findings: FindingList,
  request: ConvertRequest,
  context: OperationContext,
): Promise<ConvertReport> {
  const startedAt = performance.now();
  const damage = request.keepGoing === true ? await findDamage(request, context) : SOUND;
  const source = await openDumpFile(
    request.source,
    request.decryption,
    context,
    damage === SOUND ? {} : { onDamage: (error) => noteContainer(findings, error) },
  );
  try {
    const format = request.format ?? source.format;
    const output = await openOutput(request.target, {
      signal: context.signal,
      ...(request.compression === undefined ? {} : { compression: request.compression }),
      ...(request.encryption === undefined ? {} : { encryption: { ...request.encryption, env: context.env } }),
    });
    const result: ConvertResult = { setting: undefined, counts: {}, bytes: 0 };
    try {
      const { isDocumentDamaged } = damage;
      await writeDocument(source, format, output, { request, context, findings, result, isDocumentDamaged });
      if (!findings.all.some(({ loss }) => loss)) noteError(findings, damage);
      await output.commit();
    } catch (error) {
      await output.abort();
      throw error;
    }
    await removeOldManifest(request, context);
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

/** The manifest of a file that was replaced says nothing of the new one. */
async function removeOldManifest({ target }: ConvertRequest, { logger }: OperationContext): Promise<void> {
  if ("file" in target && (await removeStaleManifest(target.file))) {
    logger.warn(`Removed the manifest of the file that was replaced: ${target.file}`);
  }
}

/** What is wrong with a source. */
interface Damage {
  /** The first error; undefined where there is none, or where it is not known. */
  readonly error: DataError | undefined;
  /** False where only the compression or encryption around the document is damaged. */
  readonly isDocumentDamaged: boolean;
}

const SOUND: Damage = { error: undefined, isDocumentDamaged: false };

/**
 * Reads a source as a load would, for nothing but its damage. A stream can be read only once: it is taken for damaged.
 */
async function findDamage({ source, decryption }: ConvertRequest, context: OperationContext): Promise<Damage> {
  if (!("file" in source) || (await canReadOnce(source.file))) return { error: undefined, isDocumentDamaged: true };
  const read = async (watch: { onDamage?: () => void }): Promise<DataError | undefined> => {
    try {
      const dump = await openDumpFile(source, decryption, context, watch);
      try {
        const records = decodeDump(dump.format, dump.bytes, new FindingList(), context.signal);
        for await (const batch of records) if (batch.kind === "tree") recycle(batch.bytes);
      } finally {
        await dump.close();
      }
      return undefined;
    } catch (error) {
      if (error instanceof DataError) return error;
      throw error;
    }
  };
  const error = await read({});
  if (error === undefined) return SOUND;
  return { error, isDocumentDamaged: (await read({ onDamage: () => undefined })) !== undefined };
}

/** Notes what has left no trace in the records: the end of a checksum that is missing, the name of a section. */
function noteError(findings: FindingList, { error, isDocumentDamaged }: Damage): void {
  if (error === undefined) return;
  if (!isDocumentDamaged) return noteContainer(findings, error);
  findings.addOther("damaged", "The dump is damaged: it was put right", true, () => error.message);
}

interface Conversion {
  readonly request: ConvertRequest;
  readonly context: OperationContext;
  readonly findings: FindingList;
  readonly result: ConvertResult;
  /** Save what can be read. */
  readonly isDocumentDamaged: boolean;
}

async function writeDocument(
  source: DumpFile,
  format: DumpFormat,
  output: Output,
  conversion: Conversion,
): Promise<void> {
  const { request, isDocumentDamaged, ...rest } = conversion;
  const { findings, context } = rest;
  const lostFound = request.lostFound === true;
  const isDamaged = isDocumentDamaged || (lostFound && source.format === "binary");
  if (format === source.format && !isDamaged) return copyChecked(source, output, conversion);
  const decoded = decodeDump(source.format, source.bytes, findings, context.signal, {
    keepGoing: isDamaged,
    lostFound,
  });
  const records = isDamaged ? salvage(decoded, findings) : decoded;
  const rawXattrNames = request.rawXattrNames === true;
  const options = { ...rest, isDamaged, isTree: source.format === "json", rawXattrNames };
  const document =
    isDamaged && !options.isTree
      ? salvagedDocument(
          format,
          (share) => flatTree(records, share, { withTrash: true, findings, salvage: { lostFound } }),
          options,
        )
      : documentOf(format, records, options);
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
