import type { Writable } from "node:stream";
import type { MetadataStore } from "../../engines/engine.ts";
import type { OperationContext } from "../context.ts";
import { type BackupPlace, type BackupPlaceRequest, openBackupPlace, storeOf } from "./backup-place.ts";
import { type Catalogue, type CatalogueEntry, readCatalogue } from "./catalogue.ts";
import type { BackupTurn } from "./fence.ts";
import { type Fetched, fetchBackup } from "./fetch-backup.ts";
import { confirmBackup, findBackup, LATEST, pinBackup, unpinBackup } from "./mark-backup.ts";
import { type PruneReport, pruneBackups } from "./prune.ts";
import type { RetentionPolicy } from "./retention-policy.ts";
import { type BackupVerification, verifyBackup } from "./verify-backup.ts";

interface PlaceReport {
  readonly volume: BackupPlace["volume"];
  /** Address of the object storage, for people. */
  readonly storage: string;
}

export interface BackupListReport extends PlaceReport {
  readonly operation: "backups list";
  readonly catalogue: Catalogue;
}

export interface BackupShowReport extends PlaceReport {
  readonly operation: "backups show";
  readonly entry: CatalogueEntry;
}

export interface BackupVerifyReport extends PlaceReport {
  readonly operation: "backups verify";
  readonly results: readonly BackupVerification[];
}

export interface BackupMarkReport extends PlaceReport {
  readonly operation: "backups pin" | "backups unpin" | "backups confirm";
  readonly entry: CatalogueEntry;
}

export interface BackupPruneReport extends PlaceReport, PruneReport {
  readonly operation: "backups prune";
}

export interface BackupFetchReport extends PlaceReport, Fetched {
  readonly operation: "backups fetch";
  readonly entry: CatalogueEntry;
  /** File name, or undefined for a stream. */
  readonly file: string | undefined;
}

/** A place and one backup in it: name, key or `latest`. */
export interface BackupSelection extends BackupPlaceRequest {
  readonly name: string;
}

/** Every backup of a volume and what is known of it. */
export async function listBackups(request: BackupPlaceRequest, context: OperationContext): Promise<BackupListReport> {
  return inPlace(request, context, async ({ storage }) => ({
    operation: "backups list",
    catalogue: await readCatalogue(storage, context.signal),
  }));
}

/** All that is known of one backup. */
export async function showBackup(request: BackupSelection, context: OperationContext): Promise<BackupShowReport> {
  return inPlace(request, context, async ({ storage }) => ({
    operation: "backups show",
    entry: findBackup(await readCatalogue(storage, context.signal), request.name, storage),
  }));
}

export interface BackupVerifyRequest extends BackupPlaceRequest {
  /** Names, keys, or `latest`. Default: the newest of all. */
  readonly names?: readonly string[];
  /** All that nobody has verified. */
  readonly unverified?: boolean;
  /** Leave no word of it in the bucket. */
  readonly noRecord?: boolean;
  /** See `VerifyRequest`. */
  readonly strict?: boolean;
}

/** Reads backups to their end, checks them, and keeps what was found beside them. */
export async function verifyBackups(
  request: BackupVerifyRequest,
  context: OperationContext,
): Promise<BackupVerifyReport> {
  return inPlace(request, context, async ({ storage }) => {
    const catalogue = await readCatalogue(storage, context.signal);
    const { names = [], unverified = false, noRecord = false, strict = false } = request;
    const named = names.map((name) => findBackup(catalogue, name, storage));
    const unknown = unverified ? catalogue.entries.filter(({ quality }) => quality === "unknown") : [];
    const chosen = new Set([...named, ...unknown]);
    if (chosen.size === 0 && !unverified) chosen.add(catalogue.entries[0] ?? findBackup(catalogue, LATEST, storage));
    const results: BackupVerification[] = [];
    for (const entry of chosen)
      results.push(await verifyBackup(storage, entry, { record: !noRecord, strict }, context));
    return { operation: "backups verify", results };
  });
}

export interface BackupMarkRequest extends BackupSelection {
  readonly action: "pin" | "unpin" | "confirm";
  /** Why, for those who come later. */
  readonly reason?: string;
}

/** Pins a backup, unpins it, or confirms a suspicious one. */
export async function markBackup(request: BackupMarkRequest, context: OperationContext): Promise<BackupMarkReport> {
  const { action, name, reason } = request;
  const mark = { pin: pinBackup, unpin: unpinBackup, confirm: confirmBackup }[action];
  return inPlace(request, context, async ({ storage }) => ({
    operation: `backups ${action}` as const,
    entry: await mark({ storage, name, ...(reason === undefined ? {} : { reason }) }, context),
  }));
}

export interface BackupPruneRequest extends BackupPlaceRequest {
  readonly policy: RetentionPolicy;
  readonly dryRun?: boolean;
  /** See `BackupRequest`. Not asked in a dry run. */
  readonly acquire?: (store: MetadataStore, signal: AbortSignal) => Promise<BackupTurn>;
}

/**
 * Deletes what the policy keeps no longer. Throws `UsageError` for a place that was given by its bucket, unless in a dry run: who may
 * clean up is settled in the database.
 */
export async function pruneVolumeBackups(
  request: BackupPruneRequest,
  context: OperationContext,
): Promise<BackupPruneReport> {
  const { policy, dryRun = false, acquire } = request;
  return inPlace(request, context, async (place) => {
    const turn = dryRun ? undefined : await acquire?.(storeOf(place), context.signal);
    try {
      const signal = turn === undefined ? context.signal : AbortSignal.any([context.signal, turn.lost]);
      const report = await pruneBackups(
        { storage: place.storage, store: dryRun ? place.store : storeOf(place), policy, dryRun, fence: turn },
        { ...context, signal },
      );
      return { operation: "backups prune", ...report };
    } finally {
      await turn?.release();
    }
  });
}

export interface BackupFetchRequest extends BackupSelection {
  /** Default: a file in the working directory with the name of the backup. */
  readonly target?: { readonly file: string } | { readonly stream: Writable };
  /** Replace a file of that name. */
  readonly force?: boolean;
}

/** Copies a backup out of the bucket. */
export async function fetchVolumeBackup(
  request: BackupFetchRequest,
  context: OperationContext,
): Promise<BackupFetchReport> {
  return inPlace(request, context, async ({ storage }) => {
    const entry = findBackup(await readCatalogue(storage, context.signal), request.name, storage);
    const target = request.target ?? { file: entry.backup.name };
    const fetched = await fetchBackup({ storage, entry, target, force: request.force ?? false }, context);
    const file = "file" in target ? target.file : undefined;
    return { operation: "backups fetch", entry, file, ...fetched };
  });
}

async function inPlace<T>(
  request: BackupPlaceRequest,
  context: OperationContext,
  work: (place: BackupPlace) => Promise<T>,
): Promise<T & PlaceReport> {
  const place = await openBackupPlace(request, context);
  try {
    const result = await work(place);
    return { ...result, volume: place.volume, storage: place.storage.displayName };
  } finally {
    await place.close();
  }
}
