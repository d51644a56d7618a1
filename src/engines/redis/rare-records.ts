import type { RecordBatch, RecordKind } from "../../volume/records.ts";
import { printableKey } from "../notes.ts";
import { parseUnsigned, signedOrZero, toBigInt, type U64 } from "./decimal.ts";
import { directoryStatistics } from "./directory-statistics.ts";
import { copyPairs, hashPages, orWrongType, sortedSetPages } from "./hash-pages.ts";
import { QUOTA_KINDS, quotaRecords } from "./quota-records.ts";
import { emit, keyOf, type RareContext } from "./rare-context.ts";
import type { RecordMapper } from "./record-mapper.ts";
import { SeenSet } from "./seen-set.ts";

export const DELFILE_NOTE = "Entries of delfiles in an old or damaged form were left out";
export const SLICE_REF_NOTE = "Slice references that are damaged were left out";
export const ACL_NOTE = "ACL rules under a key that is no number were left out";
export const SESSION_NOTE = "Sustained inodes that are no numbers were left out";

/** Counter names in the SQL sense, Redis keys, and what to add (docs/spec/redis.md §4.1). */
export const COUNTERS: readonly { name: string; key: string; offset: bigint }[] = [
  { name: "usedSpace", key: "usedSpace", offset: 0n },
  { name: "totalInodes", key: "totalInodes", offset: 0n },
  { name: "nextInode", key: "nextinode", offset: 1n },
  { name: "nextChunk", key: "nextchunk", offset: 1n },
  { name: "nextSession", key: "nextsession", offset: 0n },
  { name: "nextTrash", key: "nextTrash", offset: 0n },
];

/**
 * The kinds outside the inode families, counters last: `nextinode` and `nextchunk` must not be older than the inodes
 * (docs/spec/redis.md §14).
 */
export async function* rareRecords(
  context: RareContext,
  kinds: ReadonlySet<RecordKind>,
  changeLog: boolean,
): AsyncGenerator<RecordBatch> {
  const { mapper } = context;
  if (kinds.has("sustained")) await sustained(context);
  if (kinds.has("delFile")) yield* full(mapper, delFiles(context));
  if (kinds.has("sliceRef")) yield* full(mapper, sliceRefs(context));
  if (kinds.has("acl")) yield* full(mapper, aclRules(context));
  if (kinds.has("dirStat")) yield* full(mapper, directoryStatistics(context));
  for (const quota of QUOTA_KINDS) {
    if (kinds.has(quota.kind)) yield* full(mapper, quotaRecords(context, quota));
  }
  if (kinds.has("counter")) await counters(context, changeLog);
}

/** Hands on full batches after each step of `steps`. */
async function* full(mapper: RecordMapper, steps: AsyncGenerator<void>): AsyncGenerator<RecordBatch> {
  for await (const _ of steps) yield* mapper.takeFull();
}

async function counters(context: RareContext, changeLog: boolean): Promise<void> {
  const keys = COUNTERS.map(({ key }) => keyOf(context, key));
  const values = (await context.connection.call(["MGET", ...keys])) as (Buffer | null)[];
  COUNTERS.forEach(({ name, offset }, i) => {
    emit(context.mapper, "counter", { name, value: signedOrZero(values[i]) + offset });
  });
  if (!changeLog) return;
  const key = keyOf(context, "txnLastLog");
  const last = signedOrZero(
    (await orWrongType(context.notes, key, () => context.connection.call(["GET", key]))) as Buffer,
  );
  if (last !== 0n) emit(context.mapper, "counter", { name: "lastChangelog", value: last });
}

/**
 * Of registered sessions first, as the reference dumps them (docs/spec/redis.md §12.1), then of those that only have their set of
 * inodes, as after a load of a binary dump: the reference leaves them out.
 */
async function sustained(context: RareContext): Promise<void> {
  const { connection, notes, sessions } = context;
  const number: U64 = { hi: 0, lo: 0 };
  const key = keyOf(context, "allSessions");
  const sids = (await orWrongType(notes, key, () => connection.call(["ZRANGE", key, "0", "-1"]))) as
    | Buffer[]
    | undefined;
  const registered = new Set<bigint>();
  for (const sid of sids ?? []) {
    if (parseUnsigned(sid, 0, sid.length, number)) registered.add(toBigInt(number.hi, number.lo));
    else notes.loss(SESSION_NOTE, `session ${printableKey(sid)}`);
  }
  const others = [...sessions].filter((sid) => !registered.has(sid)).sort((a, b) => (a < b ? -1 : 1));
  for (const session of [...registered, ...others]) await sustainedOf(context, session);
}

