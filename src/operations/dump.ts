import type { Writable } from "node:stream";
import { recycle } from "../base/bytes.ts";
import { NotFoundError, UsageError } from "../base/errors.ts";
import type { Snapshot } from "../engines/engine.ts";
import { openStore } from "../engines/registry.ts";
import { type CompressionName, openOutput } from "../formats/container/output.ts";
import { type EncodeResult, encodeJsonDump } from "../formats/json/encode.ts";
import { FileType } from "../volume/file-type.ts";
import { FindingList } from "../volume/findings.ts";
import { ROOT_INODE } from "../volume/inode.ts";
import { parsePath, printablePath } from "../volume/path.ts";
import { parseSetting, type Setting } from "../volume/setting.ts";
import { REMOVED, removeSecrets } from "../volume/setting-secrets.ts";
import { checkClientVersion } from "../volume/version.ts";
import type { OperationContext } from "./context.ts";
import type { DumpReport } from "./report.ts";
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
}

/**
 * Writes a JSON dump of a volume (docs/spec/json-dump.md). Throws `NotFoundError` for a missing volume or directory,
 * `FileError` for the target, `EngineError` and `DataError` for the source; the target file is then as it was.
 */
export async function dump(request: DumpRequest, context: OperationContext): Promise<DumpReport> {
  const startedAt = performance.now();
  const { signal, logger, env } = context;
  const store = await openStore(request.source, { logger, signal, env });
  try {
    const snapshot = await store.openSnapshot({ signal, logger });
    try {
      const stored = parseSetting(snapshot.setting);
      checkClientVersion(stored);
      const root = await findRoot(snapshot, request.subdir);
      const findings = new FindingList();
      const written = await write(snapshot, root, settingToDump(stored, request, context), request, context, findings);
      return {
        operation: "dump",
        source: store.address,
        volume: { name: stored.name, uuid: stored.uuid },
        file: "file" in request.target ? request.target.file : undefined,
        format: "json",
        ...written,
        consistency: {
          pointInTime: snapshot.consistency.pointInTime,
          method: snapshot.consistency.method,
          asOf: snapshot.consistency.asOf.toISOString(),
        },
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

interface Written {
  readonly counts: { directory: number; file: number };
  readonly compression: CompressionName;
  readonly documentBytes: number;
  readonly writtenBytes: number;
}

async function write(
  snapshot: Snapshot,
  root: bigint | undefined,
  setting: Setting,
  request: DumpRequest,
  context: OperationContext,
  findings: FindingList,
): Promise<Written> {
  const output = await openOutput(request.target, { signal: context.signal });
  const result: EncodeResult = { entries: 0, directories: 0, bytes: 0 };
  const writing = { phase: undefined as ReturnType<typeof context.progress.begin> | undefined };
  try {
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
          writing.phase ??= context.progress.begin("Writing entries");
          writing.phase.records = entries;
          writing.phase.bytes = bytes;
        },
      },
      result,
    );
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
  if (writing.phase !== undefined) context.progress.end(writing.phase);
  return {
    counts: { directory: result.directories, file: result.entries - result.directories },
    compression: output.compression,
    documentBytes: result.bytes,
    writtenBytes: output.writtenBytes,
  };
}
