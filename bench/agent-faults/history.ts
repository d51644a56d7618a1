import { setTimeout as sleep } from "node:timers/promises";
import { ManifestCache } from "../../src/agent/manifest-cache.ts";
import { errorText } from "../../src/base/errors.ts";
import { type CatalogueEntry, readCatalogue } from "../../src/operations/backups/catalogue.ts";
import { decideRetention } from "../../src/operations/backups/retention.ts";
import type { RetentionPolicy } from "../../src/operations/backups/retention-policy.ts";
import { verifyBackup } from "../../src/operations/backups/verify-backup.ts";
import { createContext, type OperationContext } from "../../src/operations/context.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";

const PAUSE_MS = 300;
const CONTEXT: OperationContext = createContext({ env: {} });

/** A backup that was seen in the bucket. Times are those of the clock of this process. */
export interface SeenBackup {
  readonly entry: CatalogueEntry;
  readonly seenMs: number;
  /** Since when it has counted as good. */
  goodMs: number | undefined;
}

/** What happened in a bucket, seen past everything that the agents' way to it is spoilt by. */
export class BucketHistory {
  readonly seen: Map<string, SeenBackup> = new Map();
  readonly violations: string[] = [];
  deletions = 0;
  readonly #storage: ObjectStorage;
  readonly #policy: RetentionPolicy;
  readonly #before: ReadonlySet<string>;
  #last: readonly CatalogueEntry[] = [];
  #isEnding = false;
  readonly #running: Promise<void>;

  /** `before`: what was there before. */
  constructor(storage: ObjectStorage, policy: RetentionPolicy, before: readonly CatalogueEntry[]) {
    this.#storage = new ManifestCache().over(storage);
    this.#policy = policy;
    this.#before = new Set(before.map(({ backup }) => backup.name));
    this.#last = before;
    this.#running = this.#watch();
  }

  /** Backups that have come since the begin, ascending by when they were seen. */
  backups(): SeenBackup[] {
    return [...this.seen.values()];
  }

  good(): SeenBackup[] {
    return this.backups().filter(({ goodMs }) => goodMs !== undefined);
  }

  async end(): Promise<readonly CatalogueEntry[]> {
    this.#isEnding = true;
    await this.#running;
    await this.#look();
    return this.#last;
  }

  async #watch(): Promise<void> {
    while (!this.#isEnding) {
      await this.#look();
      await sleep(PAUSE_MS);
    }
  }

  async #look(): Promise<void> {
    let entries: readonly CatalogueEntry[];
    try {
      entries = (await readCatalogue(this.#storage, CONTEXT.signal)).entries;
    } catch (error) {
      if (!/no longer|not there|does not exist|404/i.test(errorText(error))) throw error;
      return; // something has gone between two requests
    }
    for (const entry of entries) await this.#note(entry);
    this.#findLosses(entries);
    this.#last = entries;
  }

  async #note(entry: CatalogueEntry): Promise<void> {
    const { name } = entry.backup;
    if (this.#before.has(name)) return;
    let seen = this.seen.get(name);
    if (seen === undefined || seen.entry.size !== entry.size) {
      seen = { entry, seenMs: seen?.seenMs ?? Date.now(), goodMs: seen?.goodMs };
    }
    this.seen.set(name, { ...seen, entry });
    if (entry.quality !== "good" || seen.goodMs !== undefined) return;
    this.seen.set(name, { ...seen, entry, goodMs: Date.now() });
    try {
      const { check } = await verifyBackup(this.#storage, entry, { record: false }, CONTEXT);
      if (!check.ok) this.violations.push(`${name} counts as verified and is damaged: ${check.problems.join("; ")}`);
    } catch (error) {
      if ((await this.#storage.head(entry.backup.key, CONTEXT.signal)) !== undefined) throw error;
    }
  }

  /** A good backup that is gone must be one that the policy lets go, by the right time. */
  #findLosses(now: readonly CatalogueEntry[]): void {
    const names = new Set(now.map(({ backup }) => backup.name));
    const gone = this.#last.filter(({ backup, quality }) => quality === "good" && !names.has(backup.name));
    if (gone.length === 0) return;
    const all = [...gone, ...now];
    const decisions = decideRetention(all, { policy: this.#policy, now: new Date() });
    this.deletions += gone.length;
    for (const { item, keep, reasons } of decisions) {
      if (keep && gone.includes(item)) {
        this.violations.push(`${item.backup.name} was good and is gone, though it had to stay: ${reasons.join(", ")}`);
      }
    }
  }
}