async function sustainedOf(context: RareContext, session: bigint): Promise<void> {
  const { connection, notes, mapper } = context;
  const number: U64 = { hi: 0, lo: 0 };
  const set = keyOf(context, `session${session}`);
  const members = (await orWrongType(notes, set, () => connection.call(["SMEMBERS", set]))) as Buffer[] | undefined;
  for (const member of members ?? []) {
    if (parseUnsigned(member, 0, member.length, number)) {
      emit(mapper, "sustained", { sid: session, inode: toBigInt(number.hi, number.lo) });
    } else notes.loss(SESSION_NOTE, `session${session} ${printableKey(member)}`);
  }
}

/** `<inode>:<length>` with the time of deletion as score, cut to whole seconds (docs/spec/redis.md §9.4). */
async function* delFiles(context: RareContext): AsyncGenerator<void> {
  const { connection, notes, mapper } = context;
  const seen = new SeenSet();
  const inode: U64 = { hi: 0, lo: 0 };
  const length: U64 = { hi: 0, lo: 0 };
  for await (const page of sortedSetPages(connection, keyOf(context, "delfiles"), notes)) {
    for (const [member, score] of copyPairs(page)) {
      if (!parseDelFile(member, inode, length)) {
        notes.loss(DELFILE_NOTE, printableKey(member));
        continue;
      }
      if (!page.whole && !seen.add(inode.hi, inode.lo)) continue;
      emit(mapper, "delFile", {
        inode: toBigInt(inode.hi, inode.lo),
        length: toBigInt(length.hi, length.lo),
        expire: wholeSeconds(score),
      });
    }
    yield;
  }
}

/** A member of `delfiles`: false in an old or damaged form. */
export function parseDelFile(member: Buffer, inode: U64, length: U64): boolean {
  const colon = member.indexOf(0x3a);
  return parseUnsigned(member, 0, colon, inode) && parseUnsigned(member, colon + 1, member.length, length);
}

/** A field of `sliceRef`: false when it is damaged. */
export function parseSliceRef(field: Buffer, id: U64, size: U64): boolean {
  const separator = field.indexOf(0x5f);
  return (
    field[0] === 0x6b &&
    parseUnsigned(field, 1, separator, id) &&
    parseUnsigned(field, separator + 1, field.length, size) &&
    size.hi === 0
  );
}

/** A score is a double in text, perhaps with an exponent. */
export function wholeSeconds(score: Buffer): bigint {
  return wholeSecondsOf(Number(score.toString("latin1")));
}

export function wholeSecondsOf(score: number): bigint {
  const seconds = Math.trunc(score);
  return Number.isFinite(seconds) ? BigInt(seconds) : 0n;
}

/** `k<id>_<size>` → references minus 1; only shared slices are part of a dump (docs/spec/redis.md §7.3). */
async function* sliceRefs(context: RareContext): AsyncGenerator<void> {
  const { connection, notes, mapper } = context;
  // A slice has one size for life, so its id alone tells a repetition.
  const seen = new SeenSet();
  const id: U64 = { hi: 0, lo: 0 };
  const size: U64 = { hi: 0, lo: 0 };
  for await (const page of hashPages(connection, keyOf(context, "sliceRef"), notes)) {
    for (const [field, value] of copyPairs(page)) {
      if (!parseSliceRef(field, id, size)) {
        notes.loss(SLICE_REF_NOTE, printableKey(field));
        continue;
      }
      const more = signedOrZero(value);
      if (more < 1n || (!page.whole && !seen.add(id.hi, id.lo))) continue;
      emit(mapper, "sliceRef", { id: toBigInt(id.hi, id.lo), size: size.lo, refs: more + 1n });
    }
    yield;
  }
}

async function* aclRules(context: RareContext): AsyncGenerator<void> {
  const { connection, notes, mapper } = context;
  const seen = new SeenSet();
  const id: U64 = { hi: 0, lo: 0 };
  for await (const page of hashPages(connection, keyOf(context, "acl"), notes)) {
    for (const [field, rule] of copyPairs(page)) {
      if (!parseUnsigned(field, 0, field.length, id) || id.hi !== 0) notes.loss(ACL_NOTE, printableKey(field));
      else if (page.whole || seen.add(0, id.lo)) emit(mapper, "acl", { id: id.lo, rule });
    }
    yield;
  }
}
