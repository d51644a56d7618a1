import { ConflictError, NotFoundError } from "../../base/errors.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import type { OperationContext } from "../context.ts";
import { type Catalogue, type CatalogueEntry, isFromFuture, readCatalogue } from "./catalogue.ts";
import { sidecarKey, thisAuthor, writeSidecar } from "./sidecars.ts";

/** Stands for the newest backup that is verified, not suspicious, and, where there is any other, not of the future. */
export const LATEST = "latest";

/**
 * The backup that somebody means: by its name, its key, or `latest`. Throws `NotFoundError` when there is none.
 */
export function findBackup(
  { entries }: Catalogue,
  text: string,
  storage: ObjectStorage,
  now: Date = new Date(),
): CatalogueEntry {
  const found =
    text === LATEST
      ? newest(
          entries.filter(({ quality, suspicious }) => quality === "good" && suspicious.length === 0),
          now,
        )
      : entries.find(({ backup }) => backup.name === text || backup.key === text);
  if (found !== undefined) return found;
  const what = text === LATEST ? "verified backup" : `backup ${text}`;
  throw new NotFoundError("DECANT_E_NO_BACKUP", `There is no ${what} in ${storage.displayName}`, {
    hint:
      entries.length === 0
        ? "There are no backups at all: make one with decant backup"
        : "decant backups list shows them all",
  });
}

/** A clock that was ahead has left backups that would be the newest for as long as it was. */
function newest(entries: readonly CatalogueEntry[], now: Date): CatalogueEntry | undefined {
  return entries.find((entry) => !isFromFuture(entry, now)) ?? entries[0];
}

export interface MarkRequest {
  readonly storage: ObjectStorage;
  /** Name or key of the backup, or `latest`. */
  readonly name: string;
  readonly reason?: string;
}

/** Keeps a backup until it is unpinned, whatever the policy says. Returns what it was before. */
export async function pinBackup(request: MarkRequest, context: OperationContext): Promise<CatalogueEntry> {
  return mark("pin", request, context, () => undefined);
}

/** Leaves a backup to the policy again. */
export async function unpinBackup(
  { storage, name }: Omit<MarkRequest, "reason">,
  { signal }: OperationContext,
): Promise<CatalogueEntry> {
  const entry = findBackup(await readCatalogue(storage, signal), name, storage);
  await storage.delete(sidecarKey("pin", entry.backup.name), signal);
  return entry;
}

/**
 * Says that what a suspicious backup has lost was meant to go, and so what those before it have lost: clean-up may go on. Throws
 * `ConflictError` for one that is not suspicious.
 */
export async function confirmBackup(request: MarkRequest, context: OperationContext): Promise<CatalogueEntry> {
  return mark("confirmation", request, context, ({ backup, suspicious }, { entries }) => {
    if (suspicious.length > 0) return;
    const names = entries.filter((each) => each.suspicious.length > 0).map((each) => each.backup.name);
    throw new ConflictError("DECANT_E_NOT_SUSPICIOUS", `Backup ${backup.name} is not suspicious`, {
      hint: names.length === 0 ? "None is: nothing needs to be confirmed" : `Suspicious: ${names.join(", ")}`,
    });
  });
}

async function mark(
  kind: "pin" | "confirmation",
  { storage, name, reason }: MarkRequest,
  { signal }: OperationContext,
  check: (entry: CatalogueEntry, catalogue: Catalogue) => void,
): Promise<CatalogueEntry> {
  const catalogue = await readCatalogue(storage, signal);
  const entry = findBackup(catalogue, name, storage);
  check(entry, catalogue);
  const key = sidecarKey(kind, entry.backup.name);
  await writeSidecar(
    storage,
    key,
    { name: entry.backup.name, at: new Date().toISOString(), reason: reason ?? null, by: { ...thisAuthor() } },
    signal,
  );
  return entry;
}
