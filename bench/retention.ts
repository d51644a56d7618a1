import { parseArgs } from "node:util";
import { backupName } from "../src/operations/backups/backup-name.ts";
import { decideRetention, type RetainedBackup } from "../src/operations/backups/retention.ts";
import {
  calendarPeriod,
  DEFAULT_POLICY_TEXT,
  parsePolicy,
  policyText,
} from "../src/operations/backups/retention-policy.ts";
import { referenceKeeps } from "./reference-cleanup.ts";

/**
 * Years of backups with a clean-up after each, by decant's policy and by the reference's rules, and what each has kept in the end:
 * `npm run retention`. Times and jitter are computed from a seed: every run prints the same.
 */

const { values } = parseArgs({
  options: {
    years: { type: "string", default: "3" },
    every: { type: "string", default: "1" },
    policy: { type: "string", default: DEFAULT_POLICY_TEXT },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(`npm run retention -- [options]   what years of backups come to

  --years N       how long (3)
  --every HOURS   period (1)
  --policy TEXT   of decant (${DEFAULT_POLICY_TEXT})`);
  process.exit(0);
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const policy = parsePolicy(values.policy);
const begin = Date.UTC(2024, 0, 1, 0, 5, 42);
const end = begin + Number(values.years) * 365.25 * DAY_MS;

// A period and up to a tenth of it, as clients look every tenth of their period.
let state = 1;
const random = () => {
  state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
  return state / 2 ** 32;
};

let ours: RetainedBackup[] = [];
let theirs: number[] = [];
const made: number[] = [];
let now = begin;
for (; now < end; now += Number(values.every) * HOUR_MS * (1 + random() * 0.1)) {
  const backup = backupName(new Date(now), "json", "gzip");
  made.push(backup.time.getTime());
  const decisions = decideRetention([{ backup, quality: "good", pinned: false }, ...ours], {
    policy,
    now: backup.time,
  });
  ours = decisions.filter(({ keep }) => keep).map(({ item }) => item);
  theirs = referenceKeeps([backup.time.getTime(), ...theirs], backup.time.getTime());
}
const last = ours[0]!.backup.time.getTime();

console.log(`${made.length} backups in ${values.years} years, one every ${values.every} h, a clean-up after each`);
console.log(`last one ${textOf(last)}; policy of decant: ${policyText(policy)}`);
const kept = { decant: ours.map(({ backup }) => backup.time.getTime()), reference: theirs };
console.log(`kept: decant ${kept.decant.length}, reference ${kept.reference.length}\n`);

console.log("                      periods that had a backup   of them with one now");
console.log("                                                  decant   reference");
report("last 2 days: hours", "hour", 0, 2);
report("to 14 days: days", "day", 2, 14);
report("to 60 days: weeks", "week", 14, 60);
report("to 2 years: months", "month", 60, 730);
report("older: months", "month", 730, 3653);

console.log("\nage in days   decant                 reference");
const rows = Math.max(kept.decant.length, kept.reference.length);
for (let i = 0; i < rows; i++)
  console.log(`              ${cell(kept.decant[i])}   ${cell(kept.reference[i])}`.trimEnd());

function report(title: string, period: "hour" | "day" | "week" | "month", fromDays: number, toDays: number): void {
  const periods = new Set<number>();
  for (const time of made) {
    const { start, end: periodEnd } = calendarPeriod(period, new Date(time));
    // A period counts when it lies in the range as a whole.
    if (periodEnd <= last - fromDays * DAY_MS && start >= last - toDays * DAY_MS && start >= begin) periods.add(start);
  }
  const having = (times: readonly number[]) =>
    new Set(times.map((time) => calendarPeriod(period, new Date(time)).start).filter((start) => periods.has(start)))
      .size;
  const counts = [having(kept.decant), having(kept.reference)];
  console.log(
    `${title.padEnd(22)}${String(periods.size).padStart(25)}${String(counts[0]).padStart(9)}${String(counts[1]).padStart(12)}`,
  );
}

function cell(time: number | undefined): string {
  if (time === undefined) return "".padEnd(20);
  return `${((last - time) / DAY_MS).toFixed(2).padStart(8)} ${textOf(time).slice(0, 10)}`;
}

function textOf(time: number): string {
  return new Date(time).toISOString().slice(0, 19);
}
