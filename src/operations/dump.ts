import type { Writable } from "node:stream";
import { recycle } from "../base/bytes.ts";
import { NotFoundError, UsageError } from "../base/errors.ts";
import type { Snapshot } from "../engines/engine.ts";
import { openStore } from "../engines/registry.ts";
import { type CompressionName, openOutput } from "../formats/container/output.ts";
import type { DumpFormat } from "../formats/dump-format.ts";
import { type EncodeResult, encodeJsonDump } from "../formats/json/encode.ts";
import { FileType } from "../volume/file-type.ts";
import { FindingList } from "../volume/findings.ts";
import { ROOT_INODE } from "../volume/inode.ts";
import { parsePath, printablePath } from "../volume/path.ts";
import { formatSetting, parseSetting, type Setting } from "../volume/setting.ts";
import { REMOVED, removeSecrets } from "../volume/setting-secrets.ts";
import { checkClientVersion } from "../volume/version.ts";
import type { OperationContext } from "./context.ts";
import { type BinaryDocumentResult, binaryDocument } from "./dump-binary.ts";
import { checkManifestTarget, removeStaleManifest, writeManifest } from "./manifest.ts";
import type { DumpReport, RecordCounts } from "./report.ts";
import { snapshotTree } from "./snapshot-tree.ts";

export interface DumpRequest {
  /** META-URL of the volume. */
  readonly source: string;
  /** File to write, or a stream (stdout). A file appears under its name only when it is complete. */
  readonly target: { readonly file: string } | { readonly stream: Writable };
  /** Only this directory of the volume; `/` and undefined = all. Names are bytes: give those where they are not UTF-8. */
  readonly subdir?: string | Uint8Array;
  readonly skipTrash?: boolean;
  readonly keepSecretKey?: boolean;
  /** Write a manifest beside the file, see operations/manifest.ts. */
  readonly manifest?: boolean;
  /** Default `json`. */
  readonly format?: DumpFormat;
  /**
   * Only for `binary`: write names of extended attributes that are no UTF-8 too. decant reads such a dump, juicefs refuses it.
   * Default: they are left out, which is a finding.
   */
  readonly rawXattrNames?: boolean;
}

/**
 * Writes a JSON or binary dump of a volume (docs/spec/json-dump.md, docs/spec/binary-dump.md). Throws `NotFoundError` for a
 * missing volume or directory, `FileError` for the target, `EngineError` and `DataError` for the source; the target file is
 * then as it was.
 */
export async function dump(request: DumpRequest, context: OperationContext): Promise<DumpReport> {
  const startedAt = performance.now();
  const { signal, logger, env } = context;
  if (request.manifest === true) checkManifestTarget(request.target);
  const store = await openStore(request.source, { logger, signal, env });
  try {
    const snapshot = await store.openSnapshot({ signal, logger });
    try {
      const stored = parseSetting(snapshot.setting);
      checkClientVersion(stored);
      const root = await findRoot(snapshot, request.subdir);
      const findings = new FindingList();
      const setting = settingToDump(stored, request, context);
      const write = request.format === "binary" ? writeBinary : writeJson;
      const { sha256, contents, ...written } = await write({
        snapshot,
        root,
        stored,
        setting,
        request,
        context,
        findings,
      });
      const about = {
        volume: { name: stored.name, uuid: stored.uuid },
        format: request.format ?? "json",
        ...written,
        consistency: {
          pointInTime: snapshot.consistency.pointInTime,
          method: snapshot.consistency.method,
          asOf: snapshot.consistency.asOf.toISOString(),
        },
      };
      const file = "file" in request.target ? request.target.file : undefined;
      const whole = root === undefined && request.skipTrash !== true;
      const manifest = await keepManifest(file, sha256, context, {
        ...about,
        counts: { ...written.counts, ...contents },
        source: { engine: store.engineName, address: store.address },
        whole,
      });
      return {
        operation: "dump",
        source: store.address,
        file,
        ...about,
        ...(manifest === undefined ? {} : { manifest }),
        durationMs: performance.now() - startedAt,
        findings: findings.all,
        nextSteps: [],
      };
    } finally {
      await snapshot.close();
    }
  } finally {
    await store.close();
  }
}

/** Writes the manifest of the new file where there is a hash for it, else removes that of the file that was replaced. */
async function keepManifest(
  file: string | undefined,
  sha256: string | undefined,
  { logger }: OperationContext,
  about: Omit<Parameters<typeof writeManifest>[1], "sha256">,
): Promise<string | undefined> {
  if (file === undefined) return undefined;
  if (sha256 !== undefined) return writeManifest(file, { ...about, sha256 });
  if (await removeStaleManifest(file)) logger.warn(`Removed the manifest of the file that was replaced: ${file}`);
  return undefined;
}

