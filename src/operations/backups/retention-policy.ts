import { UsageError } from "../../base/errors.ts";

/** A span of the calendar, back from now. */
export interface Span {
  readonly count: number;
  readonly unit: "hour" | "day" | "week" | "month" | "year";
}

/** Which backups a rule keeps: all, or one of each hour, day, ... of the calendar in UTC; weeks begin on Monday as in ISO 8601. */
export type KeepPeriod = "all" | "hour" | "day" | "week" | "month" | "year";

export interface KeepRule {
  readonly period: KeepPeriod;
  /** How far back the rule reaches; undefined = for ever. */
  readonly span: Span | undefined;
}

/** What is kept is what any of the rules keeps. */
export type RetentionPolicy = readonly KeepRule[];

/** The documented policy of the reference (docs/spec/auto-backup.md §8), without the deletion after two years that it adds. */
export const DEFAULT_POLICY_TEXT = "all=2d,day=2w,week=2mo,month=forever";

const PERIODS: readonly KeepPeriod[] = ["all", "hour", "day", "week", "month", "year"];

const UNITS: Readonly<Record<string, Span["unit"]>> = { h: "hour", d: "day", w: "week", mo: "month", y: "year" };

const LETTERS: Readonly<Record<Span["unit"], string>> = { hour: "h", day: "d", week: "w", month: "mo", year: "y" };

const RULE = /^([a-z]+)=(?:(\d{1,6})(h|d|w|mo|y)|(forever))$/;

/**
 * Reads `all=2d,day=2w,week=2mo,month=forever`. Throws `UsageError` for what cannot be understood, a period named twice, and a
 * policy that keeps nothing.
 */
export function parsePolicy(text: string): RetentionPolicy {
  const bad = (reason: string) =>
    new UsageError("DECANT_E_OPTION_VALUE", `Cannot understand the retention policy "${text}": ${reason}`, {
      hint: `One rule per period, such as ${DEFAULT_POLICY_TEXT}; periods: ${PERIODS.join(", ")}; spans: h, d, w, mo, y or forever`,
    });
  const rules: KeepRule[] = [];
  for (const part of text.split(",").map((each) => each.trim())) {
    const match = RULE.exec(part);
    if (match === null) throw bad(`"${part}" is no rule`);
    const period = PERIODS.find((each) => each === match[1]);
    if (period === undefined) throw bad(`"${match[1]}" is no period`);
    if (rules.some((rule) => rule.period === period)) throw bad(`"${period}" is there twice`);
    const count = Number(match[2]);
    const span = match[4] === undefined ? { count, unit: UNITS[match[3]!]! } : undefined;
    if (span?.count !== 0) rules.push({ period, span });
  }
  if (rules.length === 0) throw bad("it keeps nothing");
  return rules;
}

/** The text that `parsePolicy` reads. */
export function policyText(policy: RetentionPolicy): string {
  return policy.map(({ period, span }) => `${period}=${spanText(span)}`).join(",");
}

export function spanText(span: Span | undefined): string {
  return span === undefined ? "forever" : `${span.count}${LETTERS[span.unit]}`;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const UNIT_MS = { hour: HOUR_MS, day: DAY_MS, week: 7 * DAY_MS } as const;

/** The instant a span before `now`, in milliseconds of Unix time; -Infinity for ever. Months are those of the calendar. */
export function spanStart(span: Span | undefined, now: Date): number {
  if (span === undefined) return Number.NEGATIVE_INFINITY;
  const { count, unit } = span;
  if (unit !== "month" && unit !== "year") return now.getTime() - count * UNIT_MS[unit];
  const months = now.getUTCFullYear() * 12 + now.getUTCMonth() - count * (unit === "year" ? 12 : 1);
  const start = new Date(now.getTime());
  // A month without that day ends with its last one, not in the next month.
  start.setUTCFullYear(Math.floor(months / 12), ((months % 12) + 12) % 12, 1);
  const lastDay = new Date(Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1, 0)).getUTCDate();
  start.setUTCDate(Math.min(now.getUTCDate(), lastDay));
  return start.getTime();
}

/** The calendar's hour, day, ... that an instant lies in: its start and its end (exclusive), milliseconds of Unix time. */
export function calendarPeriod(period: Exclude<KeepPeriod, "all">, time: Date): { start: number; end: number } {
  if (period === "month" || period === "year") {
    const [year, month] = [time.getUTCFullYear(), period === "year" ? 0 : time.getUTCMonth()];
    const next = period === "year" ? Date.UTC(year + 1, 0) : Date.UTC(year, month + 1);
    return { start: Date.UTC(year, month), end: next };
  }
  const length = UNIT_MS[period];
  // 1 January 1970 was a Thursday: its week had begun three days before.
  const shift = period === "week" ? 3 * DAY_MS : 0;
  const start = Math.floor((time.getTime() + shift) / length) * length - shift;
  return { start, end: start + length };
}
