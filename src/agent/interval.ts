import { UsageError } from "../base/errors.ts";

/** The shortest period that the reference allows (docs/spec/auto-backup.md §2). */
export const MINIMUM_INTERVAL_MS: number = 5 * 60_000;

const UNIT_MS: Readonly<Record<string, number>> = {
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ns: 1e-6,
};

const NUMBER = String.raw`(?:\d+\.?\d*|\.\d+)`;
const SECONDS = new RegExp(`^[+-]?${NUMBER}(?:[eE][+-]?\\d+)?$`);
const PARTS = new RegExp(`^([+-]?)(?:(${NUMBER})d)?((?:${NUMBER}(?:ns|us|µs|μs|ms|h|m|s))*)$`, "u");
const PART = new RegExp(`(${NUMBER})(ns|us|µs|μs|ms|h|m|s)`, "gu");

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
    throw new UsageError("DECANT_E_OPTION", `backup-meta should not be less than 5 minutes: ${intervalText(ms)}`, {
      hint: "Give 5m or more; 0 makes no backups",
    });
  }
  return ms;
}

function sumOfParts(text: string): number {
  if (text === "") return 0;
  const match = PARTS.exec(text);
  if (match === null || (match[2] === undefined && match[3] === "")) {
    throw new UsageError("DECANT_E_OPTION", `Invalid duration value: ${text}`, {
      hint: "Seconds, or days, hours, minutes and seconds such as 8h, 1h30m, 1.5d; 0 makes no backups",
    });
  }
  const [, sign, days, rest] = match;
  let ms = Number(days ?? 0) * 86_400_000;
  for (const [, count, unit] of rest!.matchAll(PART)) ms += Number(count) * UNIT_MS[unit!]!;
  return sign === "-" ? -ms : ms;
}

/** As Go prints a duration and the reference's log lines show it: `1h0m0s`, `5m0s`, `20s`, `1.5s`, `250ms`. */
export function intervalText(ms: number): string {
  if (ms < 1000) return ms === 0 ? "0s" : `${trimmed(ms)}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor((ms % 3_600_000) / 60_000);
  const seconds = `${trimmed((ms % 60_000) / 1000)}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}

function trimmed(value: number): string {
  return String(Number(value.toFixed(6)));
}
