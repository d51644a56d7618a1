import { forEachLimited } from "../../base/limited.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { type BackupManifest, parseBackupManifest } from "./backup-manifest.ts";
import { BACKUP_FOLDERS, type BackupName, parseBackupKey } from "./backup-name.ts";
import { type BackupCheck, parseBackupCheck } from "./check-record.ts";
import { MAX_CLOCK_DIFFERENCE_MS } from "./clock-check.ts";
import type { BackupQuality, RetainedBackup } from "./retention.ts";
import { type RunStatus, readRunStatus } from "./run-status.ts";
import {
  type Author,
  isMissing,
  type PlainObject,
  readSidecar,
  SIDECAR_FOLDERS,
  SIDECAR_KINDS,
  type SidecarKind,
  sidecarKey,
  sidecarName,
  unusable,
} from "./sidecars.ts";

/** A backup and all that is known of it. */
export interface CatalogueEntry extends RetainedBackup {
  readonly backup: BackupName;
  /** Bytes as stored. */
  readonly size: number;
  readonly modified: Date;
  readonly quality: BackupQuality;
  /** Why the quality is what it is, one sentence. */
  readonly why: string;
  readonly pinned: boolean;
  readonly pin: Mark | undefined;
  readonly manifest: BackupManifest | undefined;
  /** The last check by `backups verify`, where it was of the object that is there now. */
  readonly check: BackupCheck | undefined;
  /** Why it looks as if something was lost, as long as nobody has confirmed that this is right. */
  readonly suspicious: readonly string[];
  readonly confirmation: Mark | undefined;
  /** What is kept beside it, also where that cannot be read. */
  readonly sidecars: ReadonlySet<SidecarKind>;
}

/** A pin or a confirmation. One that cannot be read is there all the same. */
export interface Mark {
  readonly at: string | undefined;
  readonly reason: string | undefined;
  readonly by: Author | undefined;
}

export interface Catalogue {
  /** Newest first. */
  readonly entries: readonly CatalogueEntry[];
  /** Objects in the folders of backups that are none. */
  readonly foreign: number;
  /** Keys of what belongs to backups that are not there, at most `MAX_ORPHANS`. */
  readonly orphans: readonly Orphan[];
  /** The last runs, newest first. */
  readonly runs: readonly RunStatus[];
  /** The newest backup that looks as if something was lost: nothing is cleaned up until somebody has confirmed it. */
  readonly frozenBy: CatalogueEntry | undefined;
}

/** What was kept of a backup that is not there. */
export interface Orphan {
  readonly key: string;
  /** Where its backup would be. */
  readonly backupKey: string;
  readonly modified: Date;
}

export const MAX_ORPHANS = 1000;

const READS_AT_ONCE = 8;

interface Draft {
  readonly backup: BackupName;
  readonly size: number;
  readonly modified: Date;
  readonly sidecars: Set<SidecarKind>;
  readonly content: Partial<Record<SidecarKind, PlainObject>>;
  readonly problems: string[];
  manifest?: BackupManifest;
  check?: BackupCheck;
}

/**
 * Everything known of the backups in a bucket. What is no backup is counted and not remembered, so memory depends on the number of
 * backups only. The order in which the storage lists does not matter.
 */
export async function readCatalogue(storage: ObjectStorage, signal: AbortSignal): Promise<Catalogue> {
  const drafts = new Map<string, Draft>();
  let foreign = 0;
  for (const folder of BACKUP_FOLDERS) {
    for await (const { key, size, modified } of storage.list(folder, { signal })) {
      const backup = parseBackupKey(key);
      if (backup === undefined) foreign++;
      else drafts.set(backup.name, { backup, size, modified, sidecars: new Set(), content: {}, problems: [] });
    }
  }
  const orphans = await findSidecars(storage, drafts, signal);
  await forEachLimited(drafts.values(), READS_AT_ONCE, (draft) => readSidecars(storage, draft, signal));
  const newestFirst = [...drafts.values()].sort((a, b) => {
    const difference = b.backup.time.getTime() - a.backup.time.getTime();
    return difference !== 0 ? difference : a.backup.key < b.backup.key ? -1 : 1;
  });
  let isConfirmed = false;
  const entries = newestFirst.map((draft) => {
    // Whoever confirms a backup has seen what the volume had become by then.
    isConfirmed ||= draft.sidecars.has("confirmation");
    return entryOf(draft, isConfirmed);
  });
  return {
    entries,
    foreign,
    orphans,
    runs: await readRunStatus(storage, signal),
    frozenBy: entries.find(({ suspicious }) => suspicious.length > 0),
  };
}

