import type { BackupName } from "./backup-name.ts";
import { calendarPeriod, type KeepPeriod, type RetentionPolicy, spanStart, spanText } from "./retention-policy.ts";

/**
 * What is known of a backup. `good`: it was read back and compared when it was made, or verified later. `unknown`: nobody looked,
 * as with backups by clients of the reference. `bad`: it is damaged.
 */
export type BackupQuality = "good" | "unknown" | "bad";

export interface RetainedBackup {
  readonly backup: BackupName;
  readonly quality: BackupQuality;
  readonly pinned: boolean;
}

export interface RetentionDecision<B extends RetainedBackup = RetainedBackup> {
  readonly item: B;
  readonly keep: boolean;
  /** Why it stays: one sentence per reason; why it goes: which backup stands for it. */
  readonly reasons: readonly string[];
}

const BETTER: Readonly<Record<BackupQuality, number>> = { bad: 0, unknown: 1, good: 2 };

/**
 * Decides what stays, newest first. Every period of the calendar that a rule reaches, in whole or in part, and that has a backup
 * keeps one: the newest of the best quality. As the periods do not move with `now`, the one that is kept today for a week is the one
 * that was kept yesterday, so no later clean-up finds a week empty that had a backup. Also kept are pins, the newest good
 * backup, the newest of all, and what claims to be from the future.
 */
export function decideRetention<B extends RetainedBackup>(
  items: readonly B[],
  { policy, now }: { readonly policy: RetentionPolicy; readonly now: Date },
): RetentionDecision<B>[] {
  const sorted = [...items].sort(newestFirst);
  const reasons = new Map<B, string[]>(sorted.map((item) => [item, []]));
  const keep = (item: B | undefined, reason: string) => item !== undefined && reasons.get(item)!.push(reason);

  const past = sorted.filter(({ backup }) => backup.time.getTime() <= now.getTime());
  keep(past[0], "the newest");
  keep(
    past.find(({ quality }) => quality === "good"),
    "the newest verified one",
  );
  for (const item of sorted) {
    if (item.pinned) keep(item, "pinned");
    if (item.backup.time.getTime() > now.getTime()) keep(item, "its time is in the future");
  }
  const standIns = new Map<B, B>();
  for (const { period, span } of policy) {
    const start = spanStart(span, now);
    if (period === "all") {
      for (const item of past) if (item.backup.time.getTime() >= start) keep(item, `all of ${spanText(span)}`);
    } else {
      for (const { chosen, label, members } of representatives(past, period, start)) {
        keep(chosen, label);
        for (const member of members) if (member !== chosen && !standIns.has(member)) standIns.set(member, chosen);
      }
    }
  }
  return sorted.map((item) => {
    const kept = reasons.get(item)!;
    if (kept.length > 0) return { item, keep: true, reasons: kept };
    const instead = standIns.get(item);
    const reason =
      instead === undefined ? "older than every rule reaches" : `${instead.backup.name} is kept for its time`;
    return { item, keep: false, reasons: [reason] };
  });
}

/** Same second: by name, so that every clean-up of one set decides alike. */
function newestFirst(a: RetainedBackup, b: RetainedBackup): number {
  const difference = b.backup.time.getTime() - a.backup.time.getTime();
  return difference !== 0 ? difference : a.backup.key < b.backup.key ? -1 : 1;
}

interface Representative<B> {
  readonly chosen: B;
  readonly label: string;
  readonly members: readonly B[];
}

function* representatives<B extends RetainedBackup>(
  sorted: readonly B[],
  period: Exclude<KeepPeriod, "all">,
  reachesTo: number,
): Generator<Representative<B>> {
  const groups = new Map<number, B[]>();
  for (const item of sorted) {
    const { start, end } = calendarPeriod(period, item.backup.time);
    if (end <= reachesTo) continue;
    const group = groups.get(start);
    if (group === undefined) groups.set(start, [item]);
    else group.push(item);
  }
  for (const [start, members] of groups) {
    const chosen = members.reduce((best, item) => (BETTER[item.quality] > BETTER[best.quality] ? item : best));
    yield { chosen, label: `${period} ${periodName(period, new Date(start))}`, members };
  }
}

function periodName(period: Exclude<KeepPeriod, "all">, start: Date): string {
  const text = start.toISOString();
  switch (period) {
    case "hour":
      return `${text.slice(0, 13).replace("T", " ")}h`;
    case "day":
      return text.slice(0, 10);
    case "week":
      return isoWeek(start);
    case "month":
      return text.slice(0, 7);
    case "year":
      return text.slice(0, 4);
  }
}

/** 2026-W48, of the Monday that begins the week: its year is that of its Thursday. */
function isoWeek(monday: Date): string {
  const thursday = new Date(monday.getTime() + 3 * 86_400_000);
  const year = thursday.getUTCFullYear();
  const week = Math.floor((thursday.getTime() - Date.UTC(year, 0)) / (7 * 86_400_000)) + 1;
  return `${year}-W${String(week).padStart(2, "0")}`;
}
