import { UsageError } from "../base/errors.ts";
import { formatGoDuration, parseDurationSeconds } from "../base/go-duration.ts";

/** The shortest period that the reference allows (docs/spec/auto-backup.md §2). */
export const MINIMUM_INTERVAL_MS: number = 5 * 60_000;

const SECONDS = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const DAYS = /^([+-]?)(\d+\.?\d*|\.\d+)d(.*)$/s;

/**
 * Reads a period as the reference does (docs/spec/auto-backup.md §2): seconds, or days and hours, minutes, seconds, ... such as
 * `1h30m` and `1.5d12h`. Returns milliseconds, 0 for "no backups": `0`, nothing, anything negative. Unlike the reference, which takes
 * a text that it does not understand for 0 and makes no backups, throws `UsageError` for it.
 */
export function parseInterval(text: string): number {
  const ms = SECONDS.test(text) ? Number(text) * 1000 : sumOfParts(text);
  return Math.max(ms, 0);
}

/** Like `parseInterval`, and refuses a period below the minimum, unless `SKIP_BACKUP_META_CHECK=true` as in the reference. */
export function parseBackupInterval(text: string, env: Readonly<Record<string, string | undefined>>): number {
  const ms = parseInterval(text);
  if (ms > 0 && ms < MINIMUM_INTERVAL_MS && env.SKIP_BACKUP_META_CHECK !== "true") {
    throw new UsageError(
      "DECANT_E_OPTION_VALUE",
      `backup-meta should not be less than 5 minutes: ${formatGoDuration(ms)}`,
      {
        hint: "Give 5m or more; 0 makes no backups",
      },
    );
  }
  return ms;
}

function sumOfParts(text: string): number {
  if (text === "") return 0;
  const [, sign, days, rest] = DAYS.exec(text) ?? [undefined, "", "0", text];
  // A sign stands before the days only.
  const seconds = rest === "" ? 0 : days !== "0" && /^[+-]/.test(rest!) ? undefined : parseDurationSeconds(rest!);
  if (seconds === undefined) {
    throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid duration value: ${text}`, {
      hint: "Seconds, or days, hours, minutes and seconds such as 8h, 1h30m, 1.5d; 0 makes no backups",
    });
  }
  const ms = Number(days) * 86_400_000 + seconds * 1000;
  return sign === "-" ? -ms : ms;
}
