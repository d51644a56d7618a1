import { StorageError } from "../base/errors.ts";
import { Progress } from "../base/progress.ts";
import { openStore } from "../engines/registry.ts";
import type { CompressionName } from "../formats/container/output.ts";
import type { DumpFormat } from "../formats/dump-format.ts";
import type { BackupName } from "../operations/backups/backup-name.ts";
import { openVolumeStorage } from "../operations/backups/backup-place.ts";
import { readCatalogue } from "../operations/backups/catalogue.ts";
import { freeBackupName, type MadeBackup, makeBackup } from "../operations/backups/make-backup.ts";
import { pruneBackups } from "../operations/backups/prune.ts";
import type { RetentionPolicy } from "../operations/backups/retention-policy.ts";
import { writeRunStatus } from "../operations/backups/run-status.ts";
import { sidecarKey, thisAuthor } from "../operations/backups/sidecars.ts";
import { verifyBackup } from "../operations/backups/verify-backup.ts";
import type { OperationContext } from "../operations/context.ts";
import type { SnapshotChoice } from "../operations/snapshot-choice.ts";
import { readVolumeSetting } from "../operations/volume-setting.ts";
import type { ObjectStorage } from "../storage/object-storage.ts";
import type { AgentVolume, FinishedBackup } from "./agent-volume.ts";
import { bucketView } from "./bucket-view.ts";
import type { ManifestCache } from "./manifest-cache.ts";

/** What the backups of a volume are like. */
export interface BackupStyle extends SnapshotChoice {
  readonly format: DumpFormat;
  readonly compression: CompressionName;
  readonly skipTrash: boolean;
  /** Percent, see `shrinkage`. */
  readonly maxShrink: number;
  readonly policy: RetentionPolicy;
}

export interface OpenAgentVolumeOptions {
  readonly metaUrl: string;
  readonly style: BackupStyle;
  readonly cache: ManifestCache;
  /** Its signal and progress are not used: each call has its own. */
  readonly context: OperationContext;
}

/**
 * Opens database and, when it is needed first, bucket of a volume. Throws what opening the database throws, `NotFoundError` where it
 * holds no volume.
 */
export async function openAgentVolume(options: OpenAgentVolumeOptions, signal: AbortSignal): Promise<AgentVolume> {
  const { metaUrl, style, cache, context } = options;
  const { logger, env, memory } = context;
  const store = await openStore(metaUrl, { logger, env, signal, tmpDir: memory.tmpDir });
  try {
    const setting = await readVolumeSetting(store, signal);
    let opened: ObjectStorage | undefined;
    const bucket = async (wanted: AbortSignal): Promise<ObjectStorage> => {
      opened ??= cache.over(await openVolumeStorage(setting, { ...context, signal: wanted }));
      return opened;
    };
    return {
      name: setting.name,
      uuid: setting.uuid,
      store,
      serverTime: (wanted) => store.serverTime(wanted),
      usedInodes: async (wanted) => (await store.readUsage({ more: false, signal: wanted })).totalInodes,
      readBucket: async (now, wanted) => bucketView(await readCatalogue(await bucket(wanted), wanted), now),
      freeName: async (begunAt, wanted) =>
        freeBackupName(await bucket(wanted), begunAt, style.format, style.compression, wanted),
      makeBackup: async (backup, wanted) => {
        const { skipTrash, maxShrink, snapshot, maxPauseMs } = style;
        const reading = { snapshot, maxPauseMs };
        const request = { store, storage: await bucket(wanted), backup, skipTrash, maxShrink, ...reading };
        return finished(await makeBackup(request, { ...context, signal: wanted, progress: new Progress() }));
      },
      verifyBackup: async (backup, wanted) => {
        const inner = { ...context, signal: wanted, progress: new Progress() };
        return (await verifyBackup(await bucket(wanted), backup, { record: true }, inner)).check.problems;
      },
      discard: async (backup, wanted) => discard(await bucket(wanted), backup, wanted),
      prune: async (fence, wanted) => {
        const request = { storage: await bucket(wanted), store, policy: style.policy, fence };
        const { plan, deleted, failed, refusal } = await pruneBackups(request, { ...context, signal: wanted });
        const [first] = failed;
        if (first !== undefined) {
          throw new StorageError(
            "DECANT_E_CLEAN_UP",
            `${failed.length} of ${failed.length + deleted.size} backups could not be deleted: ${first.name}: ${first.reason}`,
            { retryable: true, hint: "They are tried again after the next backup" },
          );
        }
        return {
          deleted: deleted.size,
          kept: plan.decisions.length - deleted.size,
          refusal:
            refusal === undefined
              ? undefined
              : { isFrozen: refusal.cause === "frozen", message: `${refusal.reason} (${refusal.hint})` },
        };
      },
      writeStatus: async (status, wanted) =>
        writeRunStatus(await bucket(wanted), { ...status, by: thisAuthor() }, wanted),
      close: async () => {
        await opened?.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

function finished({ manifest, findings, path }: MadeBackup): FinishedBackup {
  const { storedBytes, usage, durationMs, suspicious } = manifest.backup;
  const losses = findings.filter(({ loss }) => loss).map(({ text, count }) => `lost: ${text}: ${count}`);
  return { path, bytes: storedBytes, inodes: Number(usage.inodes), durationMs, suspicious, warnings: losses };
}

/** One that has a manifest is good: it was whole before the abort was heard. */
async function discard(storage: ObjectStorage, backup: BackupName, signal: AbortSignal): Promise<void> {
  if ((await storage.head(sidecarKey("manifest", backup.name), signal)) !== undefined) return;
  await storage.delete(backup.key, signal);
}
