import { DecantError, errorText } from "../base/errors.ts";
import type { BucketView } from "./bucket-view.ts";
import type { CheckOutcome } from "./check-outcome.ts";
import type { TroubleKind, VolumeStatus } from "./volume-status.ts";

/** Where the loop of a volume writes down what it meets; `read` gives it to those who report. */
export class StatusBoard {
  readonly #about: Pick<VolumeStatus, "intervalMs" | "startedAt">;
  readonly #isNamed: boolean;
  #label: string;
  readonly #troubles = new Map<TroubleKind, string>();
  readonly #failures = new Map<string, number>();
  #uuid: string | undefined;
  #checkedAt: Date | undefined;
  #bucket: BucketView | undefined;
  #usedInodes: number | undefined;
  #clockSkewMs: number | undefined;
  #skipped: VolumeStatus["skipped"];
  #runningSince: Date | undefined;
  #holdsLease = false;
  #made = 0;
  #skips = 0;
  #hookFailures = 0;
  #isSkewed = false;

  /** `isNamed`: the label stays; else it becomes the volume's name when that is known. */
  constructor(label: string, isNamed: boolean, intervalMs: number, startedAt: Date) {
    this.#about = { intervalMs, startedAt };
    this.#label = label;
    this.#isNamed = isNamed;
  }

  get label(): string {
    return this.#label;
  }

  read(): VolumeStatus {
    return {
      ...this.#about,
      label: this.#label,
      uuid: this.#uuid,
      checkedAt: this.#checkedAt,
      bucket: this.#bucket,
      usedInodes: this.#usedInodes,
      clockSkewMs: this.#clockSkewMs,
      troubles: [...this.#troubles].map(([kind, message]) => ({ kind, message })),
      skipped: this.#skipped,
      runningSince: this.#runningSince,
      holdsLease: this.#holdsLease,
      made: this.#made,
      failures: new Map(this.#failures),
      skips: this.#skips,
      hookFailures: this.#hookFailures,
    };
  }

  opened(name: string, uuid: string): void {
    this.#uuid = uuid;
    if (!this.#isNamed) this.#label = name;
    this.#troubles.delete("database");
  }

  unreachable(error: unknown): void {
    const isLost = error instanceof DecantError && error.code === "DECANT_E_LEASE_LOST";
    this.#troubles.set(isLost ? "lease" : "database", errorText(error));
    this.#count(error);
  }

  looked(usedInodes: bigint, view: BucketView | undefined): void {
    this.#usedInodes = Number(usedInodes);
    if (view !== undefined) this.#bucket = view;
  }

  sees(view: BucketView): void {
    this.#bucket = view;
  }

  bucketReadable(): void {
    this.#troubles.delete("bucket");
  }

  bucketTrouble(error: unknown, message: string): void {
    this.#troubles.set("bucket", message);
    this.#count(error);
  }

  /** A backup is due and cannot be begun. */
  failing(error: unknown): void {
    this.#count(error);
  }

  /** Whether this has just begun to be more than the limit. */
  skews(skewMs: number, limitMs: number): boolean {
    const was = this.#isSkewed;
    this.#clockSkewMs = skewMs;
    this.#isSkewed = Math.abs(skewMs) > limitMs;
    return this.#isSkewed && !was;
  }

  useless(message: string): void {
    this.#troubles.set("stamp", message);
  }

  /** `lastBackup` can be used, or is about to be replaced. */
  useful(): void {
    this.#troubles.delete("stamp");
  }

  /** A backup is there that is not yet due to be followed by another. */
  fresh(): void {
    this.#troubles.delete("stamp");
    this.#troubles.delete("lease");
    this.#skipped = undefined;
  }

  leaseTrouble(message: string): void {
    this.#troubles.set("lease", message);
  }

  holds(isHeld: boolean): void {
    this.#holdsLease = isHeld;
    if (isHeld) this.#troubles.delete("lease");
    else this.#runningSince = undefined;
  }

  begun(at: Date): void {
    this.#runningSince = at;
    this.#skipped = undefined;
  }

  failed(error: unknown): void {
    this.#runningSince = undefined;
    this.#troubles.set("backup", errorText(error));
    this.#count(error);
  }

  failureSettled(): void {
    this.#troubles.delete("backup");
  }

  succeeded(): void {
    this.#runningSince = undefined;
    this.#made++;
    this.#troubles.delete("backup");
  }

  cleanedUp(): void {
    this.#troubles.delete("clean-up");
  }

  /** `error`: undefined when it was refused. */
  cleanUpTrouble(error: unknown, message: string): void {
    this.#troubles.set("clean-up", message);
    if (error !== undefined) this.#count(error);
  }

  /** What failed beside a backup, and is no trouble that stays. */
  failedBeside(error: unknown): void {
    this.#count(error);
  }

  hooksFailed(count: number): void {
    this.#hookFailures += count;
  }

  ended(outcome: CheckOutcome, at: Date): void {
    this.#checkedAt = at;
    if (outcome.kind !== "skipped") return;
    this.#skips++;
    this.#skipped = { reason: outcome.reason, text: outcome.message, fittingMs: outcome.fittingMs };
  }

  /** Causes are error codes: there are few of them. */
  #count(error: unknown): void {
    const cause = error instanceof DecantError ? error.code : "DECANT_E_FAILED";
    this.#failures.set(cause, (this.#failures.get(cause) ?? 0) + 1);
  }
}
