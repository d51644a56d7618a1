import { UsageError } from "../../base/errors.ts";
import { parseBackupKey } from "./backup-name.ts";

/** Which backup somebody wants: the newest, one by its name or key, or the newest that was begun at that time or before. */
export type RestorePoint =
  | { readonly kind: "latest" }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "time"; readonly time: Date };

const AGO = /^(\d{1,6})(min|h|d|w)(?: ago)?$/;
const AGO_MS: Readonly<Record<string, number>> = { min: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

const TIME = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2}(?:\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?)?$/i;

/**
 * Reads `latest`, the name of a backup, a time (`2026-11-23T06:03:13Z`, any offset, UTC without one), a day (its end, in UTC) or
 * how long ago (`90min`, `36h`, `2d`, `1w`). Throws `UsageError`.
 */
export function parseRestorePoint(text: string, now: Date): RestorePoint {
  if (text === "latest") return { kind: "latest" };
  if (isBackupName(text)) return { kind: "name", name: text };
  const [, count, unit = ""] = AGO.exec(text) ?? [];
  if (count !== undefined) return { kind: "time", time: new Date(now.getTime() - Number(count) * AGO_MS[unit]!) };
  const time = parseTime(text);
  if (time !== undefined) return { kind: "time", time };
  throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${text}" for "at": neither a time nor a backup`, {
    hint: "It may be latest, a name that decant backups list shows, 2026-11-23T06:03:13Z, 2026-11-23, or 36h for 36 hours ago (min, h, d, w)",
  });
}

function isBackupName(text: string): boolean {
  return [text, `meta/${text}`, `decant/backups/${text}`].some((key) => parseBackupKey(key) !== undefined);
}

function parseTime(text: string): Date | undefined {
  const [, day, minute, second = ":00", zone = "Z"] = TIME.exec(text) ?? [];
  if (day === undefined) return undefined;
  const time = new Date(
    minute === undefined ? `${day}T23:59:59.999Z` : `${day}T${minute}${second}${zone.toUpperCase()}`,
  );
  if (Number.isNaN(time.getTime())) return undefined;
  // A 30th of February becomes a day of March.
  return new Date(`${day}T00:00:00Z`).toISOString().startsWith(day) ? time : undefined;
}
