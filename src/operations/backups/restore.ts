import { ConflictError, DataError, type DecantError, errorText } from "../../base/errors.ts";
import type { MetadataStore, VolumeUsage } from "../../engines/engine.ts";
import { openStore } from "../../engines/registry.ts";
import { LAST_BACKUP_XATTR } from "../../volume/backup-xattrs.ts";
import type { Setting } from "../../volume/setting.ts";
import type { OperationContext } from "../context.ts";
import { checkTarget } from "../load-volume.ts";
import type { LoadReport } from "../report.ts";
import type { UnsupportedOptions } from "../unsupported-values.ts";
import { type BackupPlace, type BackupPlaceRequest, openBackupPlace } from "./backup-place.ts";
import { type BlockCheckReport, blockLayout, checkBlocks } from "./block-check.ts";
import { SliceSample } from "./block-sample.ts";
import { type CatalogueEntry, readCatalogue } from "./catalogue.ts";
import { chooseBackups, type PassedOver } from "./restore-choice.ts";
import { isBackupError, loadBackup, readBackupSetting } from "./restore-load.ts";
import {
  chooseKeys,
  keysOf,
  keysOfEnvironment,
  type LostSecret,
  lostSecrets,
  type StorageKeys,
  withKeys,
} from "./restore-secrets.ts";
import { mountCommand, otherBucketStep } from "./restore-steps.ts";
import type { RestorePoint } from "./restore-time.ts";

/** How many slices are looked for in the bucket unless told otherwise, and how many at most. */
export const DEFAULT_CHECKED_SLICES = 100;
export const MAX_CHECKED_SLICES = 100_000;

export interface RestoreRequest {
  /** META-URL of the empty target. */
  readonly target: string;
  /** Where the backups are. */
  readonly from: BackupPlaceRequest;
  /** Default: the newest. */
  readonly point?: RestorePoint;
  /** See `chooseBackups`. */
  readonly allowSuspicious?: boolean;
  /** Show what would be restored, write nothing. */
  readonly dryRun?: boolean;
  /** See `LoadRequest`. */
  readonly clean?: boolean;
  readonly unsupported?: UnsupportedOptions;
  /** See `LoadRequest`; a dry run has nothing to read. */
  readonly verify?: boolean;
  /** Keys of the object storage to be stored; see `chooseKeys` for those that are not given. */
  readonly keys?: StorageKeys;
  /** Asked for a secret that is nowhere to be found; undefined = not known. */
  readonly askSecret?: (secret: LostSecret, plan: RestorePlan) => Promise<string | undefined>;
  /** Shown what is going to be done, each time another backup is tried; false stops the operation. Default: go on. */
  readonly confirm?: (plan: RestorePlan) => Promise<boolean>;
  /** Slices whose blocks are looked for in the bucket; 0: none. Default `DEFAULT_CHECKED_SLICES`. */
  readonly checkedSlices?: number;
  readonly now?: () => Date;
}

/** What is going to be restored. */
export interface RestorePlan {
  /** Address of the object storage, for people. */
  readonly storage: string;
  readonly target: string;
  readonly volume: { readonly name: string; readonly uuid: string };
  readonly asOf: Date;
  readonly chosen: CatalogueEntry;
  /** As it is in the backup. */
  readonly setting: Setting;
  /** Secrets for which there is no value yet. */
  readonly missingSecrets: readonly LostSecret[];
  readonly passedOver: readonly PassedOver[];
  /** Taken next when the chosen one is damaged, newest first. */
  readonly others: readonly CatalogueEntry[];
  readonly old: OldVolume | undefined;
}

/** The volume that the backups were made of, where its database is still there; undefined members could not be read. */
export interface OldVolume {
  readonly address: string;
  readonly usage: Pick<VolumeUsage, "usedSpace" | "totalInodes"> | undefined;
  /** When a backup was begun last, as it is stored. */
  readonly lastBackup: string | undefined;
  /** Clients that are connected to it. */
  readonly sessions: number | undefined;
}

export interface RestoreReport {
  readonly operation: "restore";
  readonly dryRun: boolean;
  readonly plan: RestorePlan;
  /** Undefined in a dry run. */
  readonly loaded: LoadReport | undefined;
  /** Undefined when none were to be looked at. */
  readonly blocks: BlockCheckReport | undefined;
  readonly mount: string;
  /** What the user must do next, whole sentences. */
  readonly nextSteps: readonly string[];
  /** The newest backup was restored, nothing is missing in it, and the blocks that were looked for are there, where clients look. */
  readonly isComplete: boolean;
}

/**
 * Restores a volume from the newest backup in its bucket that is good (docs/restore.md). One that turns out to be damaged while it
 * is loaded makes way for the next older one: the target holds a volume only when the backup was read to its end and is what was
 * written. Nothing is written into the bucket. Throws `NotFoundError` when there is no backup to choose, `DataError` when all that
 * were tried are damaged, `ConflictError` for a target that holds something, and what opening and loading throw.
 */
export async function restore(request: RestoreRequest, context: OperationContext): Promise<RestoreReport> {
  const address = await checkedTarget(request, context);
  const place = await openBackupPlace(request.from, context);
  try {
    return await restoreFrom(place, address, request, context);
  } finally {
    await place.close();
  }
}

