import { createHash } from "node:crypto";
import { DataError, DecantError } from "../../base/errors.ts";
import type { MetadataStore } from "../../engines/engine.ts";
import { compress } from "../../formats/container/compress.ts";
import type { CompressionName } from "../../formats/container/output.ts";
import type { DumpFormat } from "../../formats/dump-format.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { type Finding, FindingList } from "../../volume/findings.ts";
import { parseSetting } from "../../volume/setting.ts";
import { removeSecrets } from "../../volume/setting-secrets.ts";
import { checkClientVersion } from "../../volume/version.ts";
import type { OperationContext } from "../context.ts";
import { type DumpDocument, dumpDocument } from "../dump-document.ts";
import { decantVersion } from "../own-version.ts";
import type { RecordCounts } from "../report.ts";
import { reportedConsistency, type SnapshotChoice, snapshotOptions } from "../snapshot-choice.ts";
import { type BackupManifest, manifestJson } from "./backup-manifest.ts";
import { BACKUP_FOLDERS, type BackupName, backupName } from "./backup-name.ts";
import { lastGood, readCatalogue } from "./catalogue.ts";
import { type BackupMeasure, DEFAULT_MAX_SHRINK, shrinkage } from "./shrink-guard.ts";
import { SIDECAR_FOLDERS, sidecarKey, thisAuthor, writeSidecar } from "./sidecars.ts";
import { isWholeDump } from "./verify-backup.ts";

export interface MakeBackupRequest extends SnapshotChoice {
  readonly store: MetadataStore;
  /** Of that volume: see `openBackupPlace`. */
  readonly storage: ObjectStorage;
  /** From `freeBackupName`. */
  readonly backup: BackupName;
  readonly skipTrash?: boolean;
  /** Percent, see `shrinkage`. */
  readonly maxShrink?: number;
}

export interface MadeBackup {
  readonly manifest: BackupManifest;
  readonly findings: readonly Finding[];
  /** Address of the object, for people. */
  readonly path: string;
}

/**
 * The name of a backup begun at that time, or in the next second that none has, of whatever format: an object is never overwritten,
 * and times tell which is newer. What was kept of a backup that is gone takes its second too.
 */
export async function freeBackupName(
  storage: ObjectStorage,
  time: Date,
  format: DumpFormat,
  compression: CompressionName,
  signal: AbortSignal,
): Promise<BackupName> {
  for (let ms = time.getTime(); ; ms += 1000) {
    const backup = backupName(new Date(ms), format, compression);
    if (await isFree(storage, backup, signal)) return backup;
  }
}

/** `dump-2026-11-23-060313`, which all names of one second begin with. */
const STEM_LENGTH = 22;

async function isFree(storage: ObjectStorage, { key, name }: BackupName, signal: AbortSignal): Promise<boolean> {
  if ((await storage.head(key, signal)) !== undefined) return false;
  for (const folder of [...BACKUP_FOLDERS, ...Object.values(SIDECAR_FOLDERS)]) {
    for await (const _ of storage.list(folder + name.slice(0, STEM_LENGTH), { signal })) return false;
  }
  return true;
}

/**
 * Makes one backup: streams the document into the object, reads it back, compares size and SHA-256, and only then writes its
 * manifest, without which it counts for nothing. An object that turned out to be something else than what was written is deleted:
 * `DataError`. On any other error an object that was uploaded stays, unverified.
 */
export async function makeBackup(request: MakeBackupRequest, context: OperationContext): Promise<MadeBackup> {
  const { store, storage, backup } = request;
  const { signal } = context;
  const startedAt = performance.now();
  const usage = await store.readUsage({ more: false, signal });
  const snapshot = await store.openSnapshot(snapshotOptions(request, context));
  try {
    const findings = new FindingList();
    const stored = parseSetting(snapshot.setting);
    checkClientVersion(stored);
    const document = dumpDocument(
      snapshot,
      {
        format: backup.format,
        root: undefined,
        withTrash: request.skipTrash !== true,
        stored,
        setting: removeSecrets(stored, "dump"),
        rawXattrNames: false,
        findings,
      },
      context,
    );
    const written = await upload(document, storage, backup, context);
    await compareUpload(written, storage, backup, context);
    const { counts, contents, bytes } = document.result();
    const about = {
      manifestVersion: 1 as const,
      decantVersion: decantVersion(),
      file: backup.name,
      format: backup.format,
      compression: backup.compression,
      documentBytes: bytes,
      writtenBytes: written.bytes,
      sha256: written.sha256,
      volume: { name: stored.name, uuid: stored.uuid },
      source: { engine: store.engineName, address: store.address },
      consistency: reportedConsistency(snapshot.consistency),
      whole: request.skipTrash !== true,
      counts: backup.format === "binary" ? recordsOnly(counts) : { ...counts, ...contents },
    };
    const measured = { inodes: usage.totalInodes, usedSpace: usage.usedSpace };
    const entries = (counts.directory ?? 0) + (counts.file ?? 0);
    const guard = await compareWithLast({ ...about, ...measured, entries }, request, signal);
    const manifest: BackupManifest = {
      ...about,
      backup: {
        key: backup.key,
        storedBytes: written.storedBytes,
        startedAt: backup.time.toISOString(),
        verifiedAt: new Date().toISOString(),
        durationMs: Math.round(performance.now() - startedAt),
        by: thisAuthor(),
        usage: measured,
        entries,
        losses: findings.all.filter(({ loss }) => loss).map(({ kind, text, count }) => ({ kind, text, count })),
        ...guard,
      },
    };
    await writeSidecar(storage, sidecarKey("manifest", backup.name), manifestJson(manifest), signal);
    return { manifest, findings: findings.all, path: storage.displayName + backup.key };
  } finally {
    await snapshot.close();
  }
}

