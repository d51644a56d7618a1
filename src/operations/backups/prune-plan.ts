import type { Catalogue, CatalogueEntry } from "./catalogue.ts";
import type { Refusal } from "./refusal.ts";
import { decideRetention, type RetentionDecision } from "./retention.ts";
import { type RetentionPolicy, type Span, spanStart, spanText } from "./retention-policy.ts";

export interface PrunePlan {
  readonly policy: RetentionPolicy;
  /** The instant that the policy was applied at. */
  readonly asOf: Date;
  /** Newest first. */
  readonly decisions: readonly RetentionDecision<CatalogueEntry>[];
  /** The newest verified backup, which stays in any case. */
  readonly newestGood: CatalogueEntry | undefined;
  readonly refusal: Refusal | undefined;
}

const DEFAULT_RECENT: Span = { count: 2, unit: "day" };

/** What stays and what goes. Reads and writes nothing. */
export function planPrune(catalogue: Catalogue, policy: RetentionPolicy, now: Date): PrunePlan {
  const { entries, frozenBy } = catalogue;
  const recent = policy.find(({ period }) => period === "all")?.span ?? DEFAULT_RECENT;
  const asOf = steadyNow(entries, recent, now);
  const decisions = decideRetention(entries, { policy, now: asOf }).map((decision) => {
    const { time } = decision.item.backup;
    if (time.getTime() <= asOf.getTime() || time.getTime() > now.getTime()) return decision;
    const reason = `the newest, long after the one before: ages are taken as of ${asOf.toISOString().slice(0, 10)}`;
    return { ...decision, reasons: [reason] };
  });
  const newestGood = entries.find(
    ({ quality, backup }) => quality === "good" && backup.time.getTime() <= now.getTime(),
  );
  const refusal = frozenBy === undefined ? unverified(newestGood, recent, asOf) : frozen(frozenBy);
  return { policy, asOf, decisions, newestGood, refusal };
}

/**
 * `now`, but not further ahead of the second newest backup than the newest are all kept for. A clock that has jumped ahead has made
 * one backup at most when it cleans up, so its jump lets nothing grow old; and where no more backups are made, none go.
 */
function steadyNow(entries: readonly CatalogueEntry[], recent: Span, now: Date): Date {
  const past = entries.filter(({ backup }) => backup.time.getTime() <= now.getTime());
  const second = past[1]?.backup.time.getTime();
  if (second === undefined) return now;
  const length = now.getTime() - spanStart(recent, now);
  return new Date(Math.min(now.getTime(), second + length));
}

function frozen({ backup, suspicious }: CatalogueEntry): Refusal {
  return {
    cause: "frozen",
    reason: `Clean-up is frozen: ${backup.name} is suspicious, its ${suspicious.join(", ")}`,
    hint: `When that is right, say so with decant backups confirm META-URL ${backup.name}`,
  };
}

function unverified(newestGood: CatalogueEntry | undefined, recent: Span, asOf: Date): Refusal | undefined {
  if (newestGood !== undefined && newestGood.backup.time.getTime() >= spanStart(recent, asOf)) return undefined;
  const last = newestGood === undefined ? "" : `; the newest verified one is ${newestGood.backup.name}`;
  return {
    cause: "unverified",
    reason: `No backup of the last ${spanText(recent)} is verified${last}`,
    hint: "Make one with decant backup, or verify the newest with decant backups verify",
  };
}
