import type { Readable } from "node:stream";
import { UsageError } from "../base/errors.ts";
import { openStore } from "../engines/registry.ts";
import type { Footer } from "../formats/binary/footer.ts";
import { readFooterOfFile } from "../formats/binary/read-parts.ts";
import { type Input, openInput } from "../formats/container/input.ts";
import { type DetectedDump, type DumpFormat, detectDumpFormat } from "../formats/dump-format.ts";
import { FindingList } from "../volume/findings.ts";
import type { RecordStream } from "../volume/records.ts";
import { type OperationContext, withMemory } from "./context.ts";
import { decodeDump } from "./dump-file.ts";
import { loadStamp, resumedContext } from "./interrupted-load.ts";
import { loadFlatVolume } from "./load-binary.ts";
import { LoadDigest } from "./load-digest.ts";
import {
  checkTarget,
  type LoadedVolume,
  type LoadVolumeOptions,
  loadVolume,
  nextStepsAfterLoad,
  refuseContradictions,
} from "./load-volume.ts";
import { DEFAULT_CHECKPOINT_BYTES } from "./load-writer.ts";
import { checkSalvage, type SalvageOptions, withLossReport } from "./loss-report.ts";
import type { LoadReport } from "./report.ts";
import { noteContainer, salvage } from "./salvage.ts";
import { flatTree } from "./snapshot-tree.ts";
import { STOP_ON_UNSUPPORTED, type UnsupportedOptions } from "./unsupported-values.ts";
import { verifyTarget } from "./verify-target.ts";

/**
 * With `keepGoing`, what can be read of a damaged dump is loaded as one sound volume, also from a binary dump.
 */
export interface LoadRequest extends SalvageOptions {
  /** META-URL of the empty target. */
  readonly target: string;
  /** File to read, or a stream (stdin, an object of a bucket). Plain, gzip or zstd, told by content. */
  readonly source: { readonly file: string } | LoadStream;
  /** Decrypt the file first; pass phrase in `JFS_RSA_PASSPHRASE`. */
  readonly decryption?: { readonly keyFile: string; readonly algorithm: string };
  /** Read and check everything, write nothing. */
  readonly dryRun?: boolean;
  /** First remove from the target what a load of decant that was cut off has left there. Not together with `dryRun`. */
  readonly clean?: boolean;
  /**
   * Go on with a load of the same dump that was cut off, where the target holds one, and keep what is stored when this one fails. Not
   * together with `clean` or `dryRun`.
   */
  readonly resume?: boolean;
  /** Make it possible to go on after so many bytes of records each; 0: not at all. Default 128 MiB. */
  readonly checkpointBytes?: number;
  /** Default: told by content. */
  readonly format?: DumpFormat;
  /** What to do with values that the target cannot hold; default: stop. */
  readonly unsupported?: UnsupportedOptions;
  /** Read the target again in the end and compare it with what was written. Not together with `dryRun`. */
  readonly verify?: boolean;
  /**
   * Sees the records of the dump, and may change them, before anything else does. The target becomes a volume only after they have
   * ended: what is thrown then leaves it as it was. Called once more when the load has to begin again.
   */
  readonly through?: (records: RecordStream) => RecordStream;
}

/** A dump that is read once, from its beginning. */
export interface LoadStream {
  readonly stream: Readable;
  /** For the report; default `STDIN`. */
  readonly name?: string;
  /** Size of the stream, where it is known. */
  readonly totalBytes?: number;
  /** The same from the beginning again, where that can be had. */
  readonly again?: () => Readable;
}

/**
 * Loads a dump into an empty database: JSON (docs/spec/json-dump.md §9-11) or binary (docs/spec/binary-dump.md §7). Throws `NotFoundError` for a missing file,
 * `ConflictError` for a target that holds something, `DataError` for a dump that cannot be understood, `EngineError` for the
 * target; the target is then as it was. Only with `verify`, `DECANT_E_VERIFY_FAILED` says that it holds the volume, but not as written.
 */
export async function load(request: LoadRequest, given: OperationContext): Promise<LoadReport> {
  checkSalvage(request, false);
  return withLossReport(request.lossReport, (findings) => loadWith(findings, request, given));
}

