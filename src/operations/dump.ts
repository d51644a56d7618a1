import type { Writable } from "node:stream";
import { recycle } from "../base/bytes.ts";
import { NotFoundError, UsageError } from "../base/errors.ts";
import type { Snapshot } from "../engines/engine.ts";
import { openStore } from "../engines/registry.ts";
import { type Output, openOutput } from "../formats/container/output.ts";
import type { DumpFormat } from "../formats/dump-format.ts";
import { FileType } from "../volume/file-type.ts";
import type { FindingList } from "../volume/findings.ts";
import { ROOT_INODE } from "../volume/inode.ts";
import { parsePath, printablePath } from "../volume/path.ts";
import { parseSetting, type Setting } from "../volume/setting.ts";
import { REMOVED, removeSecrets } from "../volume/setting-secrets.ts";
import { checkClientVersion } from "../volume/version.ts";
import type { OperationContext } from "./context.ts";
import { dumpDocument } from "./dump-document.ts";
import { checkSalvage, type SalvageOptions, withLossReport } from "./loss-report.ts";
import { checkManifestTarget, type ManifestContent, removeStaleManifest, writeManifest } from "./manifest.ts";
import type { DumpReport } from "./report.ts";
import { refuseReplicaOfPart, reportedConsistency, type SnapshotChoice, snapshotOptions } from "./snapshot-choice.ts";
import { SnapshotLosses } from "./snapshot-losses.ts";
import { openVolumeSnapshot } from "./volume-setting.ts";

/** `snapshot` `replica` takes no `subdir`; `lostFound` takes neither `subdir` nor `skipTrash`. */
export interface DumpRequest extends SnapshotChoice, SalvageOptions {
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
  if (request.manifest === true) checkManifestTarget(request.target);
  const isPart = parsePath(request.subdir ?? "/").length > 0;
  refuseReplicaOfPart(request.snapshot, isPart);
  checkSalvage(request, isPart || request.skipTrash === true);
  return withLossReport(request.lossReport, (findings) => dumpWith(findings, request, context));
}

async function dumpWith(findings: FindingList, request: DumpRequest, context: OperationContext): Promise<DumpReport> {
  const startedAt = performance.now();
  const { signal, logger, env } = context;
  const store = await openStore(request.source, { logger, signal, env, tmpDir: context.memory.tmpDir });
  const losses = request.keepGoing === true ? new SnapshotLosses(findings, context) : undefined;
  try {
    const snapshot = await openVolumeSnapshot(store, {
      ...snapshotOptions(request, context),
      ...(losses === undefined ? {} : { onLoss: losses.add }),
    });
    try {
      const stored = parseSetting(snapshot.setting);
      checkClientVersion(stored);
      const root = await findRoot(snapshot, request.subdir);
      const setting = settingToDump(stored, request, context);
      const { format = "json" } = request;
      const withTrash = root === undefined && request.skipTrash !== true;
      const rawXattrNames = request.rawXattrNames ?? false;
      const salvage = losses === undefined ? undefined : { losses, lostFound: request.lostFound === true };
      const options = { format, root, withTrash, stored, setting, rawXattrNames, findings, salvage };
      const document = dumpDocument(snapshot, options, context);
      const { compression, writtenBytes, sha256 } = await writeDocument(document.pieces, request, context);
      const { counts, contents, bytes } = document.result();
      const about = {
        volume: { name: stored.name, uuid: stored.uuid },
        format,
        counts,
        compression,
        documentBytes: bytes,
        writtenBytes,
        consistency: reportedConsistency(snapshot.consistency),
      };
      const file = "file" in request.target ? request.target.file : undefined;
      const manifest = await keepManifest(file, sha256, context, {
        ...about,
        counts: { ...counts, ...contents },
        source: { engine: store.engineName, address: store.address },
        whole: withTrash,
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
    losses?.close();
    await store.close();
  }
}

/** Writes the manifest of the new file where there is a hash for it, else removes that of the file that was replaced. */
async function keepManifest(
  file: string | undefined,
  sha256: string | undefined,
  { logger }: OperationContext,
  about: Omit<ManifestContent, "sha256">,
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

type WrittenOutput = Pick<Output, "compression" | "writtenBytes" | "sha256">;

async function writeDocument(
  document: AsyncIterable<Buffer>,
  request: DumpRequest,
  context: OperationContext,
): Promise<WrittenOutput> {
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
