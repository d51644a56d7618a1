import { printableKey } from "../notes.ts";
import { parseUnsigned, signedOrZero, toBigInt, type U64 } from "./decimal.ts";
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
    notes.loss(QUOTA_NOTE, `${key} ${printableKey(field)}`);
    return false;
  };
  for await (const page of hashPages(connection, keyOf(context, `${key}UsedInodes`), notes)) {
    const pairs = copyPairs(page).filter(([field]) => fresh(field));
    const fields = pairs.map(([field]) => field);
    if (fields.length === 0) continue;
    const read = async (hash: Buffer): Promise<Reply[]> =>
      ((await orWrongType(notes, hash, () => connection.call(["HMGET", hash, ...fields]))) ?? []) as Reply[];
    const stored = await read(limits);
    const space = await read(usedSpace);
    pairs.forEach(([field, inodes], i) => {
      emit(mapper, kind, {
        key: BigInt(field.toString("latin1")),
        ...decodeLimits(context, `${key} ${printableKey(field)}`, (stored[i] ?? null) as Buffer | null),
        usedSpace: signedOrZero(space[i] as Buffer | null),
        usedInodes: signedOrZero(inodes),
      });
    });
    yield;
  }
  for await (const page of hashPages(connection, limits, notes)) {
    for (const [field, value] of copyPairs(page)) {
      if (!fresh(field)) continue;
      const pair = decodeLimits(context, `${key} ${printableKey(field)}`, value);
      emit(mapper, kind, { key: toBigInt(id.hi, id.lo), ...pair, usedSpace: 0n, usedInodes: 0n });
    }
    yield;
  }
}

function decodeLimits(
  context: RareContext,
  where: string,
  value: Buffer | null,
): { maxSpace: bigint; maxInodes: bigint } {
  if (value?.length === LIMIT_BYTES) {
    return { maxSpace: value.readBigInt64BE(0), maxInodes: value.readBigInt64BE(8) };
  }
  if (value !== null) context.notes.loss(LIMIT_NOTE, where);
  return { maxSpace: UNLIMITED, maxInodes: UNLIMITED };
}
