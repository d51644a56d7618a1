/** The value of the lease attribute: JSON, as docs/operations/coordination.md describes it. */
export interface LeaseValue {
  /** Who holds it, for people; undefined when it is free. */
  readonly holder: string | undefined;
  /** The process that stored it: no two have the same, whatever their holders are called. */
  readonly instance: string;
  /** Grows with each hold. */
  readonly token: number;
  /** Grows with each value that an instance stores, so that no value ever comes twice. */
  readonly renewal: number;
  /** Whoever sees it unchanged for so long takes it for dead. */
  readonly durationMs: number;
  readonly work: LeaseWork;
}

/** What the holder is at. It stays when the holder dies, so that the next one can go on. */
export type LeaseWork = { readonly state: "idle" } | BackupInProgress;

export interface BackupInProgress {
  readonly state: "backing-up";
  /** Names the backup: the time that was stored as `lastBackup`. */
  readonly stamp: string;
  /** From 1. */
  readonly attempt: number;
}

export const IDLE: LeaseWork = { state: "idle" };

const VERSION = 1;

/** Longer ones are taken for damage: they would keep all agents away for good. */
export const MAX_LEASE_MS: number = 24 * 60 * 60 * 1000;

export function encodeLease({ holder, instance, token, renewal, durationMs, work }: LeaseValue): Buffer {
  const members = { version: VERSION, holder: holder ?? null, instance, token, renewal, durationMs, ...work };
  return Buffer.from(JSON.stringify(members));
}

/** Undefined for bytes that are no lease. Members that are missing or strange and not needed are passed over. */
export function parseLease(bytes: Buffer): LeaseValue | undefined {
  const value = parseObject(bytes);
  if (value === undefined) return undefined;
  const { holder, instance, token, renewal, durationMs } = value;
  if (!isCount(token) || !isCount(durationMs) || durationMs > MAX_LEASE_MS) return undefined;
  return {
    holder: holder === null ? undefined : String(holder),
    instance: String(instance),
    token,
    renewal: isCount(renewal) ? renewal : 0,
    durationMs,
    work: parseWork(value),
  };
}

function parseObject(bytes: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function parseWork({ state, stamp, attempt }: Readonly<Record<string, unknown>>): LeaseWork {
  if (state !== "backing-up" || typeof stamp !== "string") return IDLE;
  return { state, stamp, attempt: isCount(attempt) ? attempt : 1 };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}