interface Upload {
  /** Before encryption, and as stored. */
  readonly bytes: number;
  readonly storedBytes: number;
  readonly sha256: string;
}

async function upload(
  document: DumpDocument,
  storage: ObjectStorage,
  backup: BackupName,
  { signal, progress }: OperationContext,
): Promise<Upload> {
  const hash = createHash("sha256");
  const phase = progress.begin("Uploading");
  async function* pieces(): AsyncGenerator<Buffer> {
    for await (const piece of compress(document.pieces, backup.compression)) {
      hash.update(piece);
      phase.bytes += piece.length;
      yield piece;
    }
  }
  const { bytes: storedBytes } = await storage.putStream(backup.key, pieces(), { signal });
  progress.end(phase);
  return { bytes: phase.bytes, storedBytes, sha256: hash.digest("hex") };
}

/** Reads the object back. What is not what was written is deleted, unless somebody else's backup has taken its place. */
async function compareUpload(
  written: Upload,
  storage: ObjectStorage,
  backup: BackupName,
  context: OperationContext,
): Promise<void> {
  const problem = await differenceOf(written, storage, backup.key, context);
  if (problem === undefined) return;
  const path = storage.displayName + backup.key;
  // Nobody but decant writes below decant/, one at a time. What clients write has checksums of its own, in its gzip.
  const isSomebodys = backup.key.startsWith("meta/") && (await isWholeDump(storage, backup, context));
  if (!isSomebodys) await storage.delete(backup.key, context.signal);
  throw new DataError(
    "DECANT_E_BACKUP_READ_BACK",
    `Backup ${path} is not what was uploaded: ${problem}; ${isSomebodys ? "it is a backup of somebody else, and was kept" : "it was deleted"}`,
    {
      retryable: true,
      hint: isSomebodys
        ? "Another client has made a backup in the same second: try again"
        : "The object storage does not keep what it is given: check it before trusting older backups, with decant backups verify",
    },
  );
}

/** What is wrong with the object, undefined when nothing is. */
async function differenceOf(
  written: Upload,
  storage: ObjectStorage,
  key: string,
  { signal, progress }: OperationContext,
): Promise<string | undefined> {
  const phase = progress.begin("Reading back", { bytes: written.bytes });
  const hash = createHash("sha256");
  try {
    const info = await storage.head(key, signal);
    if (info === undefined) return "it is not there";
    if (info.size !== written.storedBytes) return `it has ${info.size} bytes instead of ${written.storedBytes}`;
    for await (const piece of storage.getStream(key, { signal })) {
      hash.update(piece);
      phase.bytes += piece.length;
    }
  } catch (error) {
    if (error instanceof DecantError && (error.name === "DataError" || error.name === "NotFoundError")) {
      return error.message;
    }
    throw error;
  }
  progress.end(phase);
  if (phase.bytes !== written.bytes) return `it has ${phase.bytes} bytes instead of ${written.bytes}`;
  return hash.digest("hex") === written.sha256 ? undefined : "its checksum differs";
}

async function compareWithLast(
  current: BackupMeasure,
  { storage, backup, maxShrink }: MakeBackupRequest,
  signal: AbortSignal,
): Promise<{ suspicious: readonly string[]; comparedWith: string | undefined }> {
  const { entries } = await readCatalogue(storage, signal);
  const previous = lastGood(entries, backup)?.manifest;
  if (previous === undefined) return { suspicious: [], comparedWith: undefined };
  const measure = { ...previous, ...previous.backup.usage, entries: previous.backup.entries };
  return {
    suspicious: shrinkage(measure, current, maxShrink ?? DEFAULT_MAX_SHRINK),
    comparedWith: previous.file,
  };
}

/** Entries are no records: how many can be reached is not what a binary dump says. */
function recordsOnly({ directory: _directory, file: _file, ...records }: RecordCounts): RecordCounts {
  return records;
}
