import { errorText } from "../../base/errors.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import type { OperationContext } from "../context.ts";
import { parseBackupKey } from "./backup-name.ts";
import { type Catalogue, type CatalogueEntry, readCatalogue } from "./catalogue.ts";
import { checkClocks, type ServerClock } from "./clock-check.ts";
import type { Fence } from "./fence.ts";
import { type PrunePlan, planPrune } from "./prune-plan.ts";
import type { Refusal } from "./refusal.ts";
import type { RetentionPolicy } from "./retention-policy.ts";
import { sidecarKey } from "./sidecars.ts";

export interface PruneRequest {
  readonly storage: ObjectStorage;
  /** Its server's clock is compared with ours; undefined where the volume was given by its bucket. */
  readonly store: ServerClock | undefined;
  readonly policy: RetentionPolicy;
  /** Only say what would be done; nothing is written. */
  readonly dryRun?: boolean;
  /** Not asked in a dry run. */
  readonly fence: Fence | undefined;
  readonly now?: () => Date;
}

export interface PruneReport {
  readonly dryRun: boolean;
  readonly plan: PrunePlan;
  readonly foreign: number;
  /** Why nothing was deleted. */
  readonly refusal: Refusal | undefined;
  /** Names of the backups that are gone. */
  readonly deleted: ReadonlySet<string>;
  readonly deletedBytes: number;
  /** What should have gone and is still there. */
  readonly failed: readonly { readonly name: string; readonly reason: string }[];
}

/** The fence is asked before each so many deletions. */
const BATCH = 20;

const DAY_MS = 86_400_000;

/**
 * Deletes the backups that the policy keeps no longer, oldest first, and what belongs to them. Deletes nothing when it is in doubt: see
 * `Refusal`. Objects whose names are not exactly those of backups are never touched.
 */
export async function pruneBackups(request: PruneRequest, context: OperationContext): Promise<PruneReport> {
  const { storage, store, policy, fence, dryRun = false, now = () => new Date() } = request;
  const { signal } = context;
  const catalogue = await readCatalogue(storage, signal);
  // The clocks are held against the reading that the plan was made with: this one may have been set meanwhile.
  const [asOf, readAtMs] = [now(), performance.now()];
  const plan = planPrune(catalogue, policy, asOf);
  const sinceThen = () => new Date(asOf.getTime() + performance.now() - readAtMs);
  const clocks = { now: sinceThen, store, storage: dryRun ? undefined : storage };
  const refusal =
    plan.refusal ?? (await checkClocks(clocks, signal)) ?? (await checkNewest(storage, plan.newestGood, signal));
  const run = new PruneRun(storage, dryRun ? undefined : fence, context);
  if (refusal === undefined && !dryRun) {
    for (const { item, keep } of [...plan.decisions].reverse()) if (!keep) await run.remove(item);
    await run.removeOrphans(catalogue, asOf);
  }
  const { deleted, deletedBytes, failed } = run;
  return { dryRun, plan, foreign: catalogue.foreign, refusal, deleted, deletedBytes, failed };
}

/** A listing may be behind the times: what everything else is deleted for must be there now. */
async function checkNewest(
  storage: ObjectStorage,
  newest: CatalogueEntry | undefined,
  signal: AbortSignal,
): Promise<Refusal | undefined> {
  if (newest === undefined) return undefined;
  const info = await storage.head(newest.backup.key, signal);
  if (info?.size === newest.size) return undefined;
  return {
    cause: "unreachable",
    reason: `The newest verified backup ${newest.backup.name} was listed with ${newest.size} bytes and has ${info?.size ?? "none"} now`,
    hint: "The object storage does not agree with itself: try again, and look with decant backups list",
  };
}

class PruneRun {
  readonly deleted: Set<string> = new Set();
  readonly failed: { name: string; reason: string }[] = [];
  deletedBytes = 0;
  readonly #storage: ObjectStorage;
  readonly #fence: Fence | undefined;
  readonly #context: OperationContext;
  #deletions = 0;

  constructor(storage: ObjectStorage, fence: Fence | undefined, context: OperationContext) {
    this.#storage = storage;
    this.#fence = fence;
    this.#context = context;
  }

  async remove({ backup, size, sidecars }: CatalogueEntry): Promise<void> {
    const { signal, logger } = this.#context;
    if (parseBackupKey(backup.key)?.name !== backup.name) return;
    await this.#checkFence();
    try {
      // Somebody may have pinned it since it was listed.
      if ((await this.#storage.head(sidecarKey("pin", backup.name), signal)) !== undefined) return;
      await this.#storage.delete(backup.key, signal);
      this.deleted.add(backup.name);
      this.deletedBytes += size;
      // The backup first: what is left of it without its sidecars would be a backup of which nothing is known.
      for (const kind of sidecars) await this.#storage.delete(sidecarKey(kind, backup.name), signal);
    } catch (error) {
      signal.throwIfAborted();
      this.failed.push({ name: backup.name, reason: errorText(error) });
      logger.warn(`delete object ${backup.key}: ${errorText(error)}`);
    }
  }

  /** A sidecar may be listed before its backup: only what is old, and whose backup is not there when asked for, is lost. */
  async removeOrphans({ orphans }: Catalogue, now: Date): Promise<void> {
    const { signal, logger } = this.#context;
    for (const { key, backupKey, modified } of orphans) {
      if (now.getTime() - modified.getTime() < DAY_MS) continue;
      await this.#checkFence();
      if ((await this.#storage.head(backupKey, signal)) !== undefined) continue;
      await this.#storage.delete(key, signal).catch((error: unknown) => {
        signal.throwIfAborted();
        logger.warn(`delete object ${key}: ${errorText(error)}`);
      });
    }
  }

  async #checkFence(): Promise<void> {
    if (this.#deletions++ % BATCH === 0) await this.#fence?.check(this.#context.signal);
  }
}
