import type { SnapshotLoss } from "../engine.ts";
import { type Notes, printableKey } from "../notes.ts";
import { parseUnsigned, signedOf, toBigInt, type U64 } from "./decimal.ts";
import { copyPairs, hashPages, orWrongType } from "./hash-pages.ts";
import { emit, keyOf, type RareContext } from "./rare-context.ts";
import type { Reply } from "./resp-parser.ts";
import { SeenSet } from "./seen-set.ts";

/** The three hashes of a kind of quota (docs/spec/redis.md §10.2). */
export interface QuotaKind {
  readonly kind: "quota" | "userQuota" | "groupQuota";
  /** Limits; usage is in the same name + `UsedSpace` and `UsedInodes`. */
  readonly key: string;
}

export const QUOTA_KINDS: readonly QuotaKind[] = [
  { kind: "quota", key: "dirQuota" },
  { kind: "userQuota", key: "userQuota" },
  { kind: "groupQuota", key: "groupQuota" },
];

export const LIMIT_BYTES: number = 16;
const UNLIMITED = -1n;

export const QUOTA_NOTE = "Quotas whose key is no number were left out";
const USAGE_NOTE = "Usage of quotas that is no number was taken as 0";
export const LIMIT_NOTE = "Quota limits that are damaged were taken as unlimited";

/**
 * Every quota once: those with usage (missing limits count as unlimited), then limits without usage. Entries with both
 * limits -1 come as they are stored; the reference leaves them out of JSON dumps, for directories in Redis only
 * (docs/spec/json-dump.md §7), which the snapshot says in `unlimitedDirQuotas`.
 */
export async function* quotaRecords(context: RareContext, { kind, key }: QuotaKind): AsyncGenerator<void> {
  const { connection, notes, mapper } = context;
  const seen = new SeenSet();
  const id: U64 = { hi: 0, lo: 0 };
  const limits = keyOf(context, key);
  const usedSpace = keyOf(context, `${key}UsedSpace`);
  const fresh = (field: Buffer): boolean => {
    if (parseUnsigned(field, 0, field.length, id)) return seen.add(id.hi, id.lo);
    noteQuotaField(notes, kind, key, printableKey(field));
    return false;
  };
  for await (const page of hashPages(connection, keyOf(context, `${key}UsedInodes`), notes, kind)) {
    const pairs = copyPairs(page).filter(([field]) => fresh(field));
    const fields = pairs.map(([field]) => field);
    if (fields.length === 0) continue;
    const read = async (hash: Buffer): Promise<Reply[]> =>
      ((await orWrongType(notes, hash, kind, () => connection.call(["HMGET", hash, ...fields]))) ?? []) as Reply[];
    const stored = await read(limits);
    if (stored.length === 0 && notes.isSalvage) continue; // of the wrong type: nobody knows the limits
    const space = await read(usedSpace);
    pairs.forEach(([field, inodes], i) => {
      const number = BigInt(field.toString("latin1"));
      const pair = decodeLimits(notes, { kind, key, number }, (stored[i] ?? null) as Buffer | null);
      if (pair === undefined) return;
      const usage = (what: string, value: Buffer | null | undefined): bigint =>
        usageOf(notes, { kind, key: `${key}${what}`, number }, value);
      emit(mapper, kind, {
        key: number,
        ...pair,
        usedSpace: usage("UsedSpace", space[i] as Buffer | null),
        usedInodes: usage("UsedInodes", inodes),
      });
    });
    yield;
  }
  for await (const page of hashPages(connection, limits, notes, kind)) {
    for (const [field, value] of copyPairs(page)) {
      if (!fresh(field)) continue;
      const number = toBigInt(id.hi, id.lo);
      const pair = decodeLimits(notes, { kind, key, number }, value);
      if (pair !== undefined) emit(mapper, kind, { key: number, ...pair, usedSpace: 0n, usedInodes: 0n });
    }
    yield;
  }
}

/** A quota, or with another `key` a part of it. */
export interface QuotaPlace extends QuotaKind {
  readonly number: bigint;
}

export function noteQuotaField(notes: Notes, kind: QuotaKind["kind"], key: string, field: string): void {
  notes.loss(QUOTA_NOTE, `${key} ${field}`, { kind, message: `key ${key}: the field ${field} is no number` });
}

export function noteLimits(notes: Notes, place: QuotaPlace, size: number): void {
  const { key, number } = place;
  const what = `the limits have ${size} bytes instead of ${LIMIT_BYTES}`;
  notes.loss(LIMIT_NOTE, `${key} ${number}`, lostQuota(place, what));
}

/** Usage is counted anew where it matters, so that it is no reason to leave a quota out. */
export function noteUsage(notes: Notes, place: QuotaPlace): void {
  const lost = lostQuota(place, "the usage is no number and was taken as 0");
  notes.loss(USAGE_NOTE, `${place.key} ${place.number}`, lost);
}

function lostQuota({ kind, key, number }: QuotaPlace, what: string): SnapshotLoss {
  const inode = kind === "quota" ? { inode: number } : {};
  return { kind, ...inode, message: `key ${key}, field ${number}: ${what}` };
}

function usageOf(notes: Notes, place: QuotaPlace, value: Buffer | null | undefined): bigint {
  if (value === null || value === undefined) return 0n;
  const usage = signedOf(value);
  if (usage === undefined && notes.isSalvage) noteUsage(notes, place);
  return usage ?? 0n;
}

/** Undefined, where each loss is told, for limits that are damaged: a quota without limits would be another one. */
function decodeLimits(
  notes: Notes,
  place: QuotaPlace,
  value: Buffer | null,
): { maxSpace: bigint; maxInodes: bigint } | undefined {
  if (value?.length === LIMIT_BYTES) {
    return { maxSpace: value.readBigInt64BE(0), maxInodes: value.readBigInt64BE(8) };
  }
  if (value !== null) {
    noteLimits(notes, place, value.length);
    if (notes.isSalvage) return undefined;
  }
  return { maxSpace: UNLIMITED, maxInodes: UNLIMITED };
}