async function loadWith(findings: FindingList, request: LoadRequest, given: OperationContext): Promise<LoadReport> {
  const startedAt = performance.now();
  const { signal, logger, env } = given;
  const dryRun = request.dryRun ?? false;
  const clean = request.clean ?? false;
  const resume = request.resume ?? false;
  const keepGoing = request.keepGoing ?? false;
  refuseContradictions({ clean, dryRun, resume });
  if (request.verify === true && dryRun) {
    throw new UsageError("DECANT_E_OPTION_VALUE", "--verify cannot be combined with --dry-run");
  }
  const input = await openInput(request.source, {
    signal,
    env,
    ...(request.decryption === undefined ? {} : { decryption: request.decryption }),
    ...(keepGoing ? { onDamage: (error) => noteContainer(findings, error) } : {}),
  });
  try {
    const detected = await detectDumpFormat(input.bytes);
    const dump = { format: request.format ?? detected.format, bytes: detected.bytes };
    const hasFooter = detected.format === "binary" && !keepGoing;
    const footer = hasFooter ? await footerAhead(request, dump, input) : undefined;
    const target = await openStore(request.target, {
      logger,
      signal,
      env,
      tmpDir: given.memory.tmpDir,
      create: true,
    });
    try {
      const earlier = await checkTarget(target, given, { clean, resume });
      const context = resumedContext(given, earlier);
      const source = "file" in request.source ? request.source.file : (request.source.name ?? "STDIN");
      const sourceBytes = input.totalBytes ?? ("file" in request.source ? undefined : request.source.totalBytes);
      const reading = context.progress.begin(
        "Reading the dump",
        sourceBytes === undefined ? {} : { bytes: sourceBytes },
      );
      const digest = request.verify === true ? new LoadDigest(target.recordForm) : undefined;
      const options = {
        target,
        digest,
        dryRun,
        findings,
        context,
        unsupported: request.unsupported ?? STOP_ON_UNSUPPORTED,
        resumption: {
          stamp: loadStamp(source, context, earlier),
          resume,
          checkpointBytes: request.checkpointBytes ?? DEFAULT_CHECKPOINT_BYTES,
        },
      };
      const onPiece = (): void => {
        reading.bytes = input.readBytes();
      };
      const isPlain = input.description === "plain" && !keepGoing;
      const [totalBytes, jsonBytes] = isPlain ? [input.totalBytes, sourceBytes] : [];
      const through = (records: RecordStream): RecordStream => request.through?.(records) ?? records;
      const decoded = decodeDump(dump.format, dump.bytes, findings, signal, {
        totalBytes,
        keepGoing,
        lostFound: request.lostFound === true,
      });
      const read = counted(decoded, onPiece);
      const records = through(keepGoing ? salvage(read, findings) : read);
      const loaded = await loadRecords(dump.format, records, options, { request, footer, jsonBytes, through });
      context.progress.end(reading);
      const verification = digest === undefined ? undefined : await verifyTarget(target, digest, context);
      return {
        operation: "load",
        source,
        target: target.address,
        volume: { name: loaded.setting.name, uuid: loaded.setting.uuid },
        counts: loaded.counts,
        counters: loaded.counters,
        unsupported: loaded.unsupported,
        verification,
        dryRun,
        resumedBatches: loaded.resumedBatches,
        readBytes: input.readBytes(),
        durationMs: performance.now() - startedAt,
        findings: findings.all,
        nextSteps: nextStepsAfterLoad(loaded.setting, target.address),
      };
    } finally {
      await target.close();
    }
  } finally {
    await input.close();
  }
}

interface LoadedSource {
  readonly request: LoadRequest;
  readonly footer: Footer | undefined;
  readonly jsonBytes: number | undefined;
  readonly through: (records: RecordStream) => RecordStream;
}

/** A binary dump is loaded exactly as it is, but for one that is damaged: like a JSON dump, it becomes one sound volume. */
function loadRecords(
  format: DumpFormat,
  records: RecordStream,
  options: LoadVolumeOptions,
  { request, footer, jsonBytes, through }: LoadedSource,
): Promise<LoadedVolume> {
  const { context, findings } = options;
  if (format === "json") return loadVolume(records, { ...options, ...(jsonBytes === undefined ? {} : { jsonBytes }) });
  if (request.keepGoing === true) {
    // Two record indexes stand side by side: one that makes the tree, one that consolidates it.
    const halved = withMemory(context, context.memory.maxBytes / 2);
    const salvage = { lostFound: request.lostFound === true };
    return loadVolume(flatTree(records, halved, { withTrash: true, findings, salvage }), {
      ...options,
      context: halved,
    });
  }
  const again = {
    readRecords: () => readBinaryAgain(request, context, new FindingList()),
    restart: () => through(readBinaryAgain(request, context, findings)),
  };
  return loadFlatVolume(records, {
    ...options,
    ...(footer === undefined ? {} : { expectedNodes: footer.segments.get("node")?.records ?? 0 }),
    again: canReadAgain(request.source) ? again : undefined,
  });
}

/**
 * What a binary dump says at its end, before anything is written, where that can be read without all the rest. A dump that is
 * cut off or of another version is refused then. What the records really are is compared when they have been read.
 */
async function footerAhead(request: LoadRequest, dump: DetectedDump, input: Input): Promise<Footer | undefined> {
  const isPlain = dump.format === "binary" && input.description === "plain" && input.totalBytes !== undefined;
  return isPlain && "file" in request.source ? readFooterOfFile(request.source.file) : undefined;
}

function canReadAgain(source: LoadRequest["source"]): boolean {
  return "file" in source || source.again !== undefined;
}

/** The records of a binary dump once more, for what only shows at its end. */
async function* readBinaryAgain(
  { source, decryption }: LoadRequest,
  context: OperationContext,
  findings: FindingList,
): RecordStream {
  const { signal, env, progress } = context;
  const phase = progress.begin("Reading the dump again");
  const content = "file" in source || source.again === undefined ? source : { stream: source.again() };
  const input = await openInput(content, { signal, env, ...(decryption === undefined ? {} : { decryption }) });
  try {
    yield* decodeDump("binary", input.bytes, findings, signal);
  } finally {
    await input.close();
    progress.end(phase);
  }
}

async function* counted<T>(stream: AsyncIterable<T>, onItem: () => void): AsyncGenerator<T> {
  for await (const item of stream) {
    onItem();
    yield item;
  }
}
