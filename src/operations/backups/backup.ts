import { DecantError, errorText, isAbortError } from "../../base/errors.ts";
import { formatRfc3339 } from "../../base/rfc3339.ts";
import { formatDuration } from "../../base/units.ts";
import type { MetadataStore } from "../../engines/engine.ts";
import type { CompressionName } from "../../formats/container/output.ts";
import type { DumpFormat } from "../../formats/dump-format.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { LAST_BACKUP_XATTR } from "../../volume/backup-xattrs.ts";
import type { OperationContext } from "../context.ts";
import type { SnapshotChoice } from "../snapshot-choice.ts";
import { type BackupPlaceRequest, openBackupPlace, storeOf } from "./backup-place.ts";
import type { BackupTurn } from "./fence.ts";
import { freeBackupName, type MadeBackup, makeBackup } from "./make-backup.ts";
import { type PruneReport, pruneBackups } from "./prune.ts";
import type { RetentionPolicy } from "./retention-policy.ts";
import { writeRunStatus } from "./run-status.ts";
import { thisAuthor } from "./sidecars.ts";

export interface BackupRequest extends Omit<BackupPlaceRequest, "volume">, SnapshotChoice {
  /** META-URL. */
  readonly volume: string;
  /** Default `json`. */
  readonly format?: DumpFormat;
  /** Default `gzip` for JSON, `zstd` for binary. */
  readonly compression?: CompressionName;
  readonly skipTrash?: boolean;
  /** Percent, see `shrinkage`. */
  readonly maxShrink?: number;
  /** Clean up by this policy when the backup is verified. */
  readonly prune?: RetentionPolicy;
  /** Waits for a turn among all who make backups of the volume. Without it nobody else is asked. */
  readonly acquire?: (store: MetadataStore, signal: AbortSignal) => Promise<BackupTurn>;
}

export interface BackupReport extends MadeBackup {
  readonly operation: "backup";
  readonly source: string;
  readonly durationMs: number;
  readonly pruned: PruneReport | undefined;
}

/**
 * Makes one backup now, as a client of the reference does when one is due: `lastBackup` tells the others, so that none makes one too.
 * When it fails, `lastBackup` is as it was. Either way the bucket says what became of it.
 */
export async function backup(request: BackupRequest, context: OperationContext): Promise<BackupReport> {
  const startedAt = performance.now();
  const place = await openBackupPlace(request, context);
  try {
    const store = storeOf(place);
    const turn = (await request.acquire?.(store, context.signal)) ?? ownTurn(store);
    try {
      const signal = AbortSignal.any([context.signal, turn.lost]);
      const inTurn = { ...context, signal };
      const made = await makeInTurn(request, { store, storage: place.storage, turn }, inTurn);
      const { storage } = place;
      const used = formatDuration(performance.now() - startedAt);
      context.logger.info(`backup metadata succeed, path: "${made.path}", used ${used}`);
      const pruned =
        request.prune === undefined
          ? undefined
          : await pruneBackups({ storage, store, policy: request.prune, fence: turn, now: notBefore(made) }, inTurn);
      return {
        operation: "backup",
        source: store.address,
        ...made,
        pruned,
        durationMs: performance.now() - startedAt,
      };
    } finally {
      await turn.release();
    }
  } finally {
    await place.close();
  }
}

/** Its second may have been taken: then its name is ahead of the clock, for a moment. */
function notBefore({ manifest }: MadeBackup): () => Date {
  const begunMs = Date.parse(manifest.backup.startedAt);
  return () => new Date(Math.max(Date.now(), begunMs));
}

interface Parts {
  readonly store: MetadataStore;
  readonly storage: ObjectStorage;
  readonly turn: BackupTurn;
}

async function makeInTurn(request: BackupRequest, parts: Parts, context: OperationContext): Promise<MadeBackup> {
  const { store, storage, turn } = parts;
  const { signal } = context;
  const format = request.format ?? "json";
  const compression = request.compression ?? (format === "json" ? "gzip" : "zstd");
  const name = await freeBackupName(storage, new Date(), format, compression, signal);
  const stamp = await writeStamp(store, turn, name.time, signal);
  const status = {
    at: name.time.toISOString(),
    name: name.name,
    reason: undefined,
    cause: undefined,
    by: thisAuthor(),
  };
  let made: MadeBackup;
  try {
    made = await makeBackup({ ...request, store, storage, backup: name }, context);
  } catch (error) {
    // Time enough to leave things in order, also after an interruption.
    const late = AbortSignal.timeout(CLOSING_MS);
    const back = { expected: stamp.value, value: stamp.expected };
    if (!turn.lost.aborted) await warnOnFailure(() => turn.end(back, late), `put back ${LAST_BACKUP_XATTR}`, context);
    const cause = error instanceof DecantError ? error.code : isAbortError(error) ? "DECANT_E_INTERRUPTED" : undefined;
    const failed = { ...status, outcome: "failed" as const, name: undefined, reason: errorText(error), cause };
    await warnOnFailure(() => writeRunStatus(storage, failed, late), NOTE, context);
    throw error;
  }
  // The backup is not less good when nobody can be told of it.
  await warnOnFailure(() => turn.end(undefined, signal), "say that the backup is made", context);
  await warnOnFailure(() => writeRunStatus(storage, { ...status, outcome: "ok" }, signal), NOTE, context);
  return made;
}

const NOTE = "leave word of this run in the bucket";

const CLOSING_MS = 10_000;

/** Another client may write its own time at any moment; the later one counts for all. */
async function writeStamp(store: MetadataStore, turn: BackupTurn, time: Date, signal: AbortSignal) {
  const value = Buffer.from(formatRfc3339(BigInt(time.getTime() / 1000)));
  for (;;) {
    const expected = (await store.readRootXattrs([LAST_BACKUP_XATTR], signal)).get(LAST_BACKUP_XATTR);
    if (await turn.begin({ expected, value }, signal)) return { expected, value };
  }
}

async function warnOnFailure(work: () => Promise<void>, what: string, { logger }: OperationContext): Promise<void> {
  await work().catch((error: unknown) => logger.warn(`Cannot ${what}: ${errorText(error)}`));
}

/** The turn of a caller who knows that nobody else makes backups of this volume. */
function ownTurn(store: MetadataStore): BackupTurn {
  const swap = async ({ expected, value }: Parameters<BackupTurn["begin"]>[0], signal: AbortSignal): Promise<boolean> =>
    store.swapRootXattrs(
      { expected: new Map([[LAST_BACKUP_XATTR, expected]]), values: new Map([[LAST_BACKUP_XATTR, value]]) },
      signal,
    );
  return {
    lost: new AbortController().signal,
    check: async () => undefined,
    begin: swap,
    end: async (change, signal) => {
      if (change !== undefined) await swap(change, signal);
    },
    release: async () => undefined,
  };
}