/** Its name is later than a clock that is nearly right can have been: nothing tells when it was made. */
export function isFromFuture({ backup }: Pick<CatalogueEntry, "backup">, now: Date): boolean {
  return backup.time.getTime() > now.getTime() + MAX_CLOCK_DIFFERENCE_MS;
}

/** The newest good backup that does not look as if something was lost: what the next one is compared with. */
export function lastGood(entries: readonly CatalogueEntry[], next: BackupName): CatalogueEntry | undefined {
  return entries.find(
    ({ backup, quality, manifest, suspicious }) =>
      quality === "good" &&
      manifest !== undefined &&
      suspicious.length === 0 &&
      backup.name !== next.name &&
      backup.time.getTime() <= next.time.getTime(),
  );
}

/** Notes which backups have which sidecars; returns those of none. */
async function findSidecars(
  storage: ObjectStorage,
  drafts: ReadonlyMap<string, Draft>,
  signal: AbortSignal,
): Promise<Orphan[]> {
  const orphans: Orphan[] = [];
  for (const kind of SIDECAR_KINDS) {
    for await (const { key, modified } of storage.list(SIDECAR_FOLDERS[kind], { signal })) {
      const name = sidecarName(kind, key);
      if (name === undefined) continue;
      const draft = drafts.get(name);
      const backupKey = backupKeyOf(name);
      if (draft !== undefined) draft.sidecars.add(kind);
      else if (backupKey !== undefined && orphans.length < MAX_ORPHANS) orphans.push({ key, backupKey, modified });
    }
  }
  return orphans;
}

/** The key of the backup of that name, whose ending tells the folder; undefined for what is no name of one. */
function backupKeyOf(name: string): string | undefined {
  return BACKUP_FOLDERS.map((folder) => folder + name).find((key) => parseBackupKey(key) !== undefined);
}

async function readSidecars(storage: ObjectStorage, draft: Draft, signal: AbortSignal): Promise<void> {
  const { sidecars, content, problems, backup } = draft;
  for (const kind of sidecars) {
    const key = sidecarKey(kind, backup.name);
    try {
      const value = await readSidecar(storage, key, signal);
      content[kind] = value;
      if (kind === "manifest") draft.manifest = parseBackupManifest(value, key);
      if (kind === "check") draft.check = parseBackupCheck(value, key);
    } catch (error) {
      if (!isMissing(error)) problems.push(unusable(error));
      else sidecars.delete(kind);
    }
  }
}

function entryOf(draft: Draft, isConfirmed: boolean): CatalogueEntry {
  const { backup, size, modified, manifest, sidecars, content } = draft;
  const check = draft.check?.storedBytes === size ? draft.check : undefined;
  const suspicious = isConfirmed ? [] : (manifest?.backup.suspicious ?? []);
  return {
    backup,
    size,
    modified,
    ...judge(draft, check),
    pinned: sidecars.has("pin"),
    pin: sidecars.has("pin") ? markOf(content.pin) : undefined,
    manifest,
    check,
    suspicious,
    confirmation: sidecars.has("confirmation") ? markOf(content.confirmation) : undefined,
    sidecars,
  };
}

/** A manifest is written when the object was read back; a check is later than that. */
function judge(
  { backup, size, manifest, problems }: Draft,
  check: BackupCheck | undefined,
): { quality: BackupQuality; why: string } {
  if (check !== undefined) {
    if (check.ok) return { quality: "good", why: `verified ${check.at}` };
    return { quality: "bad", why: `damaged: ${check.problems[0] ?? "see backups show"}` };
  }
  if (manifest !== undefined) {
    const { key, storedBytes, verifiedAt } = manifest.backup;
    if (key === backup.key && storedBytes === size) return { quality: "good", why: `read back ${verifiedAt}` };
    return { quality: "bad", why: `${size} bytes instead of ${storedBytes}: it is not what was written` };
  }
  if (problems.length > 0) return { quality: "unknown", why: problems[0]! };
  return { quality: "unknown", why: "never verified" };
}

function markOf(value: PlainObject | undefined): Mark {
  const by = value?.by as Author | undefined;
  return {
    at: typeof value?.at === "string" ? value.at : undefined,
    reason: typeof value?.reason === "string" ? value.reason : undefined,
    by: typeof by?.host === "string" ? by : undefined,
  };
}
