import { NotFoundError } from "../../base/errors.ts";
import { type CatalogueEntry, isFromFuture } from "./catalogue.ts";
import type { RestorePoint } from "./restore-time.ts";

export interface PassedOver {
  readonly entry: CatalogueEntry;
  /** One sentence without final period. */
  readonly reason: string;
}

/** What can be restored. */
export interface RestoreChoice {
  /** The choice, then what is taken when it turns out to be damaged, newest first. Never empty. */
  readonly candidates: readonly CatalogueEntry[];
  /** Newer than the choice and not taken, newest first. */
  readonly passedOver: readonly PassedOver[];
}

export interface ChoiceOptions {
  readonly point: RestorePoint;
  /** Take one that looks as if something was lost before it was made. */
  readonly allowSuspicious: boolean;
  /** Where the backups are, for messages. */
  readonly place: string;
  /** Default: the time of this host. */
  readonly now?: Date;
}

/**
 * Chooses among the backups of a catalogue: the newest first, whether somebody has verified it or not, since a restore reads all of
 * it and checks it before it counts. What claims to be of the future comes last: a clock was wrong when it was made. Damaged ones are never taken, unless by name, suspicious ones neither, unless they are allowed.
 * Whoever gives a name gets that backup or none. Throws `NotFoundError` when there is none.
 */
export function chooseBackups(entries: readonly CatalogueEntry[], options: ChoiceOptions): RestoreChoice {
  const { point, allowSuspicious, place, now = new Date() } = options;
  if (point.kind === "name") {
    const named = entries.find(({ backup }) => backup.name === point.name || backup.key === point.name);
    if (named === undefined) throw noBackup(`There is no backup ${point.name} in ${place}`, entries, []);
    return { candidates: [named], passedOver: [] };
  }
  const latest = point.kind === "latest" ? undefined : point.time;
  const candidates: CatalogueEntry[] = [];
  const passedOver: PassedOver[] = [];
  const isFuture = (entry: CatalogueEntry): boolean => isFromFuture(entry, now);
  const past = entries.filter((entry) => !isFuture(entry));
  const hasPast = past.some((entry) => objection(entry, allowSuspicious) === undefined);
  const future = entries.filter(isFuture);
  if (latest === undefined && hasPast) {
    for (const entry of future) passedOver.push({ entry, reason: "its time is in the future: a clock was wrong" });
  }
  for (const entry of latest === undefined ? [...past, ...future] : entries) {
    if (latest !== undefined && entry.backup.time > latest) continue;
    const reason = objection(entry, allowSuspicious);
    if (reason === undefined) candidates.push(entry);
    else if (candidates.length === 0) passedOver.push({ entry, reason });
  }
  if (candidates.length > 0) return { candidates, passedOver };
  const when = latest === undefined ? "" : ` of ${latest.toISOString()} or before`;
  throw noBackup(`There is no backup${when} in ${place} that can be restored`, entries, passedOver);
}

function objection({ quality, why, suspicious }: CatalogueEntry, allowSuspicious: boolean): string | undefined {
  if (quality === "bad") return why;
  return suspicious.length > 0 && !allowSuspicious ? `suspicious: its ${suspicious.join(", ")}` : undefined;
}

function noBackup(
  message: string,
  entries: readonly CatalogueEntry[],
  passedOver: readonly PassedOver[],
): NotFoundError {
  const oldest = entries.at(-1);
  return new NotFoundError("DECANT_E_NO_BACKUP", message, {
    details: passedOver.map(({ entry, reason }) => `${entry.backup.name}: ${reason}`),
    hint:
      oldest === undefined
        ? "There are no backups at all: check bucket and name of the volume"
        : passedOver.length > 0
          ? "To take one of these all the same give --at its name, a suspicious one with --allow-suspicious"
          : `The oldest of all is ${oldest.backup.name}; decant backups list shows them all`,
  });
}