function settingToDump(stored: Setting, request: DumpRequest, context: OperationContext): Setting {
  if (request.keepSecretKey === true) return stored;
  if (stored.secretKey !== "" && stored.secretKey !== REMOVED) {
    context.logger.warn("Secret key is removed for the sake of safety");
  }
  if (stored.sessionToken !== "" && stored.sessionToken !== REMOVED) {
    context.logger.warn("Session token is removed for the sake of safety");
  }
  if (stored.encryptKey !== "" && stored.encryptKey !== REMOVED) {
    // Data could not be read without it, and the reference keeps it too (docs/spec/json-dump.md §13.12).
    context.logger.warn(
      "The encryption key stays in the dump, as in those of juicefs: only its pass phrase protects it",
    );
  }
  return removeSecrets(stored, "dump");
}

/** The directory that a path names; undefined for the whole volume. Nothing is created (docs/spec/json-dump.md §13.1). */
async function findRoot(snapshot: Snapshot, subdir: string | Uint8Array | undefined): Promise<bigint | undefined> {
  const names = parsePath(subdir ?? "/");
  if (names.length === 0) return undefined;
  const shown = typeof subdir === "string" ? subdir : printablePath(names);
  let inode = ROOT_INODE;
  let type: number = FileType.directory;
  for (const name of names) {
    const entry = type === FileType.directory ? await snapshot.lookup(inode, name) : undefined;
    if (entry === undefined) {
      throw new NotFoundError("DECANT_E_NO_PATH", `No such file or directory in the volume: ${shown}`, {
        hint: "The path is that inside the volume, without the mount point; nothing was created",
      });
    }
    inode = entry.inode;
    type = entry.type;
  }
  if (type !== FileType.directory) {
    throw new UsageError("DECANT_E_NOT_DIRECTORY", `not a directory: ${shown}`, {
      hint: "--subdir takes a directory of the volume",
    });
  }
  return inode;
}

/** What both formats need. */
interface Writing {
  readonly snapshot: Snapshot;
  readonly root: bigint | undefined;
  /** The setting as it is stored, and as it shall be dumped. */
  readonly stored: Setting;
  readonly setting: Setting;
  readonly request: DumpRequest;
  readonly context: OperationContext;
  readonly findings: FindingList;
}

interface Written {
  readonly counts: RecordCounts;
  readonly compression: CompressionName;
  readonly documentBytes: number;
  readonly writtenBytes: number;
  /** Of the file, when a manifest is wanted. */
  readonly sha256: string | undefined;
  /** What the entries of a JSON dump have; a binary dump has it in `counts`. */
  readonly contents: RecordCounts | undefined;
}

async function writeJson(writing: Writing): Promise<Written> {
  const { snapshot, root, setting, request, context, findings } = writing;
  const result: EncodeResult = { entries: 0, directories: 0, bytes: 0 };
  const phase = { begun: undefined as ReturnType<typeof context.progress.begin> | undefined };
  const withTrash = root === undefined && request.skipTrash !== true;
  const tree = snapshotTree(snapshot, context, {
    ...(root === undefined ? {} : { root }),
    withTrash,
    findings,
  });
  const document = encodeJsonDump(
    tree,
    {
      setting,
      partial: root !== undefined,
      unlimitedDirQuotas: snapshot.unlimitedDirQuotas ?? "dump",
      onFinding: (kind, path) => findings.add(kind, path),
      onProgress: (entries, bytes) => {
        phase.begun ??= context.progress.begin("Writing entries");
        phase.begun.records = entries;
        phase.begun.bytes = bytes;
      },
    },
    result,
  );
  const output = await writeDocument(document, request, context);
  if (phase.begun !== undefined) context.progress.end(phase.begun);
  return {
    counts: { directory: result.directories, file: result.entries - result.directories },
    documentBytes: result.bytes,
    contents: result.contents,
    ...output,
  };
}

async function writeBinary(writing: Writing): Promise<Written> {
  const { snapshot, root, stored, setting, request, context, findings } = writing;
  const result: BinaryDocumentResult = { counts: {}, bytes: 0 };
  const options = {
    root,
    withTrash: root === undefined && request.skipTrash !== true,
    // Byte by byte as it is stored where nothing was taken out of it.
    setting: setting === stored ? snapshot.setting : Buffer.from(formatSetting(setting, { form: "stored" })),
    trashDays: stored.trashDays,
    rawXattrNames: request.rawXattrNames ?? false,
    findings,
  };
  const output = await writeDocument(binaryDocument(snapshot, options, context, result), request, context);
  return { counts: result.counts, documentBytes: result.bytes, contents: undefined, ...output };
}

async function writeDocument(
  document: AsyncIterable<Buffer>,
  request: DumpRequest,
  context: OperationContext,
): Promise<Pick<Written, "compression" | "writtenBytes" | "sha256">> {
  const output = await openOutput(request.target, { signal: context.signal, hash: request.manifest === true });
  try {
    for await (const piece of document) {
      await output.write(piece);
      // A file has let go of what was written; a compressor, and whoever reads from a stream, may still hold it.
      if (output.compression === "none" && "file" in request.target) recycle(piece);
    }
    await output.commit();
  } catch (error) {
    await output.abort();
    throw error;
  }
  return { compression: output.compression, writtenBytes: output.writtenBytes, sha256: output.sha256 };
}