async function restoreFrom(
  place: BackupPlace,
  target: string,
  request: RestoreRequest,
  context: OperationContext,
): Promise<RestoreReport> {
  const { storage, volume } = place;
  const { signal, logger } = context;
  const { entries } = await readCatalogue(storage, signal);
  const { point = { kind: "latest" }, allowSuspicious = false, dryRun = false } = request;
  const choice = chooseBackups(entries, { point, allowSuspicious, place: storage.displayName });
  const old = place.store === undefined ? undefined : await lookAtOld(place.store, context);
  const passedOver = [...choice.passedOver];
  for (let i = 0; ; i++) {
    const chosen = choice.candidates[i]!;
    try {
      const setting = await readBackupSetting(storage, chosen, volume, context);
      const keys = chooseKeys(setting, keySources(place, request, context));
      const plan: RestorePlan = {
        storage: storage.displayName,
        target,
        volume: { name: setting.name, uuid: setting.uuid },
        asOf: request.now?.() ?? new Date(),
        chosen,
        setting,
        missingSecrets: lostSecrets(withKeys(setting, keys)),
        passedOver: [...passedOver],
        others: choice.candidates.slice(i + 1),
        old,
      };
      return await carryOut(plan, keys, place, { ...request, dryRun }, context);
    } catch (error) {
      if (!isBackupError(error)) throw error;
      passedOver.push({ entry: chosen, reason: error.message });
      const next = choice.candidates[i + 1];
      if (next === undefined) throw nothingLeft(passedOver, error, storage.displayName);
      logger.warn(`Backup ${chosen.backup.name} cannot be restored: ${error.message}`);
      logger.warn(`Going on with the next older one, ${next.backup.name}`);
    }
  }
}

async function carryOut(
  plan: RestorePlan,
  keys: StorageKeys,
  place: BackupPlace,
  request: RestoreRequest,
  context: OperationContext,
): Promise<RestoreReport> {
  const base = { operation: "restore" as const, plan, mount: mountCommand(plan.target, plan.setting) };
  const otherBucket = otherBucketStep(plan.setting, place.setting, plan.target);
  if (request.dryRun === true) {
    return { ...base, dryRun: true, loaded: undefined, blocks: undefined, nextSteps: otherBucket, isComplete: true };
  }
  if ((await request.confirm?.(plan)) === false) {
    throw new ConflictError("DECANT_E_ABORTED", "Aborted.", {
      hint: "Nothing was written: answer with y or give --yes",
    });
  }
  let asked: StorageKeys = {};
  for (const secret of plan.missingSecrets) {
    const value = await request.askSecret?.(secret, plan);
    if (value !== undefined) asked = { ...asked, [secret]: value };
  }
  const sample = new SliceSample(request.checkedSlices ?? DEFAULT_CHECKED_SLICES);
  const loaded = await loadBackup(
    {
      target: request.target,
      ...(request.unsupported === undefined ? {} : { unsupported: request.unsupported }),
      verify: request.verify === true,
      storage: place.storage,
      entry: plan.chosen,
      volume: plan.volume,
      change: (setting) => withKeys(setting, { ...keys, ...asked }),
      sample,
    },
    context,
  );
  const blocks =
    request.checkedSlices === 0
      ? undefined
      : await checkBlocks(place.storage, sample, blockLayout(plan.setting), context);
  return {
    ...base,
    dryRun: false,
    loaded,
    blocks,
    nextSteps: [...loaded.nextSteps, ...otherBucket],
    isComplete:
      loaded.nextSteps.length === 0 &&
      otherBucket.length === 0 &&
      plan.passedOver.length === 0 &&
      (plan.chosen.manifest?.backup.losses.length ?? 0) === 0 &&
      !loaded.findings.some(({ loss }) => loss) &&
      (blocks === undefined || (blocks.missingBlocks === 0 && blocks.stopped === undefined)),
  };
}

/** Refuses a target that holds something before anything is read. Returns its address. */
async function checkedTarget(request: RestoreRequest, context: OperationContext): Promise<string> {
  const { signal, logger, env } = context;
  const store = await openStore(request.target, { logger, signal, env, tmpDir: context.memory.tmpDir, create: true });
  try {
    await checkTarget(store, context, { clean: request.clean === true && request.dryRun !== true, resume: false });
    return store.address;
  } finally {
    await store.close();
  }
}

/** What can be told of a volume that may well be damaged: a restore does not depend on it. */
async function lookAtOld(store: MetadataStore, { signal, logger }: OperationContext): Promise<OldVolume> {
  const attempt = async <T>(what: Promise<T>): Promise<T | undefined> => {
    try {
      return await what;
    } catch (error) {
      signal.throwIfAborted();
      logger.warn(`Of the old volume in ${store.address} not everything can be read: ${errorText(error)}`);
      return undefined;
    }
  };
  const usage = await attempt(store.readUsage({ more: false, signal }));
  const xattrs = await attempt(store.readRootXattrs([LAST_BACKUP_XATTR], signal));
  const sessions = await attempt(store.listSessions(signal));
  const now = Date.now() / 1000;
  return {
    address: store.address,
    usage: usage === undefined ? undefined : { usedSpace: usage.usedSpace, totalInodes: usage.totalInodes },
    lastBackup: xattrs?.get(LAST_BACKUP_XATTR)?.toString("utf8"),
    sessions: sessions?.filter(({ expire }) => Number(expire) > now).length,
  };
}

function keySources(place: BackupPlace, request: RestoreRequest, { env }: OperationContext) {
  return { given: request.keys ?? {}, environment: keysOfEnvironment(env), opened: keysOf(place.setting) };
}

function nothingLeft(passedOver: readonly PassedOver[], last: DecantError, storage: string): DataError {
  return new DataError("DECANT_E_BACKUP_DAMAGED", `No backup that was tried in ${storage} can be restored`, {
    cause: last,
    details: passedOver.map(({ entry, reason }) => `${entry.backup.name}: ${reason}`),
    hint: "Nothing was restored. decant backups fetch copies one into a file, decant convert --keep-going saves what is left in it",
  });
}
