import type { Catalogue, CatalogueEntry } from "../operations/backups/catalogue.ts";
import type { RunStatus } from "../operations/backups/run-status.ts";
import { FUTURE_TOLERANCE_MS, type PastRun } from "./decide.ts";

/** A backup in the bucket that can be relied on. */
export interface GoodBackup {
  readonly key: string;
  readonly time: Date;
  /** Bytes as stored. */
  readonly bytes: number;
  /** Undefined of one that has no manifest: a client of the reference made it, and it was verified later. */
  readonly inodes: number | undefined;
  readonly durationMs: number | undefined;
}

export type UnverifiedBackup = Pick<CatalogueEntry, "backup" | "size" | "manifest">;

/** What the bucket says: the same to each agent, however many there are. */
export interface BucketView {
  /** The begin of the newest backup that is not damaged, whoever made it. */
  readonly newest: Date | undefined;
  /** The newest that was read back or verified. */
  readonly lastGood: GoodBackup | undefined;
  /** The newest of all, when nobody has read it since it was made: a client of the reference made it. */
  readonly unverified: UnverifiedBackup | undefined;
  readonly count: number;
  /** Newest first. */
  readonly runs: readonly PastRun[];
  /** The newest backup that looks as if something was lost: nothing is cleaned up until somebody has confirmed it. */
  readonly frozenBy: { readonly name: string; readonly reasons: readonly string[] } | undefined;
  readonly statuses: readonly RunStatus[];
}

const RUNS = 3;

/** A clock that was ahead may have left backups from the future: they say nothing of those that there are now. */
export function bucketView({ entries: all, frozenBy, runs }: Catalogue, now: Date): BucketView {
  const entries = all.filter(({ backup }) => backup.time.getTime() <= now.getTime() + FUTURE_TOLERANCE_MS);
  const [first] = entries;
  const good = entries.find(({ quality }) => quality === "good");
  return {
    newest: entries.find(({ quality }) => quality !== "bad")?.backup.time,
    lastGood: good === undefined ? undefined : goodBackup(good),
    unverified: first?.quality === "unknown" ? first : undefined,
    count: entries.length,
    runs: entries.flatMap(({ manifest }) => (manifest === undefined ? [] : [pastRun(manifest.backup)])).slice(0, RUNS),
    frozenBy: frozenBy === undefined ? undefined : { name: frozenBy.backup.name, reasons: frozenBy.suspicious },
    statuses: runs,
  };
}

function goodBackup({ backup, size, manifest }: CatalogueEntry): GoodBackup {
  return {
    key: backup.key,
    time: backup.time,
    bytes: size,
    inodes: manifest === undefined ? undefined : Number(manifest.backup.usage.inodes),
    durationMs: manifest?.backup.durationMs,
  };
}

function pastRun(facts: { readonly usage: { readonly inodes: bigint }; readonly durationMs: number }): PastRun {
  return { inodes: Number(facts.usage.inodes), durationMs: facts.durationMs };
}
